"""What a user can do wrong, and how the process ends."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """How `ul` ends; scripts rely on these numbers."""

    meaning: str

    OK = 0, "fine"
    GATE = 1, "a gate tripped: `--require` unmet, or more images flagged than `--max-flagged`"
    USAGE = (
        2,
        "wrong usage, or input that could not be processed; the images that could be read are scored all the same",
    )
    BUG = 70, "a bug of ours, with its traceback"  # EX_SOFTWARE of sysexits.h, so that no gate seems to trip
    INTERRUPTED = 130, "interrupted; files are as they were"  # 128 + SIGINT, as shells do
    BROKEN_PIPE = 141, "the reader of standard output has gone"  # 128 + SIGPIPE

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member


class ReaderGoneError(Exception):
    """Standard output was closed by its reader. Not a BrokenPipeError: Typer would end the process with status 1."""


class UserError(Exception):
    """A mistake of the user's, told in one line: what was wrong, where, and what to do.

    Raise it only where the cause is known to lie with the input; anything else is a bug and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> UserError:
    """The error for a name that is not in a registry, with the nearest names that are."""
    known = sorted(known)
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    # A short list is worth showing whole; of a long one only the neighbours help.
    choices = near or (known if len(known) <= 12 else [])
    message = f"unknown {kind} '{name}'"
    if near:
        message += f"; did you mean {_either(choices)}?"
    elif choices:
        message += f"; known: {', '.join(choices)}"
    return UserError(f"{message} ({hint})" if hint else message)


def shorten(items: Iterable[str], limit: int = 3) -> str:
    """The first few items quoted, and how many more there are."""
    items = list(items)
    shown = ", ".join(f"'{item}'" for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def _either(names: list[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
