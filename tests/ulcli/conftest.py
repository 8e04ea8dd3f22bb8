"""The command line as a function: arguments in, exit code and both streams out."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ulcli import app


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line that a failed command prints."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"expected one line, got {self.err!r}"
        assert self.out == "", f"expected nothing on standard output, got {self.out!r}"
        return lines[0]


@pytest.fixture
def ul(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """`ul` in this process, through its real front door."""

    def run(*words: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["ul", *map(str, words)])
        handler = signal.getsignal(signal.SIGTERM)
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as ended:
                app.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, out, err)

    return run
