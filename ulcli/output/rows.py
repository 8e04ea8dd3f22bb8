"""A stream of rows to CSV, JSON or JSON lines; one scalar a column."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ulcli.output.formats import Format
from ulcli.rows import Row


def write_rows(rows: Iterable[Row], columns: Sequence[str], form: Format, stream: IO[str]) -> None:
    """Write rows as they come, so that the first is out before the last is computed."""
    _WRITERS[form](rows, columns, stream)


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


def _write_csv(rows: Iterable[Row], columns: Sequence[str], stream: IO[str]) -> None:
    writer = csv.writer(_UnixLines(stream))
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])


@dataclass(frozen=True)
class _UnixLines:
    """Ends rows in a line feed; told to do so itself, csv before Python 3.13 leaves a carriage return unquoted."""

    stream: IO[str]

    def write(self, row: str) -> None:
        self.stream.write(row.removesuffix("\r\n") + "\n")


def _cell(value: Any) -> Any:
    value = plain(value)
    return str(value).lower() if isinstance(value, bool) else value


def _write_json_lines(rows: Iterable[Row], columns: Sequence[str], stream: IO[str]) -> None:
    for row in rows:
        stream.write(to_json({column: plain(row[column]) for column in columns}) + "\n")


def _write_json(rows: Iterable[Row], columns: Sequence[str], stream: IO[str]) -> None:
    separator = "[\n"
    for row in rows:
        stream.write(separator + to_json({column: plain(row[column]) for column in columns}))
        separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


_WRITERS: dict[Format, Callable[[Iterable[Row], Sequence[str], IO[str]], None]] = {
    Format.CSV: _write_csv,
    Format.JSON: _write_json,
    Format.JSONL: _write_json_lines,
}
