"""`NAME OP NUMBER`."""

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulcli.errors import UserError
from ulcli.expressions import OPERATORS, Condition, parse_condition

NAMES = ("vacuity", "accuracy")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vacuity>0.4", Condition("vacuity", ">", 0.4)),
        (" vacuity  >=  1e-3 ", Condition("vacuity", ">=", 1e-3)),
        ("accuracy<=90%", Condition("accuracy", "<=", 0.9)),
        ("accuracy<-.5", Condition("accuracy", "<", -0.5)),
        ("accuracy==1", Condition("accuracy", "==", 1.0)),
        ("accuracy!=+1", Condition("accuracy", "!=", 1.0)),
        ("vacuity<inf", Condition("vacuity", "<", math.inf)),
    ],
)
def test_parse(text, expected):
    assert parse_condition(text, iter(NAMES)) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "vacuity", "vacuity>", ">0.4", "0.4<vacuity", "vacuity>0.4 1", "vacuity>0.4\nvacuity>0.5"),
        *("vacuity=0.4", "vacuity=>0.4", "vacuity>>0.4"),
        *("vacuity>x", "vacuity>0,4", "vacuity>%", "vacuity>5%%"),
    ],
)
def test_another_form(text):
    with pytest.raises(UserError, match="is not of the form NAME OP NUMBER"):
        parse_condition(text, NAMES)


def test_unknown_measure_names_the_nearest():
    with pytest.raises(
        UserError, match=r"unknown measure 'vacuty'; did you mean 'vacuity' or 'accuracy'\? \(in 'vacuty>0.4'\)"
    ):
        parse_condition("vacuty>0.4", NAMES)


def test_nothing_compares_with_nan():
    with pytest.raises(UserError, match="compares with nan"):
        parse_condition("vacuity>nan", NAMES)


NUMBERS = st.floats(allow_nan=False)
MEANINGS = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@given(st.sampled_from(sorted(MEANINGS)), NUMBERS, NUMBERS)
def test_a_condition_means_what_python_means(symbol, value, bound):
    assert Condition("vacuity", symbol, bound)(value) is MEANINGS[symbol](value, bound)


@pytest.mark.parametrize("symbol", OPERATORS)
def test_a_missing_figure_meets_nothing(symbol):
    assert not Condition("vacuity", symbol, 0.0)(math.nan)


@given(st.sampled_from(sorted(MEANINGS)), st.integers(-999_999, 999_999))
def test_what_is_shown_can_be_read_again(symbol, bound):
    condition = Condition("vacuity", symbol, bound / 1000)
    assert parse_condition(str(condition), NAMES) == condition
