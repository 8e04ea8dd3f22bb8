"""Which format a file name asks for."""

from pathlib import Path

import pytest

from ulcli.errors import UserError
from ulcli.output.formats import Format, choose_format


@pytest.mark.parametrize(
    ("asked", "output", "expected"),
    [
        (None, None, Format.TABLE),
        (Format.CSV, None, Format.CSV),
        (None, "a.csv", Format.CSV),
        (None, "a.JSON", Format.JSON),
        (None, "a.jsonl", Format.JSONL),
        (None, "a.ndjson", Format.JSONL),
        (None, "a.txt", Format.TABLE),
        (Format.JSON, "a.csv", Format.JSON),
        (Format.JSON, "a.xyz", Format.JSON),
    ],
)
def test_choose(asked, output, expected):
    assert choose_format(asked, None if output is None else Path(output)) is expected


@pytest.mark.parametrize("name", ["rows", "rows.xlsx", ".csv", "/dev/stdout"])
def test_a_name_that_tells_no_format(name):
    with pytest.raises(UserError, match=f"the name '{name}' tells no format: end it in .csv, .json, .*or say --format"):
        choose_format(None, Path(name))
