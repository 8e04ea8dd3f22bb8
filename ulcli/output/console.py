"""Words for people, on standard error; a progress bar only when a person watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ulcli.reporting import Silent


def printable(text: str) -> str:
    """A text with what is no character, or what a terminal would obey (colours, line feeds in a file name), escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def say(text: str) -> None:
    """Text on standard error; what the terminal cannot show is escaped, never a crash."""
    encoding = sys.stderr.encoding or "utf-8"
    lines = "\n".join(map(printable, text.split("\n")))
    sys.stderr.write(lines.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stderr.flush()


def _one_line(text: str) -> str:
    """A name in a file may hold line feeds, and would pass for a message of ours."""
    return " ".join(text.split())


class ConsoleReporter(Silent):
    """Notes, warnings and progress on standard error."""

    def __init__(self, *, quiet: bool = False, progress: bool = True) -> None:
        self.quiet = quiet
        self.progress = progress and not quiet and sys.stderr.isatty()

    def note(self, text: str) -> None:
        if not self.quiet:
            say(_one_line(text))

    def warn(self, text: str) -> None:
        say(f"warning: {_one_line(text)}")

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        if not self.progress:
            with super().track(what, total) as advance:
                yield advance
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total, rate="")

            def advance(steps: int) -> None:
                bar.update(task, advance=steps)
                speed = bar.tasks[0].speed
                bar.update(task, rate=f"{speed:,.0f}/s" if speed else "")

            yield advance
