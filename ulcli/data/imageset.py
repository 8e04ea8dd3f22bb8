"""What every source of images looks like from outside."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from PIL import Image

from ulcli.data.images import ImageError


class ImageSet(ABC):
    """A named, ordered, indexable collection of images, with or without labels.

    A function that needs labels takes a `LabelledSet`; of any other set `labels` and `classes` are None.
    """

    name: str
    classes: tuple[str, ...] | None = None
    labels: np.ndarray | None = None
    native_size: int | None = None  # side of the images in pixels, where all are squares of one size

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def identify(self, index: int) -> str:
        """Give what a row's `path` column shows: the file, or the set's name and the position in it."""

    @abstractmethod
    def load(self, index: int) -> Image.Image:
        """Decode one image to mode `L` or `RGB`; raises `ImageError`."""

    @abstractmethod
    def digest(self) -> str:
        """A hash that changes when the images, their order or their labels do, and lasts when the files are copied.

        Labels are the numbers in `labels`; compare the names of the classes as well. What the user calls the set,
        or where it lies, does not count.
        """

    def cache_key(self) -> str:
        """As `digest`, but of these very files: features kept under it are never those of other images."""
        return hash_parts(self.digest(), *self.file_marks())

    def file_marks(self) -> Iterable[str]:
        """Give what else tells the files of a set from others on this machine; nothing where `digest` sees pixels."""
        return ()

    def label_name(self, index: int) -> str | None:
        """The class name of one image, or None where there are no labels."""
        return None


_LOOKED_AT = 64  # images whose size is read
_LARGEST = 320  # images of this size may be what a network takes as they are; larger ones hardly


def common_size(images: ImageSet) -> int | None:
    """Give the shorter side of the images where they are small and, as far as a sample shows, of one size."""
    if images.native_size is not None:
        return images.native_size
    places = np.linspace(0, len(images) - 1, min(_LOOKED_AT, len(images))).astype(int)
    try:
        sizes = {images.load(int(index)).size for index in places}
    except ImageError:
        return None
    if len(sizes) != 1:
        return None
    width, height = sizes.pop()
    return min(width, height) if max(width, height) <= _LARGEST else None


class LabelledSet(ImageSet):
    """An image set with a label for every image: `labels[i]` is an index into `classes`."""

    classes: tuple[str, ...]
    labels: np.ndarray  # (n,), int64

    def label_name(self, index: int) -> str:
        return self.classes[int(self.labels[index])]


class Subset(LabelledSet):
    """Some images of another set, in the given order."""

    def __init__(self, parent: LabelledSet, indices: Sequence[int] | np.ndarray, name: str) -> None:
        self.parent = parent
        self.indices = np.asarray(indices, dtype=np.int64)
        self.name = name
        self.classes = parent.classes
        self.labels = parent.labels[self.indices]
        self.native_size = parent.native_size

    def __len__(self) -> int:
        return len(self.indices)

    def identify(self, index: int) -> str:
        return self.parent.identify(int(self.indices[index]))

    def load(self, index: int) -> Image.Image:
        return self.parent.load(int(self.indices[index]))

    def digest(self) -> str:
        return hash_parts(self.parent.digest(), self.indices, self.labels, repr(self.classes))

    def file_marks(self) -> Iterable[str]:
        return self.parent.file_marks()


def of_classes(images: LabelledSet, names: Collection[str], name: str) -> LabelledSet:
    """Only the images of some classes, which keep their order; labels count among these."""
    kept = [label for label, class_name in enumerate(images.classes) if class_name in names]
    part = Subset(images, np.flatnonzero(np.isin(images.labels, kept)), name)
    part.classes = tuple(images.classes[label] for label in kept)
    part.labels = np.searchsorted(kept, part.labels)
    return part


def relabel(images: LabelledSet, classes: tuple[str, ...]) -> LabelledSet:
    """The same images with labels that are indices into `classes`, which must hold all of the set's own."""
    if images.classes == classes:
        return images
    view = Subset(images, np.arange(len(images)), images.name)
    view.labels = np.array([classes.index(name) for name in images.classes])[images.labels]
    view.classes = classes
    return view


def hash_parts(*parts: str | np.ndarray | None) -> str:
    """One hash of texts and arrays; the same parts in another order or shape give another hash."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            state.update(f"array {part.dtype} {part.shape}:".encode())
            state.update(np.ascontiguousarray(part).data)
        else:
            text = repr(part).encode("utf-8", "surrogateescape")
            state.update(b"text %d:" % len(text) + text)
    return state.hexdigest()
