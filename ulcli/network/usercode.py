"""Running code of the user's own, which may raise anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ulcli.errors import UserError


@contextmanager
def told_in_one_line(
    failure: str, advice: Callable[[], str] = lambda: "", let_through: type[Exception] | None = None
) -> Iterator[None]:
    """Turn whatever the user's own code raises into a `UserError`; memory that runs out is not its mistake."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, UserError):
        raise
    except (Exception, SystemExit) as error:
        described = _described(error)
        if (let_through is not None and isinstance(error, let_through)) or "can't allocate memory" in described:
            raise
        raise UserError(f"{failure}: {described}{advice()}") from error


def _described(error: BaseException) -> str:
    """Give the first line of an error, with its type where that says more."""
    name = type(error).__name__
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # a user's exception may fail to describe itself
        return name
    if not lines:
        return name
    return lines[0] if type(error) is RuntimeError else f"{name}: {lines[0]}"
