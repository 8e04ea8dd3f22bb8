"""How a command ends: what every result tells besides its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ulcli.errors import ExitCode


class Outcome(Protocol):
    """What the front door needs of a result, once its figures are written."""

    @property
    def status(self) -> ExitCode:
        """Give the status that the process is to end with."""

    @property
    def summary(self) -> str | None:
        """Give the closing line, which --quiet leaves out."""

    @property
    def failures(self) -> Sequence[str]:
        """Give a line for each gate that tripped."""


def exit_status(*, unreadable: int, failures: Sequence[str]) -> ExitCode:
    """Give the status of a command that met so many unreadable images, and these gates that tripped."""
    if unreadable:
        return ExitCode.USAGE
    return ExitCode.GATE if failures else ExitCode.OK
