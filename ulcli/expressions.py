"""`NAME OP NUMBER`, the one small language of `--require` and `--flag-on`."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ulcli.errors import UserError, unknown_name

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
_PATTERN = re.compile(r"\s*([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True)
class Condition:
    """A comparison of one named figure with a number: `vacuity>0.4`."""

    name: str
    operator: str
    bound: float

    def __call__(self, value: float) -> bool:
        """Tell whether `value` meets the condition; a missing figure (NaN) meets none."""
        return not math.isnan(value) and OPERATORS[self.operator](value, self.bound)

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.bound:g}"


def parse_condition(text: str, names: Iterable[str]) -> Condition:
    """Read `NAME OP NUMBER`; raise `UserError` for another form or a name outside `names`."""
    match = _PATTERN.fullmatch(text)
    form = f"'{text}' is not of the form NAME OP NUMBER, for example 'vacuity>0.4' (in quotes: > is the shell's)"
    if match is None:
        raise UserError(form)
    name, symbol, number = match.groups()
    names = list(names)
    if name not in names:
        raise unknown_name("measure", name, names, f"in '{text}'")
    try:
        bound = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        raise UserError(form) from None
    if math.isnan(bound):
        raise UserError(f"'{text}' compares with nan, which nothing meets; give a number")
    return Condition(name, symbol, bound)
