"""Files of tensors from strangers: read, or refused with the reason; nothing in them ever runs."""

import argparse
import io
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from ulcli.errors import UserError
from ulcli.network.archive import read_archive


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
        (torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
        ({"state_dict": {}, "args": argparse.Namespace(lr=1)}, r"argparse\.Namespace"),
    ],
)
def test_whole_objects_are_refused_by_name(tmp_path, content, culprit):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=rf"wants to run code \({culprit}\); refused: save only tensors: torch.save"):
        read_archive(tmp_path / "a.pt")


def test_a_protocol_that_cannot_be_checked(tmp_path, state):
    torch.save(state, tmp_path / "a.pt", pickle_protocol=5)
    with pytest.raises(UserError, match=r"is damaged, or not what torch.save writes by default; save only tensors"):
        read_archive(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a.pt")
    with pytest.raises(UserError, match="is a TorchScript archive, which holds code; refused: save only tensors"):
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
        ("a.pt", b"epoch,loss\n1,0.5\n", "damaged"),
        ("a.pt", b"\x89PNG\r\n\x1a\n" + bytes(100), "damaged"),
        ("a.pt", bytes(1000), "damaged"),
        ("a.pt", pickle.dumps({"weight": [1.0]}, protocol=4), "is damaged, or not what torch.save writes by default"),
        ("a.pt", zip_of("word/document.xml"), "is not a file that torch.save wrote, or it is damaged"),
        ("a.pt", zip_of("archive/data.pkl"), "damaged"),
        ("a.safetensors", b"not safetensors at all", "is not a safetensors file, or it is damaged"),
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
    with pytest.raises(UserError, match=r"cannot read '.*': Is a directory"):
        read_archive(tmp_path)


def test_without_safetensors_the_error_says_what_to_install(tmp_path, state):
    save_file(state, tmp_path / "a.safetensors")
    code = (
        "import sys; sys.modules['safetensors'] = sys.modules['safetensors.torch'] = None\n"
        "from pathlib import Path; from ulcli.network.archive import read_archive; read_archive(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, tmp_path / "a.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "needs safetensors: pip install 'uncertainty-loss[safetensors]'" in done.stderr
