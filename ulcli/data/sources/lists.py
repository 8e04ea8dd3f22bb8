"""CSV lists of images: a `path` column, and `label` where they are labelled."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ulcli.data.sources.folders import FileSet
from ulcli.errors import UserError


def read_manifest(path: Path, name: str, *, need_labels: bool) -> FileSet:
    """The images that a CSV file names; relative paths start at the file's own folder."""
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
    needed = ["path", "label"] if need_labels else ["path"]
    missing = [column for column in needed if column not in columns]
    if missing:
        raise UserError(f"'{path}' has no column '{missing[0]}'; its first line must name {' and '.join(needed)}")
    if not rows:
        raise UserError(f"'{path}' lists no images below its first line")
    labelled = "label" in columns
    for line, row in rows:
        if not row["path"] or (labelled and not row["label"]):
            raise UserError(f"'{path}' line {line} has no {'label' if row['path'] else 'path'}")
    paths = [str(path.parent / row["path"]) for _, row in rows]
    if not labelled:
        return FileSet(name, paths, root=path.parent)
    classes = tuple(sorted({row["label"] for _, row in rows}))
    index = {label: number for number, label in enumerate(classes)}
    labels = np.asarray([index[row["label"]] for _, row in rows], dtype=np.int64)
    return FileSet(name, paths, labels, classes, path.parent)
