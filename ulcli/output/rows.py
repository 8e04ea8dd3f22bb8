"""A stream of rows to CSV, JSON or JSON lines; one scalar a column."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ulcli.rows import Row


@dataclass(frozen=True)
class Rows:
    """Rows as they come, and the order of their columns."""

    columns: Sequence[str]
    rows: Iterable[Row]


def plain(value: Any) -> Any:
    """A value as files show it: 8 significant digits (float32 has 7), no NaN or infinity, which JSON lacks."""
    if isinstance(value, float):
        return float(f"{value:.8g}") if math.isfinite(value) else None
    return value


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON in plain characters; a file name that is not valid Unicode is escaped, for the output must be."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False)
    return text


def write_csv(table: Rows, stream: IO[str]) -> None:
    """Rows below a line with the names of their columns; each is out before the next is computed."""
    writer = csv.writer(_UnixLines(stream))
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([_cell(row[column]) for column in table.columns])


@dataclass(frozen=True)
class _UnixLines:
    """Ends rows in a line feed; told to do so itself, csv before Python 3.13 leaves a carriage return unquoted."""

    stream: IO[str]

    def write(self, row: str) -> None:
        self.stream.write(row.removesuffix("\r\n") + "\n")


def _cell(value: Any) -> Any:
    value = plain(value)
    return str(value).lower() if isinstance(value, bool) else value


def write_json_lines(table: Rows, stream: IO[str]) -> None:
    """One object a row."""
    for row in table.rows:
        write_json_line(_object(row, table), stream)


def write_json_rows(table: Rows, stream: IO[str]) -> None:
    """One array, a row a line."""
    separator = "[\n"
    for row in table.rows:
        stream.write(separator + to_json(_object(row, table)))
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def write_json_line(document: Any, stream: IO[str]) -> None:
    """A document on one line."""
    stream.write(to_json(document) + "\n")


def write_json_document(document: Any, stream: IO[str]) -> None:
    """A document, indented."""
    stream.write(to_json(document, indent=2) + "\n")


def _object(row: Row, table: Rows) -> dict[str, Any]:
    return {column: plain(row[column]) for column in table.columns}
