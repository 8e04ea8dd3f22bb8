"""Words for people, on standard error; a progress bar only when a person watches."""

import io
import os
import sys

import pytest

from ulcli.output.console import ConsoleReporter, say


def on_a_terminal(monkeypatch, **options):
    """What a reporter writes where standard error is a terminal."""
    pty = pytest.importorskip("pty")
    main, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(terminal, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        reporter = ConsoleReporter(**options)
        with reporter.track("reading [red]", 40) as advance:
            for _ in range(4):
                advance(10)
        reporter.note("a note")
        reporter.warn("a warning")
        stream.flush()
        seen = b""
        while b"a warning" not in seen:
            seen += os.read(main, 1 << 16)
    os.close(main)
    return seen.decode()


def test_a_person_sees_a_bar(monkeypatch, capsys):
    seen = on_a_terminal(monkeypatch)
    assert "reading [red]" in seen
    assert "40/40" in seen
    assert "a note" in seen
    assert "warning: a warning" in seen
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("options", [{"progress": False}, {"quiet": True}])
def test_a_person_may_do_without(monkeypatch, options):
    seen = on_a_terminal(monkeypatch, **options)
    assert "reading" not in seen
    assert ("a note" in seen) is ("quiet" not in options)
    assert "warning: a warning" in seen


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
