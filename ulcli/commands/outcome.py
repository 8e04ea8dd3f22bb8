"""How a command ends: what every result tells besides its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ulcli.errors import ExitCode


class Outcome(Protocol):
    """What the front door needs of a result, once its figures are written."""

    @property
    def status(self) -> ExitCode:
        """How the process is to end."""

    @property
    def summary(self) -> str | None:
        """One closing line, which --quiet leaves out."""

    @property
    def failures(self) -> Sequence[str]:
        """A line for each gate that tripped."""


def exit_status(*, unreadable: int, failures: Sequence[str]) -> ExitCode:
    """The status of a command that met so many unreadable images and gates that tripped."""
    if unreadable:
        return ExitCode.USAGE
    return ExitCode.GATE if failures else ExitCode.OK
