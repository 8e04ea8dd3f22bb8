"""Files of tensors from strangers: read, or refused with the reason; nothing in them ever runs."""

import argparse
import http
import inspect
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ulcli.errors import UserError
from ulcli.network.files.archive import read_archive
from ulcli.network.files.kinds import is_exported_program
from ulcli.network.files.standins import _STAND_INS


class Evil:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def state():
    return {"weight": torch.randn(3, 4), "bias": torch.arange(3), "half": torch.ones(2, dtype=torch.bfloat16)}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict(tmp_path, state, zipped):
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert equal(read_archive(tmp_path / "a.pth"), state)


def test_safetensors(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    assert equal(read_archive(tmp_path / "a.safetensors"), state)


def save_pickle(evil, path):
    path.write_bytes(pickle.dumps(evil, protocol=2))


def save_modern_pickle(evil, path):
    path.write_bytes(pickle.dumps({"weight": evil}, protocol=5))


def save_pickle_with_bytes(evil, path):
    path.write_bytes(pickle.dumps([b"an operand that torch does not know", evil], protocol=3))


@pytest.mark.parametrize(
    "save",
    [
        torch.save,
        lambda evil, path: torch.save({"state_dict": {"weight": evil}}, path),
        lambda evil, path: torch.save(evil, path, _use_new_zipfile_serialization=False),
        save_pickle,
        save_modern_pickle,
        save_pickle_with_bytes,
    ],
)
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, save):
    mark, path = tmp_path / "mark", tmp_path / "a.pt"
    save(Evil(mark), path)
    with pytest.raises(UserError, match=r"holds a pickle that wants to run code \((posix|nt)\.system\); refused: save"):
        read_archive(path)
    assert not mark.exists()
    if save is save_pickle:  # the bait is a real one
        pickle.loads(path.read_bytes())
        assert mark.exists()


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (inspect.Parameter("x", inspect.Parameter.KEYWORD_ONLY), r"inspect\.Parameter"),
        ({"state_dict": {}, "args": http.HTTPStatus.OK}, r"http\.HTTPStatus"),
    ],
)
def test_whole_objects_are_refused_by_name(tmp_path, content, culprit):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=rf"wants to run code \({culprit}\); refused: save only tensors: torch.save"):
        read_archive(tmp_path / "a.pt")


def test_a_protocol_that_cannot_be_checked(tmp_path, state):
    torch.save(state, tmp_path / "a.pt", pickle_protocol=5)
    with pytest.raises(
        UserError, match=r"is a pickle of protocol 5, not what torch.save writes by default; save only tensors"
    ):
        read_archive(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    with pytest.raises(UserError, match="is a TorchScript archive, which holds code; save the weights"):
        read_archive(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file(tmp_path, state, zipped, share):
    path = tmp_path / "a.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: max(4, int(share * path.stat().st_size))])
    message = "is truncated: the end of the archive is missing" if zipped else "damaged"
    with pytest.raises(UserError, match=message):
        read_archive(path)


def zip_of(name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "hello")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", b"", "is empty"),
        ("a.safetensors", b"", "is empty"),
        ("a.pt", b"epoch,loss\n1,0.5\n", "is a text file; give a checkpoint: torch.save"),
        ("a.pt", b"\x89PNG\r\n\x1a\n" + bytes(100), "is an image; the checkpoint comes first"),
        ("a.pt", bytes(1000), "damaged"),
        ("a.pt", pickle.dumps({"weight": [1.0]}, protocol=4), "is a pickle of protocol 4, not what torch.save"),
        ("a.pt", zip_of("word/document.xml"), "is a zip archive of something else than PyTorch weights"),
        ("a.pt", zip_of("archive/data.pkl"), "damaged"),
        ("a.safetensors", b"\0not safetensors at all", "is not a safetensors file, or it is damaged"),
    ],
)
def test_another_kind_of_file(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_archive(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert len(str(caught.value)) < len(str(tmp_path)) + 250


def test_no_such_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match=r"^no such file: '.*a\.pt'$"):
        read_archive(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"'.*' is a folder without weights; give a checkpoint file"):
        read_archive(tmp_path)
    with pytest.raises(UserError, match=r"cannot read '.*': embedded null byte"):
        read_archive(tmp_path / "a\0b")


def test_without_safetensors_the_error_says_what_to_install(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    code = (
        "import sys; sys.modules['safetensors'] = sys.modules['safetensors.torch'] = None\n"
        "from pathlib import Path; from ulcli.network.files.archive import read_archive\n"
        "read_archive(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, tmp_path / "a.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "needs safetensors: pip install 'uncertainty-loss[safetensors]'" in done.stderr


# What a hostile file may try


def hand_made(pickled, path, compression=zipfile.ZIP_STORED, **records):
    """A file as torch.save writes it around a pickle, and records, of one's own."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
    return path


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def called(name, *arguments):
    """Operations that call what a pickle names with whole numbers and texts."""
    operations = [text(each) if isinstance(each, str) else pickle.dumps(each, 2)[2:-1] for each in arguments]
    return b"c" + name.replace(" ", "\n").encode() + b"\n(" + b"".join(operations) + b"tR"


@pytest.fixture
def little_memory():
    """Half a gigabyte more than this process has now: what asks for much fails instead of filling the machine."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    resource = pytest.importorskip("resource")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    "call",
    [
        called("numpy ndarray", 10**12),
        called("numpy.core.multiarray _reconstruct", 10**12),
        called("numpy._core.multiarray scalar", 10**12, 10**12),
        called("numpy dtype", "V1000000000000"),
        called("collections deque", 10**12),
        called("collections defaultdict", 10**12),
        called("builtins bytes", 10**12),
        called("builtins range", 10**12),
        called("pathlib PosixPath", *["x" * 1000] * 1000),
        called("decimal Decimal", "1e999999999"),
        called("argparse Namespace", 1, 2),
    ],
)
def test_stand_ins_allocate_nothing_by_a_number_in_the_file(tmp_path, call, little_memory):
    path = hand_made(b"\x80\x02}" + text("x") + call + b"s.", tmp_path / "a.pt")
    assert read_archive(path).keys() == {"x"}


@pytest.mark.parametrize(
    "call", [called("builtins bytearray", 10**12), called("torch FloatTensor", 10**12), called("torch Tensor", 10**15)]
)
def test_what_torch_itself_would_allocate_is_one_line(tmp_path, call, little_memory):
    path = hand_made(b"\x80\x02}" + text("x") + call + b"s.", tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"asks for more memory than there is|or it is damaged"):
        read_archive(path)


@pytest.mark.parametrize("name", sorted(_STAND_INS))
def test_every_stand_in_is_our_own_and_does_nothing(name):
    stand_in = _STAND_INS[name]
    assert stand_in.__module__ == "ulcli.network.files.standins"
    for arguments in ((), ("os.system", "true"), (10**12, [10**12], {"a": 1}, print)):
        made = stand_in(*arguments)
        if hasattr(made, "__setstate__"):
            for state in (None, 10**12, {"__class__": int, "__setstate__": print}, (1, (10**12,), made, False, b"")):
                made.__setstate__(state)
        assert type(made).__module__ in ("ulcli.network.files.standins", "builtins")


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins exec",
        "builtins getattr",
        "builtins open",
        "builtins type",
        "functools partial",
        "operator attrgetter",
        "importlib import_module",
        "torch hub.load",
        "torch.storage _load_from_bytes",
        "ulcli.network.files.archive read_archive",
        "ulcli.network.files.standins Dropped",
        "numpy load",
        "pathlib Path.unlink",
        "argparse Namespace.__init__",
    ],
)
def test_nothing_else_can_be_named(tmp_path, name):
    path = hand_made(b"\x80\x02}" + text("x") + called(name, "1") + b"s.", tmp_path / "a.pt")
    with pytest.raises(UserError, match="wants to run code"):
        read_archive(path)


def test_after_reading_torch_allows_no_more_than_before(tmp_path):
    before = torch.serialization.get_safe_globals()
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    read_archive(tmp_path / "a.pt")
    hand_made(b"\x80\x02" + called("os system", "true") + b".", tmp_path / "b.pt")
    with pytest.raises(UserError, match="wants to run code"):
        read_archive(tmp_path / "b.pt")
    assert torch.serialization.get_safe_globals() == before


def test_several_threads_read_at_once(tmp_path):
    torch.save({"args": argparse.Namespace(lr=1), "a": torch.ones(1)}, tmp_path / "a.pt")
    with ThreadPoolExecutor(8) as pool:
        contents = list(pool.map(read_archive, [tmp_path / "a.pt"] * 100))
    assert all(content["args"] == {"lr": 1} for content in contents)


def test_a_compressed_archive_is_read_and_a_bomb_is_not(tmp_path, state):
    torch.save(state, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    path = hand_made(records.pop("data.pkl"), tmp_path / "b.pt", zipfile.ZIP_DEFLATED, **{"data/0": records["data/0"]})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data/1", "data/2"):
            archive.writestr(f"archive/{name}", records[name])
    assert equal(read_archive(path), state)
    hand_made(b"\x80\x02N.", path, zipfile.ZIP_DEFLATED, **{"data/0": bytes(10**8)})
    with pytest.raises(UserError, match="would unpack to more than 20 times its size; refused"):
        read_archive(path)


def test_an_encrypted_archive(tmp_path):
    path = hand_made(b"\x80\x02N.", tmp_path / "a.pt")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is an encrypted zip archive; unpack it"):
        read_archive(path)


@pytest.mark.parametrize("position", range(0, 1000, 37))
def test_a_changed_byte_never_ends_in_a_traceback_or_in_other_weights(tmp_path, state, position):
    torch.save(state, tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    for shift in range(4):
        changed = bytearray(content)
        changed[(position * len(content) // 1000 + shift * 7) % len(content)] ^= 0x10
        (tmp_path / "b.pt").write_bytes(changed)
        try:
            read = read_archive(tmp_path / "b.pt")
        except UserError:
            continue
        assert equal(read, state)


def test_a_record_that_is_said_to_be_a_directory(tmp_path, state):
    torch.save(state, tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"a/data/0"))
    content[entry + 38] |= 0x10  # torch would give uninitialised memory
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match="is damaged; copy or download it again"):
        read_archive(tmp_path / "a.pt")


@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "/dev/null"])
def test_pipes_and_devices_are_not_opened(tmp_path, target):
    if target == "pipe":
        os.mkfifo(tmp_path / "pipe")
        target = tmp_path / "pipe"
    for name in ("a.pth", "model.safetensors"):
        (tmp_path / name).symlink_to(target)
    with pytest.raises(UserError, match="is a pipe or a device"):
        read_archive(tmp_path / "a.pth")
    with pytest.raises(UserError, match="is a pipe or a device"):
        read_archive(tmp_path)


@pytest.mark.parametrize("name", ["../a.safetensors", "/etc/passwd", "", "x/../a.safetensors", 3])
def test_an_index_names_only_files_beside_it(tmp_path, name):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    (tmp_path / "x").mkdir()
    index = tmp_path / "x" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UserError, match="its shards must be names of files beside it"):
        read_archive(index)


def test_a_shard_that_lacks_a_tensor(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "1.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "1.safetensors"}}))
    with pytest.raises(UserError, match=r"1.safetensors' lacks 1 of the 2 tensors that '.*' names \(first: 'b'\)"):
        read_archive(index)


def test_only_a_file_of_torch_export_is_an_exported_program(tmp_path, state):
    torch.save(state, tmp_path / "a.pt")
    assert not is_exported_program(tmp_path / "a.pt")
    assert not is_exported_program(tmp_path / "none")
    (tmp_path / "b.pt2").write_bytes(zip_of("b/archive_format"))
    assert is_exported_program(tmp_path / "b.pt2")
