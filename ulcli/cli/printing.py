"""From a result to standard output, standard error and an exit status."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from ulcli.commands.outcome import Outcome
from ulcli.errors import ExitCode
from ulcli.files import check_replaces_none, check_writable
from ulcli.output.console import say
from ulcli.output.destination import destination
from ulcli.output.formats import Format, choose_format
from ulcli.output.shapes import Shape, View


def choose(
    asked: Format | None, output: Path | None, available: Collection[Shape], read: Iterable[str | Path | None] = ()
) -> Format:
    """Choose the format to write in; fail before the work where the output cannot be written, or not in that format.

    `read` are the files that the command reads: none of them may be the output.
    """
    if output is not None:
        check_writable(output)
        check_replaces_none(output, read)
    return choose_format(asked, output, available)


def write(view: View, form: Format, output: Path | None) -> Shape:
    """Write a result where it is to go; returns the shape that it has there."""
    with destination(output) as stream:
        return form.write(view, stream)


def close(result: Outcome, *, quiet: bool) -> ExitCode:
    """Tell what there is to tell besides the figures, and how the process ends."""
    if result.summary is not None and not quiet:
        say(result.summary)
    for line in result.failures:
        say(f"ul: {line}")
    return result.status
