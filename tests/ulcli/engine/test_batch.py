"""One batch to its rows: every column of the registry filled, and the same row whichever batch an image is in."""

import pytest

from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.data.imageset import Subset
from ulcli.data.loader import batches
from ulcli.data.sources.folders import FileSet
from ulcli.engine.batch import RowOptions, batch_rows
from ulcli.expressions import Condition
from ulcli.model.choices import SetMethod
from ulcli.model.file import Model
from ulcli.rows import COLUMNS, Extra, Kind, column_names

TYPES = {Kind.TEXT: str, Kind.NUMBER: float, Kind.FLAG: bool}
EVERYTHING = RowOptions(Condition("vacuity", ">", -1.0), labels=True, sets=0.9, probs=True, alpha=True)


@pytest.fixture(scope="module")
def model(digits_model):
    return Model.load(digits_model)


@pytest.fixture(scope="module")
def rows(model):
    backbone = model.backbone.build()

    def make(images, options, batch_size=64):
        found = batches(images, model.transform, batch_size, 1)
        return [row for batch in found for row in batch_rows(model, backbone, "cpu", images, batch, options)]

    return make


@pytest.fixture(scope="module")
def digits():
    return Subset(labelled_set(DataName("digits"), "test", Places()), range(20), "some digits")


def test_every_column_is_filled_with_what_it_says(rows, model, digits):
    columns = {name: column for column in COLUMNS.values() for name in column.names(model.classes)}
    found = rows(digits, EVERYTHING)
    assert len(found) == 20
    for row in found:
        assert list(row) == list(columns)
        assert row.pop("error") is None
        for name, value in row.items():
            assert type(value) is TYPES[columns[name].kind], name


def test_an_image_that_cannot_be_read_has_a_name_and_an_error_alone(rows, model, tmp_path):
    images = FileSet("files", [str(tmp_path / "none.png")])
    (row,) = rows(images, EVERYTHING)
    filled = {name: value for name, value in row.items() if value is not None}
    assert filled == {"path": str(tmp_path / "none.png"), "error": "no such file"}
    assert list(row) == column_names(model.classes, set(Extra))


@pytest.mark.parametrize(
    ("options", "extras"),
    [
        ({}, set()),
        ({"labels": True}, {Extra.LABELS}),
        ({"sets": 0.5}, {Extra.SETS}),
        ({"probs": True}, {Extra.PROBS}),
        ({"alpha": True}, {Extra.ALPHA}),
        ({"labels": True, "sets": 0.9, "set_method": SetMethod.APS, "probs": True, "alpha": True}, set(Extra)),
    ],
)
def test_which_option_brings_what(rows, model, digits, options, extras):
    asked = RowOptions(**options)
    assert asked.extras == extras
    names = [
        name for column in COLUMNS.values() if column.extra in {None, *extras} for name in column.names(model.classes)
    ]
    assert list(rows(digits, asked)[0]) == names


def test_an_option_changes_no_other_column(rows, digits):
    plain = rows(digits, RowOptions(EVERYTHING.flag_on), batch_size=64)
    for wide, row in zip(rows(digits, EVERYTHING, batch_size=64), plain, strict=True):
        assert {name: wide[name] for name in row} == row
