"""Words for people, on standard error; a progress bar only when a person watches."""

import io
import os
import subprocess
import sys

import pytest

from ulcli.output.console import ConsoleReporter, say

WORK = """
from ulcli.output.console import ConsoleReporter
reporter = ConsoleReporter({options})
with reporter.track("reading [red]", 40) as advance:
    for _ in range(4):
        advance(10)
reporter.note("a note")
reporter.warn("a warning")
"""


def on_a_terminal(options):
    """What a process writes whose standard error is a terminal, and what it writes to standard output."""
    pty = pytest.importorskip("pty")
    main, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", WORK.format(options=options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env=environment)
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(main, 1 << 16)
        except OSError:  # how Linux tells that the other end was closed
            break
        if not part:
            break
        seen += part
    os.close(main)
    return seen.decode(), process.communicate()[0]


def test_a_person_sees_a_bar():
    seen, out = on_a_terminal("")
    assert "reading [red]" in seen
    assert "40/40" in seen
    assert "a note" in seen
    assert "warning: a warning" in seen
    assert out == b""


@pytest.mark.parametrize("options", ["progress=False", "quiet=True"])
def test_a_person_may_do_without(options):
    seen, out = on_a_terminal(options)
    assert "reading" not in seen
    assert ("a note" in seen) is ("quiet" not in options)
    assert "warning: a warning" in seen
    assert out == b""


def test_a_log_gets_no_bar(capsys):
    reporter = ConsoleReporter()
    with reporter.track("reading", 2) as advance:
        advance(2)
    reporter.note("a note")
    reporter.warn("a warning")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a note\nwarning: a warning\n")


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", r"é \udce9\x1b[31m"), ("ascii", r"\xe9 \udce9\x1b[31m")])
def test_what_cannot_be_encoded_is_escaped(monkeypatch, encoding, shown):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding=encoding))
    say("é " + os.fsdecode(b"\xe9") + "\x1b[31m")
    assert raw.getvalue().decode(encoding) == shown + "\n"
