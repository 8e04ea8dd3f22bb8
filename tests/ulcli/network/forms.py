"""The forms in which checkpoints come: for each a maker of the real thing, and what is to come of reading it.

`test_forms.py` checks every row; `python docs/make_forms.py` writes them as a table.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import gzip
import io
import json
import os
import pathlib
import pickle
import sys
import tarfile
import types
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import programs
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision import models

from ulcli.errors import UserError
from ulcli.network.files.checkpoint import read_checkpoint
from ulcli.network.files.kinds import is_exported_program
from ulcli.network.loading.load import load_network
from ulcli.network.sources.exported import read_exported

SAVE = "torch.save(model.state_dict(), ...)"
Maker = Callable[[Path], Path]


class Net(nn.Module):
    """A classifier of three classes that is small enough to be saved a hundred times."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.fc: nn.Module = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.bn1(self.conv1(images)).relu().mean((2, 3)))


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


STATE = net().state_dict()
OTHER = net(1).state_dict()  # weights that are not to be taken


BUFFERS = dict(net().named_buffers())


def prefixed(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


@dataclass(frozen=True)
class Form:
    """A row of the table."""

    name: str
    make: Maker
    outcome: str  # "read", "read: NOTES", or the line of the refusal, in which PATH stands for the file
    expected: dict[str, Tensor] | None = None  # the weights that are to arrive, where they are not STATE
    build: Callable[[], nn.Module] = net
    weights_key: str | None = None


def outcome(form: Form, folder: Path) -> tuple[str, nn.Module | None]:
    """What comes of reading a form: the line of its row, and the network with the weights."""
    path = form.make(folder)
    try:
        if is_exported_program(path):
            return "read", read_exported(path).built.network
        checkpoint = read_checkpoint(path, weights_key=form.weights_key)
        loaded = load_network(lambda _: form.build(), checkpoint.state, "net", accepts_class_count=False)
    except UserError as error:
        return str(error).replace(str(path), "PATH").replace(str(folder), "FOLDER"), None
    notes = "; ".join((*checkpoint.notes, *loaded.notes))
    return (f"read: {notes}" if notes else "read"), loaded.network


# Makers


def saved(content: Any, name: str = "a.pth", **options: Any) -> Maker:
    def make(folder: Path) -> Path:
        torch.save(content, folder / name, **options)
        return folder / name

    return make


def written(content: bytes, name: str = "a.pth") -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def bytes_of(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def zipped(members: dict[str, bytes], name: str = "a.zip", **options: Any) -> Maker:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w", **options) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return folder / name

    return make


def files(members: dict[str, bytes | str], give: str = "") -> Maker:
    """A folder of files; gives the folder, or one of them."""

    def make(folder: Path) -> Path:
        for member, content in members.items():
            (folder / member).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / give if give else folder

    return make


def safetensors_of(state: dict[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save(state)


def safetensors(folder: Path) -> Path:
    save_file(STATE, folder / "a.safetensors")
    return folder / "a.safetensors"


def wrapped(kind: str) -> dict[str, Tensor]:
    """The state dict of a network inside of what training wraps it in."""
    network: nn.Module = net()
    for letter in reversed(kind.split(" in ")):
        network = {"network": lambda x: x, "compiled": _compiled, "parallel": nn.DataParallel, "average": _averaged}[
            letter
        ](network)
    return network.state_dict()


def _compiled(network: nn.Module) -> nn.Module:
    return torch.compile(network)  # type: ignore[return-value]


def _averaged(network: nn.Module) -> nn.Module:
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))


class Lightning(nn.Module):
    """The submodules of a usual LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.model = net()
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(3))


def lightning(state: dict[str, Tensor], **more: Any) -> dict[str, Any]:
    """What Lightning's trainer writes, in the order in which it does."""
    return {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(4)}}, "param_groups": []}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1},
        **more,
    }


def training_script() -> dict[str, Any]:
    """What torchvision's own training script writes."""
    network = net()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 30).state_dict(),
        "epoch": 89,
        "args": argparse.Namespace(lr=0.1, model="net", output_dir=pathlib.Path("runs")),
    }


HARMLESS: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace(lr=0.1, inner=argparse.Namespace(steps=(1, 2))),
    "types.SimpleNamespace": types.SimpleNamespace(lr=0.1),
    "pathlib paths": [pathlib.Path("runs"), pathlib.PurePosixPath("/data"), pathlib.PureWindowsPath("c:/data")],
    "NumPy scalars": [np.float64(0.91), np.int64(3), np.bool_(True), np.str_("text"), np.float16(0.5)],
    "NumPy arrays and dtypes": [np.arange(3), np.array(["a", "b"]), np.array([1.5], ">f8"), np.dtype("float32")],
    "a random state of NumPy": np.random.get_state(),
    "OrderedDict, defaultdict, deque, Counter": [
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        collections.deque([1], maxlen=3),
        collections.Counter("abc"),
    ],
    "dates and times": [datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(1), datetime.date.today()],
    "torch.device, torch.Size, torch.dtype, the version of torch": [
        torch.device("cpu"),
        torch.Size([1]),
        torch.float16,
        torch.__version__,
    ],
    "sets, complex numbers, bytes, ranges": [{1}, frozenset([1]), 1j, b"bytes", bytearray(b"more"), range(3), slice(2)],
}


def on_meta(name: str) -> nn.Module:
    """A torchvision network (none of regnet's, whose code computes with tensors) without memory for its weights."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return models.get_model(name, weights=None, **options)


def light(name: str) -> dict[str, Tensor]:
    """The keys and shapes of a torchvision network with weights that take no room."""
    state = on_meta(name).state_dict()
    return {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in state.items()}


def googlenet(aux_logits: bool) -> nn.Module:
    return models.googlenet(init_weights=False, aux_logits=aux_logits)


GOOGLENET = light("googlenet")
WITHOUT_AUX = {key: value for key, value in GOOGLENET.items() if not key.startswith("aux")}


def with_head(head: nn.Module) -> dict[str, Tensor]:
    network = net()
    network.fc = head
    return network.state_dict()


TWO_LAYERS = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3))
NAMED = nn.Sequential(collections.OrderedDict(first=nn.Linear(4, 5), act=nn.ReLU(), last=nn.Linear(5, 3)))
NORMED = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3))
LAYER_NORM = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3))


def half(dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in STATE.items()}


def shards(give: str, absent: str = "") -> Maker:
    """A state dict in two files, as transformers writes it."""
    parts = [dict(list(STATE.items())[:3]), dict(list(STATE.items())[3:])]
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    members: dict[str, bytes | str] = {
        name: safetensors_of(part) for name, part in zip(names, parts, strict=True) if name != absent
    }
    members["model.safetensors.index.json"] = json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    return files(members, give)


def bin_shards(folder: Path) -> Path:
    parts = [dict(list(STATE.items())[:3]), dict(list(STATE.items())[3:])]
    names = [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)]
    index = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    members = {name: bytes_of(part) for name, part in zip(names, parts, strict=True)}
    text = json.dumps({"metadata": {}, "weight_map": index})
    return files({**members, "pytorch_model.bin.index.json": text})(folder)


def torchscript(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        torch.jit.trace(net().eval(), torch.zeros(1, 3, 8, 8)).save(folder / "a.pt")
    return folder / "a.pt"


def exported(batch: int = 4, *, sizes: Any = None, train: bool = False) -> Maker:
    def make(folder: Path) -> Path:
        return programs.save(net().train(train), folder / "a.pt2", (3, 8, 8), batch, sizes)

    return make


def exported_with(target: str) -> Maker:
    """An exported program that calls something else than its first operator."""

    def change(graph: Any) -> None:
        graph["graph_module"]["graph"]["nodes"][0]["target"] = target

    return lambda folder: programs.edited(exported()(folder), folder / "b.pt2", change)


def exported_by(version: str) -> Maker:
    """An exported program of a version of PyTorch with another format."""

    def change(graph: Any) -> None:
        graph["torch_version"], graph["schema_version"]["major"] = version, 7

    return lambda folder: programs.edited(exported()(folder), folder / "b.pt2", change)


def quantized(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weight = torch.quantize_per_tensor(STATE["fc.weight"], 0.1, 0, torch.qint8)
        return saved({**STATE, "fc.weight": weight})(folder)


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "a.pth")
    return folder / "a.pth"


def changed_bit(folder: Path) -> Path:
    content = bytearray(bytes_of(STATE))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        record = archive.getinfo("archive/data/0")
    content[record.header_offset + 200] ^= 0x40
    return written(bytes(content))(folder)


def without_checksums(folder: Path) -> Path:
    torch.serialization.set_crc32_options(False)
    try:
        return saved(STATE)(folder)
    finally:
        torch.serialization.set_crc32_options(True)


def pickled_of(module: str, name: str, dump: Callable[[Any, Path], None], file: str) -> Maker:
    """A pickle with an object of a library that need not be installed: it holds the names alone."""

    def make(folder: Path) -> Path:
        top, library = types.ModuleType(module.partition(".")[0]), types.ModuleType(module)
        kind = type(name, (), {"__module__": module})
        setattr(library, name, kind)
        with mock.patch.dict(sys.modules, {top.__name__: top, module: library}):
            dump(kind(), folder / file)
        return folder / file

    return make


def joblib_model(folder: Path) -> Path:
    import joblib
    from sklearn.linear_model import LogisticRegression

    joblib.dump(LogisticRegression(), folder / "a.joblib")
    return folder / "a.joblib"


def tar_of(names: list[str]) -> Maker:
    def make(folder: Path) -> Path:
        with tarfile.open(folder / "a.tar", "w") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = 4
                archive.addfile(member, io.BytesIO(b"1234"))
        return folder / "a.tar"

    return make


def bad_zip64(folder: Path) -> Path:
    """An archive whose end points to a 64-bit directory on another disk."""
    content = bytes_of(STATE)
    end = content.rindex(b"PK\x05\x06")
    locator = b"PK\x06\x07" + (7).to_bytes(4, "little") + (2**62).to_bytes(8, "little") + (9).to_bytes(4, "little")
    return written(content[:end] + locator + content[end:])(folder)


DAMAGED = "'PATH' is not a file that torch.save wrote, or it is damaged"
OTHER_LIBRARY = f"only PyTorch networks are read: {SAVE}"
FROM_PYTORCH = f"give the PyTorch weights that it was made of: {SAVE}"
LIST_AND_SAVE = f"is a pickle of protocol 4, not what torch.save writes by default; save only tensors: {SAVE}"

_LEGACY: dict[str, Any] = {"_use_new_zipfile_serialization": False}
# The first fields of a model that torch.onnx writes: version of the format, producer, its version, the graph.
ONNX = b"\x08\x08\x12\x07pytorch\x1a\x05" + b"2.6.0" + b"\x3a\x10" + bytes(200)
NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }" + bytes(80)

# What the program takes: nothing reads the counter of a batch norm.
EXPORTED = {key: value for key, value in STATE.items() if not key.endswith("num_batches_tracked")}

ACCEPTED: list[Form] = [
    Form("a state dict", saved(STATE), "read"),
    Form("a state dict of PyTorch before 1.6", saved(STATE, **_LEGACY), "read"),
    Form("a state dict saved without checksums", without_checksums, "read"),
    Form("safetensors", safetensors, "read"),
    Form("safetensors under another suffix", written(safetensors_of(STATE), "a.bin"), "read"),
    Form("sharded safetensors, by their index", shards("model.safetensors.index.json"), "read"),
    Form("sharded safetensors, by their folder", shards(""), "read"),
    Form("sharded `pytorch_model.bin`, by their folder", bin_shards, "read"),
    Form("a folder with `model.safetensors`", files({"model.safetensors": safetensors_of(STATE)}), "read"),
    Form("an exported program (`.pt2`) with a fixed batch", exported(), "read", EXPORTED),
    Form(
        "an exported program with a batch of any size",
        exported(2, sizes={0: torch.export.Dim("batch")}),
        "read",
        EXPORTED,
    ),
    *(
        Form(f"under `{name}`, beside an optimizer", saved({name: STATE, "optimizer": {"state": {}}}), "read")
        for name in ("state_dict", "model", "model_state_dict", "net", "weights", "params", "network", "model_state")
    ),
    Form("under `module` (DeepSpeed)", saved({"module": STATE, "ds_version": "0.1"}), "read"),
    Form("wrapped twice", saved({"checkpoint": {"model": STATE}, "epoch": 3}), "read"),
    Form(
        "under a name of its own",
        saved({"my_net": STATE, "epoch": 3}),
        "read: using the weights 'my_net', the only ones in the file",
    ),
    Form("torchvision's training script", saved(training_script()), "read"),
    *(Form(f"beside the weights: {name}", saved({"model": STATE, "x": x}), "read") for name, x in HARMLESS.items()),
    Form("`DataParallel`, DDP", saved(wrapped("parallel in network")), "read"),
    Form("`torch.compile`", saved(wrapped("compiled in network")), "read"),
    Form("DDP around `torch.compile`", saved(wrapped("parallel in compiled")), "read"),
    Form("`torch.compile` around DDP", saved(wrapped("compiled in parallel")), "read"),
    Form("`AveragedModel`", saved(wrapped("average in network")), "read"),
    Form(
        "`AveragedModel` around DDP around `torch.compile`", saved(wrapped("average in parallel in compiled")), "read"
    ),
    Form(
        "Lightning",
        saved(lightning(Lightning().state_dict()), "a.ckpt"),
        "read: 1 of the checkpoint's 9 tensors are not of the network and are left out ('criterion': 1)",
    ),
    Form("Lightning, compiled", saved(lightning(prefixed("model._orig_mod.")), "a.ckpt"), "read"),
    Form("Lightning under `net.`", saved(lightning(prefixed("net.")), "a.ckpt"), "read"),
    Form("Lightning under `backbone.module.`", saved(lightning(prefixed("backbone.module.")), "a.ckpt"), "read"),
    Form(
        "Lightning's `EMAWeightAveraging`",
        saved(lightning(prefixed("model."), current_model_state=prefixed("model.", OTHER)), "a.ckpt"),
        "read: using EMA weights ('state_dict'); --weights-key current_model_state for the raw ones",
    ),
    Form(
        "EMA weights in a callback's state",
        saved(lightning(OTHER, callbacks={"EMA": {"decay": 0.9, "ema_state_dict": STATE}}), "a.ckpt"),
        "read: using EMA weights ('callbacks.EMA.ema_state_dict'); --weights-key state_dict for the raw ones",
    ),
    *(
        Form(
            f"EMA weights under `{name}`",
            saved({"state_dict": OTHER, name: STATE}),
            f"read: using EMA weights ('{name}'); --weights-key state_dict for the raw ones",
        )
        for name in ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "model_ema_state_dict")
    ),
    Form(
        "EMA weights of torchvision's training script",
        saved({"model": OTHER, "model_ema": wrapped("average in network")}),
        "read: using EMA weights ('model_ema'); --weights-key model for the raw ones",
    ),
    Form(
        "EMA of the parameters alone",
        saved({"model": {**OTHER, **BUFFERS}, "ema": {"decay": 0.9, "shadow": dict(net().named_parameters())}}),
        "read: using EMA weights ('ema.shadow') with 3 buffers of the raw ones; --weights-key model for the raw ones",
    ),
    Form(
        "the raw weights beside EMA weights, by `--weights-key model`",
        saved({"model": STATE, "model_ema": OTHER}),
        "read",
        weights_key="model",
    ),
    Form(
        "the weights under a dotted `--weights-key`",
        saved({"runs": {"first": OTHER, "second.best": STATE}}),
        "read",
        weights_key="runs.second.best",
    ),
    Form(
        "EMA weights under a prefix",
        saved({**prefixed("model.", OTHER), **prefixed("ema_model.")}),
        "read: using EMA weights ('ema_model'); --weights-key model for the raw ones; "
        "8 of the checkpoint's 16 tensors are not of the network and are left out ('model': 8)",
    ),
    Form(
        "one of several networks in a state dict, by `--weights-key encoder_q`",
        saved({**prefixed("encoder_q."), **prefixed("encoder_k.", OTHER)}),
        "read",
        weights_key="encoder_q",
    ),
    Form(
        "a teacher that is its student's average",
        saved({"student": OTHER, "teacher": STATE}),
        "read: using the weights 'teacher' (of the same shapes, so it is the student's average); "
        "--weights-key student for the others",
    ),
    Form(
        "a student of a larger teacher",
        saved({"student": STATE, "teacher": {**STATE, "conv2.weight": torch.ones(4, 4, 3, 3)}}),
        "read: using the weights 'student' (the network that was trained); --weights-key teacher for the others",
    ),
    Form(
        "half precision",
        saved(half(torch.float16)),
        "read: the weights are float16; the network computes with them in float32",
        half(torch.float16),
    ),
    Form(
        "bfloat16",
        saved(half(torch.bfloat16)),
        "read: the weights are bfloat16; the network computes with them in float32",
        half(torch.bfloat16),
    ),
    Form(
        "a backbone without its classifier",
        saved({key: value for key, value in STATE.items() if not key.startswith("fc")}),
        "read: the checkpoint has no classifier ('fc'): a new one is fitted",
        {key: value for key, value in STATE.items() if not key.startswith("fc")},
    ),
    Form(
        "`fc` as `Sequential(Dropout, Linear)`",
        saved(with_head(nn.Sequential(nn.Dropout(), net().fc))),
        "read: the classifier 'fc' is rebuilt as the checkpoint's keys show: Linear(4, 3); that nothing but dropout "
        "stands before its first layer is an assumption, which the keys leave open",
        with_head(nn.Sequential(nn.Dropout(), net().fc)),
    ),
    Form(
        "`fc` as a Sequential of two linear layers",
        saved(with_head(TWO_LAYERS)),
        "read: the classifier 'fc' is rebuilt as the checkpoint's keys show: Linear(4, 5), ReLU, Linear(5, 3); "
        "that the activation is ReLU is an assumption, which the keys leave open",
        with_head(TWO_LAYERS),
    ),
    Form(
        "`fc` without a bias",
        saved({key: value for key, value in STATE.items() if key != "fc.bias"}),
        "read: the classifier 'fc' is rebuilt as the checkpoint's keys show: Linear(4, 3)",
        {key: value for key, value in STATE.items() if key != "fc.bias"},
    ),
    Form(
        "GoogLeNet without its auxiliary heads",
        saved(WITHOUT_AUX),
        "read: the checkpoint lacks 20 tensors of auxiliary heads, which act in training alone",
        WITHOUT_AUX,
        lambda: googlenet(aux_logits=True),
    ),
    Form(
        "GoogLeNet with auxiliary heads that are not wanted",
        saved(GOOGLENET),
        "read: 20 of the checkpoint's 364 tensors are not of the network and are left out ('aux1': 10, 'aux2': 10)",
        WITHOUT_AUX,
        lambda: googlenet(aux_logits=False),
    ),
]

_OWN_CODE = "name your own code with --arch package.module:factory"
_NOT_ITS_HEAD = "the checkpoint's classifier 'fc' is not that of 'net', and its keys leave open"

REFUSED: list[Form] = [
    Form("no such file", lambda folder: folder / "a.pth", "no such file: 'PATH'"),
    Form("an empty file", written(b""), "'PATH' is empty"),
    Form(
        "a truncated file",
        written(bytes_of(STATE)[:2000]),
        "'PATH' is truncated: the end of the archive is missing; copy or download it again",
    ),
    Form("a truncated file of PyTorch before 1.6", written(bytes_of(STATE, **_LEGACY)[:900]), DAMAGED),
    Form(
        "a changed bit",
        changed_bit,
        "'PATH' is damaged: the checksum of 'archive/data/0' does not match; copy or download it again",
    ),
    Form("a damaged 64-bit zip directory", bad_zip64, "'PATH' is damaged; copy or download it again"),
    Form(
        "a pipe",
        fifo,
        "'PATH' is a pipe or a device; copy what it gives into a file, and give that",
    ),
    Form(
        "a folder without weights",
        files({"notes.txt": "none"}),
        "'PATH' is a folder without weights; give a checkpoint file, or the folder that holds it",
    ),
    Form(
        "a folder with several checkpoints",
        files({"1.pth": bytes_of(STATE), "2.pth": bytes_of(STATE)}),
        "'PATH' is a folder with 2 checkpoints ('1.pth', '2.pth'); give one of them",
    ),
    Form(
        "a safetensors index without one of its shards",
        shards("model.safetensors.index.json", absent="model-00002-of-00002.safetensors"),
        "'PATH' is the index of 2 files, of which 1 are not beside it ('model-00002-of-00002.safetensors'); "
        "download the whole folder",
    ),
    Form(
        "a distributed checkpoint",
        files({".metadata": b"x", "__0_0.distcp": b"x"}),
        "'PATH' is a distributed checkpoint; make one file of it: "
        "python -m torch.distributed.checkpoint.format_utils dcp_to_torch PATH weights.pt",
    ),
    Form(
        "a whole module, `torch.save(model)`",
        saved(nn.Sequential(nn.Conv2d(3, 4, 3))),
        "'PATH' holds a whole pickled module (torch.nn.modules.container.Sequential), which runs code when it is "
        f"loaded; refused: save {SAVE}",
    ),
    Form(
        "a whole module in a dictionary",
        saved({"model": nn.Linear(2, 2), "epoch": 3}),
        "'PATH' holds a whole pickled module (torch.nn.modules.linear.Linear), which runs code when it is "
        f"loaded; refused: save {SAVE}",
    ),
    Form(
        "an object of the user's own beside the weights",
        pickled_of("experiment.config", "Config", lambda x, path: torch.save({"model": STATE, "c": x}, path), "a.pth"),
        f"'PATH' holds a pickle that wants to run code (experiment.config.Config); refused: save only tensors: {SAVE}",
    ),
    Form(
        "a fastai export",
        pickled_of("fastai.learner", "Learner", torch.save, "export.pkl"),
        "'PATH' is a fastai export, which runs code when it is loaded; torch.save(learn.model.state_dict(), ...)",
    ),
    Form(
        "a plain pickle",
        written(pickle.dumps({"weight": [1.0]}, protocol=4), "a.pkl"),
        f"'PATH' {LIST_AND_SAVE}",
    ),
    Form(
        "a scikit-learn model in joblib's format",
        joblib_model,
        f"'PATH' is a pickled scikit-learn model; {OTHER_LIBRARY}",
    ),
    Form(
        "TorchScript",
        torchscript,
        "'PATH' is a TorchScript archive, which holds code; save the weights: " + SAVE,
    ),
    Form(
        "an exported program that calls something else",
        exported_with("torch.os.system"),
        "'PATH' calls 'torch.os.system', which is none of the operators that classifiers are made of; refused: "
        "export a network that does without it, or give a checkpoint and --arch",
    ),
    Form(
        "a program exported in training mode",
        exported(train=True),
        "'PATH' was exported in training mode; call model.eval() before torch.export.export",
    ),
    Form(
        "a program exported by PyTorch before 2.6",
        exported_by("2.5.1"),
        "'PATH' is of PyTorch 2.5.1 in version 7 of its format, of which 8 is read; "
        "export it again, with PyTorch 2.6 or newer",
    ),
    Form(
        "a package of AOTInductor",
        zipped({"a/archive_format": b"pt2", "a/data/aotinductor/model/a.so": b"x"}, "a.pt2"),
        "'PATH' holds compiled code (AOTInductor), which is not run; save the exported program itself",
    ),
    Form("ONNX", written(ONNX, "a.onnx"), f"'PATH' is an ONNX file; {FROM_PYTORCH}"),
    Form("ONNX under another suffix", written(ONNX), f"'PATH' is an ONNX file; {FROM_PYTORCH}"),
    Form(
        "Keras, `.h5`",
        written(b"\x89HDF\r\n\x1a\n" + bytes(100), "a.h5"),
        f"'PATH' is an HDF5 file, as Keras writes them; {OTHER_LIBRARY}",
    ),
    Form(
        "Keras, `.keras`",
        zipped({"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": b"x"}, "a.keras"),
        f"'PATH' is a Keras model; {OTHER_LIBRARY}",
    ),
    Form(
        "a TensorFlow SavedModel, its file",
        written(b"\x08\x01\x12\xd2\x03\x0a\x05\x12\x05serve", "saved_model.pb"),
        f"'PATH' is a TensorFlow SavedModel; {OTHER_LIBRARY}",
    ),
    Form(
        "a TensorFlow SavedModel, its folder",
        files({"saved_model.pb": b"x"}),
        "'PATH' is a TensorFlow SavedModel; only PyTorch networks are read",
    ),
    Form(
        "TensorFlow Lite",
        written(b"\x1c\x00\x00\x00TFL3" + bytes(100), "a.bin"),
        f"'PATH' is a TensorFlow Lite file; {OTHER_LIBRARY}",
    ),
    Form("GGUF", written(b"GGUF\x03\x00\x00\x00" + bytes(100)), f"'PATH' is a GGUF file; {FROM_PYTORCH}"),
    Form("NumPy, `.npy`", written(NPY, "a.npy"), f"'PATH' is a NumPy array; save a state dict: {SAVE}"),
    Form(
        "NumPy, `.npz`",
        zipped({"a.npy": b"x", "b.npy": b"x"}, "a.npz"),
        f"'PATH' is a NumPy archive (.npz); save a state dict: {SAVE}",
    ),
    Form(
        "TorchServe, `.mar`",
        zipped({"MAR-INF/MANIFEST.json": b"{}", "model.pth": b"x"}, "a.mar"),
        "'PATH' is a TorchServe archive; unpack it and give the checkpoint in it",
    ),
    Form(
        "a checkpoint in a zip archive",
        zipped({"runs/best.pth": b"x"}),
        "'PATH' is a zip archive with 'runs/best.pth' in it; unpack it and give that file",
    ),
    Form(
        "a zip archive of something else",
        zipped({"word/document.xml": b"x"}),
        f"'PATH' is a zip archive of something else than PyTorch weights; give a checkpoint: {SAVE}",
    ),
    Form(
        "a checkpoint compressed with gzip",
        written(gzip.compress(bytes_of(STATE)), "a.pth.gz"),
        "'PATH' is compressed with gzip; unpack it first: gunzip",
    ),
    Form(
        "PyTorch's format before 0.1.10",
        tar_of(["sys_info", "pickle", "tensors", "storages"]),
        "'PATH' is in the tar format of PyTorch before 0.1.10; load it there with torch.load and save again: " + SAVE,
    ),
    Form(
        "a tar archive",
        tar_of(["best.pth"]),
        "'PATH' is a tar archive; unpack it and give the checkpoint in it",
    ),
    Form(
        "a Git LFS pointer",
        written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "a.safetensors"),
        "'PATH' is a Git LFS pointer, not the file itself; fetch it with: git lfs pull",
    ),
    Form(
        "the HTML page of a failed download",
        written(b"\n<!DOCTYPE html><html><body>404</body></html>"),
        "'PATH' is an HTML page, most likely of a download that failed; download it again from the file's own address",
    ),
    Form("JSON", written(b'{"epoch": 3}', "a.json"), f"'PATH' is a JSON file; give the file of the weights: {SAVE}"),
    Form("text", written("Größe,Wert\n".encode()), f"'PATH' is a text file; give a checkpoint: {SAVE}"),
    Form(
        "an image",
        written(b"\x89PNG\r\n\x1a\n" + bytes(100)),
        "'PATH' is an image; the checkpoint comes first, images are given with --data",
    ),
    Form("bytes of no format", written(bytes(1000)), DAMAGED),
    Form(
        "no tensors",
        saved({"epoch": 3}),
        "'PATH' holds no state dict (a dictionary of tensors); save model.state_dict()",
    ),
    Form(
        "two networks under names of their own",
        saved({"generator": STATE, "discriminator": OTHER}),
        "'PATH' holds 2 state dicts ('generator', 'discriminator'); choose one with --weights-key, "
        "for example --weights-key generator",
    ),
    Form(
        "an unknown `--weights-key`",
        saved({"model": STATE, "model_ema": OTHER}),
        "'PATH' has no weights 'modle'; it has 'model', 'model_ema'",
        weights_key="modle",
    ),
    Form(
        "two networks of the same kind in a state dict",
        saved({**prefixed("encoder_q."), **prefixed("encoder_k.", OTHER)}),
        "the checkpoint holds the weights of several such networks ('encoder_k', 'encoder_q'); "
        "choose one with --weights-key, for example --weights-key encoder_k",
    ),
    Form(
        "a larger network of the same kind",
        saved({**STATE, "conv1.1.weight": torch.ones(4, 4, 3, 3)}),
        "the checkpoint does not fit 'net': of its keys 1 unexpected (first: 'conv1.1.weight'); check --arch",
    ),
    Form(
        "a smaller network of the same kind",
        saved({key: value for key, value in STATE.items() if not key.startswith("bn1.r")}),
        "the checkpoint does not fit 'net': of its keys 2 missing (first: 'bn1.running_mean'); check --arch",
    ),
    Form(
        "quantized weights",
        quantized,
        "'PATH': the weights 'fc.weight' are quantized; save those of the plain float network",
    ),
    Form(
        "sparse weights",
        saved({**STATE, "fc.weight": STATE["fc.weight"].to_sparse()}),
        "'PATH': the weights 'fc.weight' are sparse or nested; save those of the plain float network",
    ),
    Form(
        "weights of the meta device",
        saved({key: value.to("meta") for key, value in STATE.items()}),
        "'PATH': the weights 'conv1.weight' are without data (of the meta device); "
        "save those of the plain float network",
    ),
    Form(
        "whole numbers as weights",
        saved({key: value.to(torch.int8) for key, value in STATE.items()}),
        "the checkpoint does not fit 'net': of its keys 7 of another type (first: 'conv1.weight' is int8, "
        "expected float32); check --arch",
    ),
    Form(
        "`fc` as a Sequential with names",
        saved(with_head(NAMED)),
        f"{_NOT_ITS_HEAD} what it is ('first.weight'); {_OWN_CODE}",
    ),
    Form(
        "`fc` with batch norm between activations that may be",
        saved(with_head(NORMED)),
        f"{_NOT_ITS_HEAD} where its activations are; {_OWN_CODE}",
    ),
    Form(
        "`fc` with layer norm",
        saved(with_head(LAYER_NORM)),
        f"{_NOT_ITS_HEAD} which layers it has; {_OWN_CODE}",
    ),
]
