"""The one registry of formats: what each is called, which file names ask for it, what it can write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import Enum
from pathlib import Path
from typing import IO, Any

from ulcli.errors import UserError
from ulcli.output.rows import (
    write_csv,
    write_json_document,
    write_json_line,
    write_json_lines,
    write_json_rows,
)
from ulcli.output.shapes import Shape, View

# Writes what a view gives for one shape.
Writer = Callable[[Any, IO[str]], None]


def _write_table(table: Any, stream: IO[str]) -> None:
    from ulcli.output.tables import print_table  # rich, which every start of the tool would wait for

    print_table(table, stream)


class Format(str, Enum):
    """How a result is written. An entry: name, meaning, file suffixes, and a writer for each shape it can write.

    Of several shapes that a result has, a format writes the first of its own.
    """

    TABLE = ("table", "aligned columns for people", (".txt",), {Shape.TABLE: _write_table})
    CSV = ("csv", "comma-separated rows below a header", (".csv",), {Shape.ROWS: write_csv})
    JSON = (
        "json",
        "one document, or an array of rows",
        (".json",),
        {Shape.DOCUMENT: write_json_document, Shape.ROWS: write_json_rows},
    )
    JSONL = (
        "jsonl",
        "one JSON object a line",
        (".jsonl", ".ndjson"),
        {Shape.ROWS: write_json_lines, Shape.DOCUMENT: write_json_line},
    )

    meaning: str
    suffixes: tuple[str, ...]
    writers: Mapping[Shape, Writer]

    def __new__(cls, name: str, meaning: str, suffixes: tuple[str, ...], writers: Mapping[Shape, Writer]) -> Format:
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning, member.suffixes, member.writers = meaning, suffixes, writers
        return member

    def shape(self, available: Collection[Shape]) -> Shape:
        """Choose what to write of a result that has these shapes; `UserError` where this format writes none of them."""
        for shape in self.writers:
            if shape in available:
                return shape
        able = [form.value for form in Format if any(shape in available for shape in form.writers)]
        raise UserError(
            f"--format {self.value} writes {' or '.join(shape.value for shape in self.writers)}, which this result is "
            f"not; use --format {' or '.join(able)}"
        )

    def write(self, view: View, stream: IO[str]) -> Shape:
        """Write a result; returns the shape that it was written in."""
        shape = self.shape(view)
        self.writers[shape](view[shape](), stream)
        return shape


def choose_format(asked: Format | None, output: Path | None, available: Collection[Shape]) -> Format:
    """Choose what was asked for; else by the output file's suffix; else a table. Fails where that cannot be written."""
    form = asked or (Format.TABLE if output is None else _by_suffix(output))
    form.shape(available)
    return form


def _by_suffix(output: Path) -> Format:
    by_suffix = {suffix: form for form in Format for suffix in form.suffixes}
    if output.suffix.lower() not in by_suffix:
        raise UserError(f"the name '{output}' tells no format: end it in {', '.join(by_suffix)}, or say --format")
    return by_suffix[output.suffix.lower()]
