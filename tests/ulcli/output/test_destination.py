"""Where results go."""

import errno
import io
import os
import sys

import pytest

from ulcli.errors import UserError
from ulcli.output.destination import ReaderGoneError, destination


def test_standard_output_is_flushed_when_the_block_ends(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    with destination(None) as stream:
        stream.write("a row")
        assert raw.getvalue() == b""
    assert raw.getvalue() == b"a row"
    assert not sys.stdout.closed


class Closed(io.StringIO):
    """A pipe without a reader: what is written may be noticed at once, or when it leaves the buffer."""

    def __init__(self, noticed_by):
        super().__init__()
        self.noticed_by = noticed_by

    def write(self, text):
        if self.noticed_by == "write":
            raise BrokenPipeError
        return len(text)

    def flush(self):
        if self.noticed_by == "flush":
            raise BrokenPipeError


@pytest.mark.parametrize("noticed_by", ["write", "flush"])
def test_a_reader_that_has_gone(monkeypatch, noticed_by):
    monkeypatch.setattr(sys, "stdout", Closed(noticed_by))
    with pytest.raises(ReaderGoneError), destination(None) as stream:
        stream.write("a row")
    monkeypatch.setattr(sys, "stdout", Closed("never"))
    with destination(None) as stream:
        stream.write("a row")


def test_a_file_appears_whole_in_the_bytes_that_names_have(tmp_path):
    path = tmp_path / "rows.csv"
    with destination(path) as stream:
        stream.write("ü\r\n" + os.fsdecode(b"caf\xe9") + "\n")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == "ü\r\n".encode() + b"caf\xe9\n"
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), destination(path) as stream:
        stream.write(str(1 / 0))
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(errno.ENOSPC, "No space left on device"), "No space left on device"), (OSError("odd"), "odd")],
)
def test_a_file_that_cannot_be_written(tmp_path, error, reason):
    path = tmp_path / "rows.csv"
    with pytest.raises(UserError) as told, destination(path):
        raise error
    assert str(told.value) == f"cannot write '{path}': {reason}"


def test_a_file_in_no_folder(tmp_path):
    path = tmp_path / "none" / "rows.csv"
    with pytest.raises(UserError) as told, destination(path):
        pass
    assert str(told.value) == f"cannot write '{path}': No such file or directory"
