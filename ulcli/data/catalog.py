"""From the words on the command line to image sets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ulcli.data.imageset import ImageSet, LabelledSet, Subset
from ulcli.data.sources.folders import FileSet
from ulcli.data.sources.registry import SOURCES
from ulcli.data.sources.source import NamedSource, Places, Source
from ulcli.data.splits import SPLITS, stratified_parts
from ulcli.errors import UserError, unknown_name

__all__ = ["DataName", "Places", "comes_in_parts", "known_names", "labelled_set", "score_inputs", "strange_set"]


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
    return [name for source in SOURCES if isinstance(source, NamedSource) for name in source.spellings]


def labelled_set(data: DataName, default: str, places: Places) -> LabelledSet:
    """The labelled images that `NAME[:SPLIT]` means; `default` is the split where none is named.

    A set in one piece is divided by class into 60% train, 20% val and 20% test, always the same way;
    one with train and test only has its val cut from train. `all` is every image.
    """
    split = data.split or default
    source = _source_of(data.name)
    if not source.has_labels:
        raise UserError(f"'{data.name}' has no labels; it serves as --ood data only")
    images = _part(source, data.name, split, places)
    if not len(images):
        raise UserError(f"'{data.name}' has too few images for a '{split}' part; name a set of its own for it")
    return images


def comes_in_parts(name: str) -> bool:
    """Tell whether a data set has a test split of its own, rather than one cut from a whole."""
    source = _recognise(name)
    return source is not None and source.has_test_split(name)


def strange_set(data: DataName, shape: tuple[int, int, int], places: Places) -> ImageSet:
    """A set of out-of-distribution images: a name, or a folder whose sub-folders do not matter."""
    source = _source_of(data.name)
    needs_split = data.split is not None and source.has_labels
    whole = None if needs_split else source.open_unlabelled(data.name, shape, places)
    return labelled_set(data, "test", places) if whole is None else whole


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
    # The whole word first: a file may be called `x:test`.
    if _recognise(word) is not None:
        return strange_set(DataName(word), shape, places)
    if _exists(word):
        return FileSet(word, [word])
    if data.split is not None and (_recognise(data.name) is not None or _exists(data.name)):
        return labelled_set(data, "all", places)
    raise UserError(f"no such file or folder: '{word}'")


def _recognise(name: str) -> Source | None:
    try:
        return next((source for source in SOURCES if source.recognises(name)), None)
    except OSError as error:  # a folder on the way that may not be searched, a name that is too long
        raise UserError(f"cannot look at '{name}': {error.strerror}") from None


def _source_of(name: str) -> Source:
    source = _recognise(name)
    if source is not None:
        return source
    if _exists(name):
        nouns = (source.noun for source in SOURCES if source.noun)
        raise UserError(f"'{name}' is neither {' nor '.join(nouns)}")
    if "/" in name or Path(name).suffix:
        raise UserError(f"no such file or folder: '{name}'")
    raise unknown_name("data set", name, known_names(), "and there is no folder of that name")


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except OSError as error:
        raise UserError(f"cannot look at '{name}': {error.strerror}") from None


def _part(source: Source, name: str, split: str, places: Places) -> LabelledSet:
    own = source.splits(name)
    if not own:
        whole = source.open_whole(name, places)
        return whole if split == "all" else Subset(whole, stratified_parts(whole.labels)[split], f"{name}:{split}")
    if split == "all":
        raise UserError(f"'{name}' comes in parts ({', '.join(own)}); name one of them")
    if "val" not in own and "train" in own and split != "test":
        train = source.open_split(name, "train", places)
        parts = stratified_parts(train.labels, {"train": 5 / 6, "val": 1 / 6})
        return Subset(train, parts[split], f"{name}:{split}")
    if split not in own:
        raise UserError(f"'{name}' has no '{split}' part beside {', '.join(own)}")
    return source.open_split(name, split, places)
