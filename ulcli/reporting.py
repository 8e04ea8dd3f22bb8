"""How long work tells what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Reporter(Protocol):
    """What the commands need of a console."""

    def note(self, text: str) -> None:
        """Something worth knowing that needs no action."""

    def warn(self, text: str) -> None:
        """Something that makes the result worse than the user may believe."""

    def track(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A stretch of work of `total` steps; call what it gives with the number of steps just done."""


class Silent:
    """Says nothing: the default for callers from Python."""

    def note(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda steps: None
