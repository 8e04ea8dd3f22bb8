"""What every source of images offers to the catalog."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ulcli.data.imageset import ImageSet, LabelledSet


@dataclass(frozen=True)
class Places:
    """Where named data sets lie, and whether missing ones may be fetched."""

    root: Path = Path("data")
    download: bool = False


class Source(ABC):
    """One kind of DATA on the command line: how it is written, what it is, and how its images are opened.

    `name` is always what the user wrote, without `:SPLIT`.
    """

    spellings: tuple[str, ...]  # in help and documentation: names, or a placeholder such as FOLDER
    meaning: str  # one line of Markdown
    noun = ""  # what an error calls a path of this kind; empty where names are meant
    has_labels = True  # where not, only `open_unlabelled` is called

    @abstractmethod
    def recognises(self, name: str) -> bool:
        """Tell whether `name` means a data set of this source; an `OSError` is told to the user."""

    def splits(self, name: str) -> Collection[str]:
        """The splits that come with the data set; none where it comes whole."""
        return ()

    def has_test_split(self, name: str) -> bool:
        """Tell whether the data set has test images of its own, rather than some to be cut from a whole."""
        return "test" in self.splits(name)

    def open_split(self, name: str, split: str, places: Places) -> LabelledSet:
        """One of `splits`."""
        raise NotImplementedError

    def open_whole(self, name: str, places: Places) -> LabelledSet:
        """Every image of a data set without splits of its own."""
        raise NotImplementedError

    def open_unlabelled(self, name: str, shape: tuple[int, int, int], places: Places) -> ImageSet | None:
        """Every image, with labels or not, as OOD data or to be scored; None where that is the labelled test split.

        `shape` is that of the network's input: channels, height, width. Only a source whose images need no labels
        has to say more than this.
        """
        return None if self.splits(name) else self.open_whole(name, places)


class NamedSource(Source):
    """Data sets that go by names, not paths: a folder `digits` is written `./digits`."""

    def recognises(self, name: str) -> bool:
        return name in self.spellings

    def open_unlabelled(self, name: str, shape: tuple[int, int, int], places: Places) -> ImageSet | None:
        return None  # a name stands for its test split
