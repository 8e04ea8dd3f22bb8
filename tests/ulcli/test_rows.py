"""The registry of columns: their order, which scripts rely on, and what brings the optional ones."""

import pytest
from known_columns import ROW

from ulcli.rows import COLUMNS, MEASURES, Column, Extra, Kind, column_names


def test_the_order_of_the_columns():
    assert column_names(["cat", "dog"]) == ROW
    every = ["path", "label", *ROW[1:], "set", "p_cat", "p_dog", "alpha_cat", "alpha_dog"]
    assert column_names(["cat", "dog"], set(Extra)) == every


@pytest.mark.parametrize(
    ("extra", "brought"),
    [
        (Extra.LABELS, ["label"]),
        (Extra.SETS, ["set"]),
        (Extra.PROBS, ["p_b", "p_a"]),
        (Extra.ALPHA, ["alpha_b", "alpha_a"]),
    ],
)
def test_what_brings_the_optional_columns(extra, brought):
    names, always = column_names(["b", "a"], [extra]), column_names(["b", "a"])
    assert [name for name in names if name not in always] == brought
    assert [name for name in names if name in always] == always


def test_only_a_column_per_class_is_named_after_classes():
    assert Column("beta_CLASS", "").names(["x", "CLASS"]) == ["beta_x", "beta_CLASS"]
    assert Column("beta", "").names(["x", "y"]) == ["beta"]


def test_every_column_has_a_meaning_and_every_measure_a_reason():
    for name, column in COLUMNS.items():
        assert column.name == name
        assert column.meaning
        assert "\n" not in column.meaning
    for measure in MEASURES.values():
        assert measure.kind is Kind.NUMBER
        assert measure.reason in ("unfamiliar", "ambiguous")
        assert measure.ood_sign in (1, -1, None)


def test_how_much_is_known_is_one_reason_and_which_class_another():
    reasons = {name: measure.reason for name, measure in MEASURES.items()}
    of_the_amount = ("vacuity", "mutual_information", "differential_entropy", "typicality")
    assert reasons == dict.fromkeys(MEASURES, "ambiguous") | dict.fromkeys(of_the_amount, "unfamiliar")
