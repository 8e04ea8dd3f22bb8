"""Where results go: standard output, or a file that appears whole."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ulcli.errors import ReaderGoneError, UserError
from ulcli.files import atomic_write


@contextlib.contextmanager
def destination(output: Path | None) -> Iterator[IO[str]]:
    """A stream of text to standard output, or to a file that is moved into place when the block ends well."""
    if output is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderGoneError from None
        return
    try:
        with atomic_write(output, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield stream
    except OSError as error:
        raise UserError(f"cannot write '{output}': {error.strerror or error}") from None
