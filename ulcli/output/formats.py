"""The formats, and which of them a file name asks for."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from ulcli.errors import UserError


class Format(str, Enum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


_SUFFIXES = {
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".txt": Format.TABLE,
}


def choose_format(asked: Format | None, output: Path | None) -> Format:
    """What was asked for; else what the output file's suffix means; else a table."""
    if asked is not None or output is None:
        return asked or Format.TABLE
    if output.suffix.lower() not in _SUFFIXES:
        raise UserError(f"the name '{output}' tells no format: end it in {', '.join(_SUFFIXES)}, or say --format")
    return _SUFFIXES[output.suffix.lower()]
