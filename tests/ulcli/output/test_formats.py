"""Which format a file name asks for, and that every format refuses what it cannot write."""

import io
from pathlib import Path

import pytest

from ulcli.errors import UserError
from ulcli.output import views
from ulcli.output.formats import Format, choose_format
from ulcli.output.rows import Rows
from ulcli.output.shapes import Shape

ANY = tuple(Shape)


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
    assert choose_format(asked, None if output is None else Path(output), ANY) is expected


@pytest.mark.parametrize("name", ["rows", "rows.xlsx", ".csv", "/dev/stdout"])
def test_a_name_that_tells_no_format(name):
    with pytest.raises(
        UserError, match=f"the name '{name}' tells no format: end it in .*\\.csv, .json.*or say --format"
    ):
        choose_format(None, Path(name), ANY)


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("shape", Shape)
def test_every_format_writes_a_shape_or_refuses_it(form, shape):
    results = {Shape.ROWS: Rows(("a",), iter([{"a": 1}])), Shape.DOCUMENT: {"a": 1}, Shape.TABLE: "a 1"}
    stream = io.StringIO()
    if shape in form.writers:
        assert form.write({shape: lambda: results[shape]}, stream) is shape
        assert "1" in stream.getvalue()
    else:
        with pytest.raises(
            UserError, match=f"--format {form.value} .*which this result is not; use --format "
        ) as refused:
            choose_format(form, None, [shape])
        able = str(refused.value).partition("use --format ")[2].split(" or ")
        assert able == [each.value for each in Format if shape in each.writers]
        assert stream.getvalue() == ""


def test_suffixes_and_meanings_are_of_one_format_each():
    suffixes = [suffix for form in Format for suffix in form.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert all(form.meaning and form.writers for form in Format)


def test_a_document_goes_before_rows_in_json_and_after_them_in_lines():
    assert Format.JSON.shape(ANY) is Shape.DOCUMENT
    assert Format.JSONL.shape(ANY) is Shape.ROWS


def test_what_is_said_of_a_result_before_the_work_is_true_of_it():
    made = {"TRAIN": views.train_view(None), "EVALUATE": views.evaluate_view(None)}
    made |= {"SCORE": views.score_view(None, 5), "INFO": views.info_view(None)}
    for name, view in made.items():
        assert tuple(view) == getattr(views, name)
