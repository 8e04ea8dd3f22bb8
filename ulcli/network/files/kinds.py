"""Telling what a file is that is no checkpoint, so that the error can say so and name the way out."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

from ulcli.network.files.standins import HARMLESS

_SAVE = "torch.save(model.state_dict(), ...)"
_FROM_PYTORCH = f"give the PyTorch weights that it was made of: {_SAVE}"
_OTHER_LIBRARY = f"only PyTorch networks are read: {_SAVE}"

# What files begin with, and what that says about them.
_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself", "fetch it with: git lfs pull"),
    (b"\x08\x01\x12", "is a TensorFlow SavedModel", _OTHER_LIBRARY),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, as Keras writes them", _OTHER_LIBRARY),
    (b"GGUF", "is a GGUF file", _FROM_PYTORCH),
    (b"\x93NUMPY", "is a NumPy array", f"save a state dict: {_SAVE}"),
    (b"\x1f\x8b", "is compressed with gzip", "unpack it first: gunzip"),
    (b"BZh", "is compressed with bzip2", "unpack it first: bunzip2"),
    (b"\xfd7zXZ\x00", "is compressed with xz", "unpack it first: unxz"),
    (b"\x28\xb5\x2f\xfd", "is compressed with Zstandard", "unpack it first: unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive", "unpack it and give the checkpoint in it"),
    (b"Rar!", "is a RAR archive", "unpack it and give the checkpoint in it"),
    (b"\x89PNG", "is an image", "the checkpoint comes first, images are given with --data"),
    (b"\xff\xd8\xff", "is an image", "the checkpoint comes first, images are given with --data"),
    (b"ZF", "is a compressed joblib pickle, as scikit-learn models are saved", _OTHER_LIBRARY),
)
# Files that nothing in their first bytes tells apart for certain.
_SUFFIXES: dict[str, tuple[str, str]] = {
    ".onnx": ("is an ONNX file", _FROM_PYTORCH),
    ".pb": ("is a TensorFlow graph", _OTHER_LIBRARY),
    ".tflite": ("is a TensorFlow Lite file", _OTHER_LIBRARY),
    ".msgpack": ("is a Flax checkpoint", _OTHER_LIBRARY),
    ".mlmodel": ("is a Core ML model", _FROM_PYTORCH),
    ".pdparams": ("is a PaddlePaddle checkpoint", _OTHER_LIBRARY),
}
# What the names in a zip archive begin with below its top folder, and what that says about it.
_MEMBERS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("constants.pkl", "code/"), "is a TorchScript archive, which holds code", f"save the weights: {_SAVE}"),
    (
        ("archive_format", "serialized_exported_program.json"),
        "is an exported program (torch.export)",
        "fit a model on it: ul train PROGRAM --data DATA",
    ),
    (("model.weights.h5",), "is a Keras model", _OTHER_LIBRARY),
    (("MAR-INF/",), "is a TorchServe archive", "unpack it and give the checkpoint in it"),
    (("MANIFEST.json",), "is a TorchServe archive", "unpack it and give the checkpoint in it"),
    (("Manifest.json",), "is a Core ML package", _FROM_PYTORCH),
)
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

# What a pickle names first of some libraries
_LIBRARIES: dict[str, tuple[str, str]] = {
    "fastai": ("is a fastai export, which runs code when it is loaded", "torch.save(learn.model.state_dict(), ...)"),
    "sklearn": ("is a pickled scikit-learn model", _OTHER_LIBRARY),
    "joblib": ("is a joblib pickle, as scikit-learn models are saved", _OTHER_LIBRARY),
    "xgboost": ("is a pickled XGBoost model", _OTHER_LIBRARY),
    "keras": ("is a pickled Keras model", _OTHER_LIBRARY),
    "tensorflow": ("is a pickled TensorFlow model", _OTHER_LIBRARY),
}
# An error needs no more of a pickle than this.
_MOST_PICKLE = 64 * 2**20


class Pickle(NamedTuple):
    """What a pickle names, read without running it."""

    named: tuple[str, ...]  # functions and classes, in order
    is_module: bool  # whether a whole torch.nn.Module is in it
    protocol: int


def refusal(path: Path, start: bytes) -> str | None:
    """Give what a file is, by its first bytes and its suffix, with the way out; None where it may be a checkpoint."""
    for begin, what, way_out in _STARTS:
        if start.startswith(begin):
            return f"{what}; {way_out}"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "is an HTML page, most likely of a download that failed; download it again from the file's own address"
    if start[4:8] == b"TFL3":
        return "{}; {}".format(*_SUFFIXES[".tflite"])
    if _is_onnx(start):
        return "{}; {}".format(*_SUFFIXES[".onnx"])
    if start[257:262] == b"ustar":
        return _refused_tar(path)
    if path.suffix in _SUFFIXES and not start.startswith(b"PK"):
        return "{}; {}".format(*_SUFFIXES[path.suffix])
    if text.startswith((b"{", b"[")):
        return f"is a JSON file; give the file of the weights: {_SAVE}"
    if _is_text(start):
        return f"is a text file; give a checkpoint: {_SAVE}"
    return None


def refusal_of_zip(names: list[str]) -> str | None:
    """Give what a zip archive is by the names in it; None where it may be what torch.save writes."""
    inner = [name.partition("/")[2] for name in names]
    for begins, what, way_out in _MEMBERS:
        if any(name.startswith(begins) for name in (*names, *inner)):
            return f"{what}; {way_out}"
    if "data.pkl" in inner:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return f"is a NumPy archive (.npz); save a state dict: {_SAVE}"
    weights = [name for name in names if name.endswith(_WEIGHTS)]
    if weights:
        return f"is a zip archive with '{weights[0][-80:]}' in it; unpack it and give that file"
    return f"is a zip archive of something else than PyTorch weights; give a checkpoint: {_SAVE}"


def is_exported_program(path: Path) -> bool:
    """Tell whether a file is what `torch.export.save` writes."""
    try:
        if not path.is_file():  # a pipe would wait for a writer
            return False
        with zipfile.ZipFile(path) as archive:
            said = refusal_of_zip(archive.namelist())
    except Exception:  # zipfile raises BadZipFile, NotImplementedError, struct.error ... on what is none
        return False
    return said is not None and said.startswith("is an exported program")


def refusal_of_pickle(pickle: Pickle, culprit: str | None) -> str:
    """Why a pickle is not read: the library or the class that it is of, with the way out."""
    for name in pickle.named:
        top = name.partition(".")[0]
        if top in _LIBRARIES:
            return "{}; {}".format(*_LIBRARIES[top])
    culprit = culprit or next((name for name in pickle.named if not _is_harmless(name)), None)
    if pickle.is_module:
        return f"holds a whole pickled module ({culprit}), which runs code when it is loaded; refused: save {_SAVE}"
    remedy = f"save only tensors: {_SAVE}"
    if culprit is not None:
        return f"holds a pickle that wants to run code ({culprit}); refused: {remedy}"
    if pickle.protocol > 2:
        return f"is a pickle of protocol {pickle.protocol}, not what torch.save writes by default; {remedy}"
    return f"is damaged, or not what torch.save writes by default; {remedy}"


def inspect_pickle(stream: IO[bytes]) -> Pickle:
    """Give what a pickle names. One that breaks off counts as far as it goes."""
    named: list[str] = []
    texts: list[str] = ["", ""]  # the last two
    memo: dict[int, Any] = {}  # what is kept for later
    pushed: Any = None  # what the last operation gave, where it is a text or a number
    attributes = {"_parameters", "_buffers", "_modules"}
    protocol = 0
    try:
        argument: Any
        for operation, argument, position in pickletools.genops(stream):
            name = operation.name
            if (position or 0) > _MOST_PICKLE:
                break
            if name == "MEMOIZE" or name.endswith("PUT"):
                memo[len(memo) if argument is None else argument] = pushed
                continue
            pushed = None
            if name == "PROTO":
                protocol = argument
            elif name == "GLOBAL":
                named.append(argument.replace(" ", "."))
            elif name == "STACK_GLOBAL":  # protocol 4 on: module and name are the last two texts
                named.append(".".join(texts))
            else:
                pushed = memo.get(argument) if name.endswith("GET") else argument
            if isinstance(pushed, str):
                attributes.discard(pushed)
                texts = [texts[-1], pushed]
    except Exception:  # pickletools raises ValueError and more on what is no pickle
        pass
    return Pickle(tuple(name[:200] for name in named if name.isprintable()), not attributes, protocol)


def _is_harmless(name: str) -> bool:
    """Tell whether a name in a pickle is none that an error should give as the reason."""
    return name in HARMLESS or re.match(r"torch\._utils\.|torch\.\w+Storage$|collections\.|_codecs\.", name) is not None


def _is_onnx(start: bytes) -> bool:
    """Tell whether a file begins as ONNX models do: its version of the format, then the text of who made it."""
    if len(start) < 8 or start[0] != 0x08 or not 3 <= start[1] <= 30 or start[2] != 0x12:
        return False
    return start[4 : 4 + min(start[3], 4)].isalpha()


def _is_text(start: bytes) -> bool:
    """Tell whether the first bytes are text: UTF-8, maybe cut within a character, without control characters."""
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:
            return False
        text = start[: error.start].decode()
    return all(character.isprintable() or character in "\t\r\n\ufeff" for character in text)


def _refused_tar(path: Path) -> str:
    import tarfile

    try:
        with tarfile.open(path, "r:") as archive:
            first = [archive.next() for _ in range(4)]
    except (tarfile.TarError, OSError, ValueError):
        first = []
    if {"sys_info", "pickle", "storages", "tensors"} & {member.name for member in first if member is not None}:
        return f"is in the tar format of PyTorch before 0.1.10; load it there with torch.load and save again: {_SAVE}"
    return "is a tar archive; unpack it and give the checkpoint in it"
