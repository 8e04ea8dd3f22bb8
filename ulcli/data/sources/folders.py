"""Image files on disk: folders with one sub-folder a class, plain folders, lists of paths."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ulcli.data.images import is_image_name, read_image
from ulcli.data.imageset import ImageSet, LabelledSet, hash_parts
from ulcli.data.sources.source import Places, Source
from ulcli.errors import UserError, shorten
from ulcli.files import is_special

_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class Folders(Source):
    """Folders of image files; where labels are wanted, with one sub-folder a class."""

    spellings = ("FOLDER",)
    meaning = "one sub-folder a class; or `train`, `val`, `test` with one sub-folder a class in each"
    noun = "a folder"

    def recognises(self, name: str) -> bool:
        return Path(name).is_dir()

    def splits(self, name: str) -> Collection[str]:
        own = _split_folders(Path(name))
        return own if "train" in own or "test" in own else ()

    def open_whole(self, name: str, places: Places) -> LabelledSet:
        return class_folder(Path(name), name)

    def open_split(self, name: str, split: str, places: Places) -> LabelledSet:
        return class_folder(_split_folders(Path(name))[split], f"{name}:{split}")

    def open_unlabelled(self, name: str, shape: tuple[int, int, int], places: Places) -> ImageSet:
        return plain_folder(Path(name))


class FileSet(ImageSet):
    """Image files, read when asked for. A path is shown as it was given."""

    def __init__(self, name: str, paths: Sequence[str], root: Path | None = None) -> None:
        self.name = name
        self.paths = paths
        self.root = root  # the folder that the paths lie in, if it is one

    def __len__(self) -> int:
        return len(self.paths)

    def identify(self, index: int) -> str:
        return self.paths[index]

    def load(self, index: int) -> Image.Image:
        return read_image(Path(self.paths[index]))

    def digest(self) -> str:
        # Size and time stand in for the content: reading 100,000 files to learn that nothing changed is no cache.
        # Paths count from the root: the same folder under another name, or moved, holds the same images.
        root = "" if self.root is None else os.path.join(self.root, "")
        return hash_parts(*(f"{path.removeprefix(root)}|{_stamp(path)}" for path in self.paths), self.labels)

    def file_marks(self) -> Iterable[str]:
        # Unpacked archives may give other images the same names, sizes and times.
        return map(_mark, self.paths)


class LabelledFiles(LabelledSet, FileSet):
    """Image files, each with a label."""

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        labels: np.ndarray,
        classes: tuple[str, ...],
        root: Path | None = None,
    ) -> None:
        super().__init__(name, paths, root)
        self.labels = labels
        self.classes = classes


def walk_images(folder: Path) -> Iterator[str]:
    """Paths of the images in a folder and below, hidden ones, pipes and devices left out, in sorted order."""

    def fail(error: OSError) -> None:
        raise UserError(f"cannot read folder '{error.filename}': {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (os.path.join(parent, name) for name in sorted(files) if is_image_name(name))
        yield from (path for path in paths if not is_special(Path(path)))


def plain_folder(folder: Path) -> FileSet:
    """Every image of a folder and its sub-folders, without labels."""
    paths = list(walk_images(folder))
    if not paths:
        raise UserError(f"no images in '{folder}' or its sub-folders; expected .png, .jpg, .tif, .webp or similar")
    return FileSet(str(folder), paths, folder)


def class_folder(folder: Path, name: str) -> LabelledFiles:
    """A labelled set from a folder with one sub-folder a class; classes are the sorted sub-folder names."""
    classes = tuple(class_names(folder))
    if not classes:
        raise UserError(
            f"'{folder}' has no sub-folders; labelled data needs one sub-folder a class, or a CSV with path,label"
        )
    paths: list[str] = []
    labels: list[int] = []
    empty = []
    for label, class_name in enumerate(classes):
        members = list(walk_images(folder / class_name))
        paths += members
        labels += [label] * len(members)
        if not members:
            empty.append(class_name)
    if not paths:
        raise UserError(f"no images in the sub-folders of '{folder}'; expected .png, .jpg, .tif, .webp or similar")
    if empty:
        raise UserError(f"no images for class {shorten(empty)} in '{folder}'; add some or remove the sub-folder")
    return LabelledFiles(name, paths, np.asarray(labels, dtype=np.int64), classes, folder)


def class_names(folder: Path) -> list[str]:
    """Sorted names of the visible sub-folders."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"cannot read folder '{folder}': {error.strerror}") from None


def _split_folders(folder: Path) -> dict[str, Path]:
    """`FOLDER/train` and its like, which are there and have class folders in them."""
    own = {}
    for split, names in _SPLIT_FOLDERS.items():
        candidates = (folder / name for name in names)
        found = next((place for place in candidates if place.is_dir() and class_names(place)), None)
        if found is not None:
            own[split] = found
    return own


def _stamp(path: str) -> str:
    status = _status(path)
    if status is None:
        return "missing"
    # The mode too: an image that may be read from now on is another image than one that could not.
    return f"{status.st_size} {status.st_mtime_ns} {status.st_mode}"


def _mark(path: str) -> str:
    status = _status(path)
    return "missing" if status is None else f"{status.st_dev} {status.st_ino} {status.st_ctime_ns}"


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):  # ValueError: a list may name a file with a null byte
        return None
