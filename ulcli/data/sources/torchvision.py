"""torchvision's data sets by name."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ulcli.data.images import to_plain
from ulcli.data.imageset import LabelledSet, hash_parts
from ulcli.data.sources.source import NamedSource, Places
from ulcli.errors import UserError
from ulcli.files import atomic_write


@dataclass(frozen=True)
class _Entry:
    """How torchvision spells one data set: its class, and the arguments that choose train and test."""

    class_name: str
    train: dict[str, Any] = field(default_factory=lambda: {"train": True})
    test: dict[str, Any] = field(default_factory=lambda: {"train": False})


_BY_SPLIT = {"train": {"split": "train"}, "test": {"split": "test"}}
SETS = {
    "mnist": _Entry("MNIST"),
    "fashion-mnist": _Entry("FashionMNIST"),
    "kmnist": _Entry("KMNIST"),
    "cifar10": _Entry("CIFAR10"),
    "cifar100": _Entry("CIFAR100"),
    "svhn": _Entry("SVHN", **_BY_SPLIT),
    "stl10": _Entry("STL10", **_BY_SPLIT),
}


class Torchvision(NamedSource):
    """Data sets that torchvision knows to read and to download."""

    spellings = tuple(SETS)
    meaning = (
        "torchvision's sets under `--data-root` (default `data`, or `UL_DATA_ROOT`); `--download` fetches a missing one"
    )

    def splits(self, name: str) -> Collection[str]:
        return ("train", "test")

    def open_split(self, name: str, split: str, places: Places) -> LabelledSet:
        return TorchvisionSet(name, split, places.root, download=places.download)


class TorchvisionSet(LabelledSet):
    """One part (`train` or `test`) of a torchvision data set under `root`."""

    def __init__(self, name: str, part: str, root: Path, *, download: bool) -> None:
        import torchvision

        entry = SETS[name]
        self.name = f"{name}:{part}"
        _unpack(root / entry.class_name / "raw")
        try:
            self.data = getattr(torchvision.datasets, entry.class_name)(
                root=root, download=download, **getattr(entry, part)
            )
        except (RuntimeError, OSError) as error:
            if download:
                raise UserError(f"could not download '{name}' to '{root}': {error}") from None
            raise UserError(
                f"'{name}' is not under '{root}', laid out as torchvision.datasets.{entry.class_name} wants it; "
                "name its place with --data-root, or fetch it with --download"
            ) from None
        labels = self.data.targets if hasattr(self.data, "targets") else self.data.labels
        self.labels = np.asarray(labels, dtype=np.int64)
        count = int(self.labels.max()) + 1
        self.native_size = self.load(0).width
        self.classes = tuple(getattr(self.data, "classes", None) or map(str, range(count)))

    def __len__(self) -> int:
        return len(self.data)

    def identify(self, index: int) -> str:
        return f"{self.name}/{index}"

    def load(self, index: int) -> Image.Image:
        image, _ = self.data[index]
        return to_plain(image)

    def digest(self) -> str:
        # The name, always the same for the same files, is there for model files of old, which hold this hash.
        return hash_parts(self.name, np.asarray(self.data.data), self.labels)


def _unpack(folder: Path) -> None:
    """Unpack the .gz files of the MNIST family in place: torchvision does so only right after its own download."""
    for packed in sorted(folder.glob("*-ubyte.gz")):
        target = packed.with_suffix("")
        if target.exists():
            continue
        try:
            with gzip.open(packed) as source, atomic_write(target, "wb") as unpacked:
                shutil.copyfileobj(source, unpacked)
        except (OSError, EOFError) as error:
            raise UserError(f"cannot unpack '{packed}' beside itself: {error}") from None
