"""Running code of the user's own, which may raise anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ulcli.errors import UserError


@contextmanager
def told_in_one_line(doing: str, let_through: type[Exception] | None = None) -> Iterator[None]:
    """Turn whatever the user's own code raises into a `UserError`: `doing` failed, and how."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if let_through is not None and isinstance(error, let_through):
            raise
        raise UserError(f"{doing} failed: {_described(error)}") from error


def _described(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # a user's exception may fail to describe itself
        return type(error).__name__
