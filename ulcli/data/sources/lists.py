"""CSV lists of images: a `path` column, and `label` where they are labelled."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ulcli.data.imageset import ImageSet, LabelledSet
from ulcli.data.sources.folders import FileSet, LabelledFiles
from ulcli.data.sources.source import Places, Source
from ulcli.errors import UserError

_Row = dict[str, str]


class Lists(Source):
    """Files that list images."""

    spellings = ("LIST.csv",)
    meaning = "columns `path` and `label`; relative paths start at the file's folder"
    noun = "a .csv list of images"

    def recognises(self, name: str) -> bool:
        path = Path(name)
        return path.suffix.lower() == ".csv" and path.exists() and not path.is_dir()

    def open_whole(self, name: str, places: Places) -> LabelledSet:
        return read_labelled_list(Path(name), name)

    def open_unlabelled(self, name: str, shape: tuple[int, int, int], places: Places) -> ImageSet:
        return read_list(Path(name), name)


def read_list(path: Path, name: str) -> FileSet:
    """The images that a CSV file names, with their labels where it has any."""
    rows = _read(path, needed=["path"])
    return _labelled_files(path, name, rows) if "label" in rows[0] else FileSet(name, _paths(path, rows), path.parent)


def read_labelled_list(path: Path, name: str) -> LabelledFiles:
    """The images that a CSV file names, which must have labels."""
    return _labelled_files(path, name, _read(path, needed=["path", "label"]))


def _read(path: Path, needed: Collection[str]) -> list[_Row]:
    """The rows of a CSV file, one at least, with no empty cell in `path` and `label`."""
    try:
        # utf-8-sig: spreadsheets put a byte-order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' is not a CSV file in UTF-8: {error}") from None
    missing = [column for column in needed if column not in columns]
    if missing:
        raise UserError(f"'{path}' has no column '{missing[0]}'; its first line must name {' and '.join(needed)}")
    if not rows:
        raise UserError(f"'{path}' lists no images below its first line")
    for line, row in rows:
        if not row["path"] or ("label" in columns and not row["label"]):
            raise UserError(f"'{path}' line {line} has no {'label' if row['path'] else 'path'}")
    return [row for _, row in rows]


def _labelled_files(path: Path, name: str, rows: list[_Row]) -> LabelledFiles:
    classes = tuple(sorted({row["label"] for row in rows}))
    index = {label: number for number, label in enumerate(classes)}
    labels = np.asarray([index[row["label"]] for row in rows], dtype=np.int64)
    return LabelledFiles(name, _paths(path, rows), labels, classes, path.parent)


def _paths(path: Path, rows: list[_Row]) -> list[str]:
    """Of the images of a list; relative ones start at its own folder."""
    return [str(path.parent / row["path"]) for row in rows]
