"""What is written can be read again, by the csv and json modules, whatever the names are."""

import csv
import io
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulcli.output.formats import Format
from ulcli.output.rows import Rows, plain, to_json
from ulcli.output.shapes import Shape

COLUMNS = ("path", "vacuity", "flagged", "error")
ROWS = [
    {"path": "a.png", "vacuity": 0.25, "flagged": True, "error": None},
    {"path": "b.png", "vacuity": None, "flagged": None, "error": "no such file"},
    {"path": "c.png", "vacuity": math.nan, "flagged": False, "error": ""},
]
AWKWARD = [
    "two\nlines.png",
    "carriage\rreturn.png",
    "a,b;c\td.png",
    "\"quoted\" 'twice'.png",
    " blanks around ",
    "=cmd|'/c calc'!A1.png",
    "äöü-日本-🙂.png",
    "\x1b[31mred\x00.png",
    os.fsdecode(b"caf\xe9.png"),
    "",
]


def written(rows, columns, form):
    """As text, the way it goes through a file: bytes that are no characters come back as they were."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
    form.write({Shape.ROWS: lambda: Rows(columns, iter(rows))}, stream)
    stream.flush()
    return raw.getvalue().decode("utf-8", "surrogateescape")


def read(text, form):
    if form is Format.CSV:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    if form is Format.JSON:
        return json.loads(text)
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_csv():
    assert written(ROWS, COLUMNS, Format.CSV) == (
        "path,vacuity,flagged,error\na.png,0.25,true,\nb.png,,,no such file\nc.png,,false,\n"
    )


@pytest.mark.parametrize("form", [Format.JSON, Format.JSONL])
def test_json(form):
    got = read(written(ROWS, COLUMNS, form), form)
    assert got == [ROWS[0], ROWS[1], {**ROWS[2], "vacuity": None}]
    assert [list(row) for row in got] == [list(COLUMNS)] * 3


def test_json_lines_have_a_row_a_line():
    assert written(ROWS, COLUMNS, Format.JSONL).count("\n") == 3


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON, Format.JSONL])
def test_no_rows(form):
    text = written([], COLUMNS, form)
    assert read(text, form) == []
    assert text == {"csv": "path,vacuity,flagged,error\n", "json": "[]\n", "jsonl": ""}[form.value]


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON, Format.JSONL])
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names(form, name):
    rows = [{"path": name, "vacuity": 0.5}, {"path": "next", "vacuity": 0.25}]
    got = read(written(rows, ("path", "vacuity"), form), form)
    assert [row["path"] for row in got] == [name, "next"]
    assert [float(row["vacuity"]) for row in got] == [0.5, 0.25]


@pytest.mark.parametrize("form", [Format.JSON, Format.JSONL])
def test_json_is_valid_unicode_even_where_a_name_is_not(form):
    text = written([{"path": os.fsdecode(b"caf\xe9.png")}], ("path",), form)
    assert "\\udce9" in text.encode("utf-8").decode()


def test_plain_characters_where_they_can_be():
    assert to_json({"path": "äöü 日本"}) == '{"path": "äöü 日本"}'
    assert to_json([1], indent=2) == "[\n  1\n]"


def test_columns_choose_and_order():
    rows = [{"a": 1, "b": 2, "c": 3}]
    assert written(rows, ("c", "a"), Format.CSV) == "c,a\n3,1\n"
    assert read(written(rows, ("c", "a"), Format.JSON), Format.JSON) == [{"c": 3, "a": 1}]


@given(st.floats(width=32))
def test_numbers_keep_what_float32_carries(value):
    shown = plain(value)
    if math.isfinite(value):
        assert shown == pytest.approx(value, rel=1e-7, abs=0)
        assert len(repr(shown).lower().partition("e")[0].replace("-", "").replace(".", "").strip("0")) <= 8
    else:
        assert shown is None


@pytest.mark.parametrize("value", [True, False, None, 7, 123_456_789_012, "nan"])
def test_what_is_no_fraction_stays(value):
    assert plain(value) is value


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON, Format.JSONL])
def test_rows_go_out_as_they_come(form):
    stream = io.StringIO()
    lengths = []

    def rows():
        for number in range(3):
            lengths.append(len(stream.getvalue()))
            yield {"path": str(number)}

    form.write({Shape.ROWS: lambda: Rows(("path",), rows())}, stream)
    assert lengths[0] < lengths[1] < lengths[2]
