"""From the words on the command line to image sets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ulcli.data.imageset import ImageSet, Subset
from ulcli.data.sources import builtin
from ulcli.data.sources.folders import FileSet, class_folder, class_names, plain_folder
from ulcli.data.sources.lists import read_manifest
from ulcli.data.sources.torchvision import SETS, TorchvisionSet
from ulcli.data.splits import SPLITS, stratified_parts
from ulcli.errors import UserError, unknown_name

_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Places:
    """Where named data sets lie, and whether missing ones may be fetched."""

    root: Path = Path("data")
    download: bool = False


@dataclass(frozen=True)
class DataName:
    """`NAME` or `NAME:SPLIT`, taken apart."""

    name: str
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> DataName:
        name, colon, split = text.rpartition(":")
        # A colon may belong to a path; only the known splits are cut off.
        return cls(name, split) if colon and split in (*SPLITS, "all") else cls(text)

    def __str__(self) -> str:
        return self.name if self.split is None else f"{self.name}:{self.split}"

    def resolved(self) -> DataName:
        """The same set under a name that does not depend on the working directory."""
        if self.name in known_names():
            return self
        return DataName(str(Path(self.name).resolve()), self.split)


def known_names() -> list[str]:
    """The data sets that go by a name rather than a path."""
    return [*builtin.LABELLED, *builtin.STRANGE, *SETS]


def labelled_set(data: DataName, default: str, places: Places) -> ImageSet:
    """The labelled images that `NAME[:SPLIT]` means; `default` is the split where none is named.

    A set in one piece is divided by class into 60% train, 20% val and 20% test, always the same way;
    one with train and test only has its val cut from train. `all` is every image.
    """
    split = data.split or default
    images = _open(data.name, split, places)
    if not len(images):
        raise UserError(f"'{data.name}' has too few images for a '{split}' part; name a set of its own for it")
    return images


def comes_in_parts(name: str) -> bool:
    """Whether a set has a test part of its own, rather than one cut from a single piece."""
    if name in builtin.LABELLED or name in SETS:
        return True
    return _split_folder(Path(name), "test") is not None


def strange_set(data: DataName, shape: tuple[int, int, int], places: Places) -> ImageSet:
    """A set of out-of-distribution images: a name, or a folder whose sub-folders do not matter."""
    if data.name in builtin.STRANGE:
        return builtin.STRANGE[data.name](shape)
    path = Path(data.name)
    if data.name not in known_names() and path.is_dir() and data.split is None:
        return plain_folder(path)
    if path.suffix.lower() == ".csv" and path.is_file() and data.split is None:
        return read_manifest(path, str(data), need_labels=False)
    return labelled_set(data, "test", places)


def score_inputs(words: Iterable[str], shape: tuple[int, int, int], places: Places) -> list[ImageSet]:
    """The images that `ul score` is asked about, one set per word; `-` reads paths from standard input."""
    return [_score_input(word, shape, places) for word in words]


def _score_input(word: str, shape: tuple[int, int, int], places: Places) -> ImageSet:
    if word == "-":
        # Bytes: a file's name need not be text in the terminal's encoding.
        return FileSet("-", [os.fsdecode(line) for line in sys.stdin.buffer.read().splitlines() if line.strip()])
    data = DataName.parse(word)
    if data.name in known_names():
        return strange_set(data, shape, places)
    path = Path(word)
    if not _exists(path):
        if data.split is not None and _exists(Path(data.name)):
            return labelled_set(data, "all", places)
        raise UserError(f"no such file or folder: '{word}'")
    if path.is_dir():
        return plain_folder(path)
    if path.suffix.lower() == ".csv":
        return read_manifest(path, word, need_labels=False)
    return FileSet(word, [word])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a folder on the way that may not be searched, a name that is too long
        raise UserError(f"cannot look at '{path}': {error.strerror}") from None


def _open(name: str, split: str, places: Places) -> ImageSet:
    if name in builtin.LABELLED:
        return _part(lambda: builtin.LABELLED[name](), name, split)
    if name in builtin.STRANGE:
        raise UserError(f"'{name}' has no labels; it serves as --ood data only")
    if name in SETS:
        return _torchvision_part(name, split, places)
    path = Path(name)
    if path.is_dir():
        return _folder_part(path, name, split)
    if path.is_file():
        if path.suffix.lower() != ".csv":
            raise UserError(f"'{name}' is neither a folder nor a .csv list of images")
        return _part(lambda: read_manifest(path, name, need_labels=True), name, split)
    if "/" in name or path.suffix:
        raise UserError(f"no such file or folder: '{name}'")
    raise unknown_name("data set", name, known_names(), "and there is no folder of that name")


def _part(whole: Callable[[], ImageSet], name: str, split: str) -> ImageSet:
    """One part of a set that comes in one piece."""
    images = whole()
    if split == "all":
        return images
    assert images.labels is not None
    return Subset(images, stratified_parts(images.labels)[split], f"{name}:{split}")


def _torchvision_part(name: str, split: str, places: Places) -> ImageSet:
    if split == "all":
        raise UserError(f"'{name}' comes as '{name}:train' and '{name}:test'; name one of them")
    if split == "test":
        return TorchvisionSet(name, "test", places.root, download=places.download)
    return _cut_val(TorchvisionSet(name, "train", places.root, download=places.download), name, split)


def _folder_part(folder: Path, name: str, split: str) -> ImageSet:
    own = {part: _split_folder(folder, part) for part in SPLITS}
    if own["train"] is None and own["test"] is None:
        return _part(lambda: class_folder(folder, name), name, split)
    if split == "all":
        raise UserError(f"'{name}' comes in parts ({', '.join(p for p in SPLITS if own[p])}); name one of them")
    if own["val"] is None and own["train"] is not None and split != "test":
        return _cut_val(class_folder(own["train"], name), name, split)
    place = own[split]
    if place is None:
        raise UserError(f"'{name}' has no folder '{split}' beside {', '.join(p for p in SPLITS if own[p])}")
    return class_folder(place, f"{name}:{split}")


def _split_folder(folder: Path, split: str) -> Path | None:
    """`FOLDER/train` and its like, if it is there and has class folders in it."""
    for name in _SPLIT_FOLDERS[split]:
        candidate = folder / name
        if candidate.is_dir() and class_names(candidate):
            return candidate
    return None


def _cut_val(train: ImageSet, name: str, split: str) -> ImageSet:
    assert train.labels is not None
    parts = stratified_parts(train.labels, {"train": 5 / 6, "val": 1 / 6})
    return Subset(train, parts[split], f"{name}:{split}")
