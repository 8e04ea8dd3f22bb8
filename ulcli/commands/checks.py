"""Checks of single settings; each raises a `UserError` that names the option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from ulcli.errors import UserError, unknown_name

_Choice = TypeVar("_Choice", bound=Enum)


def option_of(field: str) -> str:
    """Give what the command line calls a field."""
    return _ARGUMENTS.get(field, f"--{field.replace('_', '-')}")


_ARGUMENTS = {"checkpoint": "CHECKPOINT", "model": "MODEL", "inputs": "INPUT"}


def check_types(settings: Any) -> None:
    """Refuse values of another type than a field is declared with; a text stands for a path.

    Numbers and choices have checks of their own, which say what they are expected to be.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        declared = str(field.type).removesuffix(" | None")
        if declared == "Path" and isinstance(value, str):
            value = Path(value)
            object.__setattr__(settings, field.name, value)
        words, holds = _TYPES.get(declared, ("", None))
        if holds is None or (value is None and declared != field.type):
            continue
        if not holds(value):
            what = "the text " if isinstance(value, str) else ""
            raise UserError(f"{option_of(field.name)} is {what}{shown(value)}, expected {words}")
        if any("\0" in str(each) for each in (value if isinstance(value, list | tuple) else [value])):
            raise UserError(f"{option_of(field.name)} holds a null character, which no name can")


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


# By the declared types.
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "Path": ("a path", lambda value: isinstance(value, Path)),
    "str": ("a text", lambda value: isinstance(value, str)),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "Sequence[str]": ("a list of texts", _is_texts),
}


def choose(settings: Any, field: str, choices: type[_Choice]) -> None:
    """Turn a text into the choice that it means; the command line brings the choice itself."""
    value = getattr(settings, field)
    try:
        object.__setattr__(settings, field, choices(value))
    except ValueError:
        known = [str(each.value) for each in choices]
        raise unknown_name(f"value of {option_of(field)}", str(value), known) from None


def check_whole(option: str, value: int, *, least: int = 1, most: int | None = None) -> None:
    """Refuse what is no whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise UserError(f"{option} is {shown(value)}, expected a whole number of {bounds}")


def check_share(option: str, value: float, what: str, example: float) -> None:
    """Refuse what is not strictly between 0 and 1, nor its complement."""
    if not is_number(value) or not 0 < value < 1 or not 0 < 1 - value < 1:
        raise UserError(f"{option} is {shown(value)}, expected {what} between 0 and 1, such as {example:g}")


def is_number(value: object) -> bool:
    """Tell whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: object) -> str:
    """Show a value in an error."""
    return f"{value:g}" if isinstance(value, float) else repr(value)[:200]
