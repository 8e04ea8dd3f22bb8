"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ulcli.errors import UserError


def check_writable(path: Path) -> None:
    """Fail now, not after the work: raise `UserError` unless `path` could be written."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise UserError(f"cannot write '{str(path)[:80]}': {error.strerror}; choose another place with -o") from None
    if path.is_dir():
        raise UserError(f"cannot write '{path}': it is a directory; name a file in it")
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"cannot write '{path}': permission denied; choose another place with -o")
    if is_special(path):
        return
    folder = (path.resolve() if path.is_symlink() else path).parent  # of a link, its target will be replaced
    if not folder.is_dir():
        raise UserError(f"cannot write '{path}': there is no directory '{folder}'; create it first")
    # os.access answers for root and read-only mounts as well, but a full disk or a quota shows only on writing.
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write '{path}': {reason}; choose another place with -o") from None


def check_replaces_none(path: Path, read: Iterable[str | Path | None]) -> None:
    """Raise `UserError` where writing to `path` would replace a file that is read; None stands for no file."""
    for source in (each for each in read if each is not None):
        with contextlib.suppress(OSError, ValueError):
            if os.path.samefile(path, source) and not is_special(path):
                raise UserError(f"-o {path} would replace '{source}', which is read; choose another name")


def is_special(path: Path) -> bool:
    """Tell whether `path` is a device or a pipe (`/dev/stdout`, `/dev/null`), which must be written in place."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w", **open_options: Any) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and move it into place when the block ends well.

    On any error, an interrupt included, the temporary file is removed and `path` is as it was.
    A link is followed: what it points to is replaced, not the link.
    """
    if is_special(path):
        with path.open(mode, **open_options) as stream:
            yield stream
        return
    target = path.resolve()
    # The name is known before the file is there: an interrupt at any moment finds what to remove.
    temporary = target.with_name(f".{target.name[:80]}.{os.urandom(6).hex()}.tmp")
    try:
        with temporary.open(mode.replace("w", "x"), **open_options) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileNotFoundError):  # a new one, or one that another process removes just now
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
