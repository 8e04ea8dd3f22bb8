"""The front door: the commands, the standard streams, and how a process ends."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from ulcli import __version__
from ulcli.cli.evaluate import evaluate
from ulcli.cli.info import info
from ulcli.cli.score import score
from ulcli.cli.train import train
from ulcli.errors import ExitCode, ReaderGoneError, UserError
from ulcli.output.console import say

app = typer.Typer(
    name="ul",
    help="Says which predictions of an image classifier not to trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Typer carries its own Click; its usage errors are the ancestors of the one that it exports.
_UsageError: Any = typer.BadParameter.__mro__[1]


def main() -> NoReturn:
    """Run `ul`, and turn what a user can cause into one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    _prepare_streams()
    try:
        code = app(prog_name="ul", standalone_mode=False) or ExitCode.OK
        sys.stdout.flush()
    except UserError as error:
        code = _user_error(error)
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else "ul"
        if (
            message := error.format_message().replace("Value error, ", "").strip().rstrip(".")
        ):  # empty where the help has been shown instead
            say(f"ul: {message} (see '{command} --help')")
        code = ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except (BrokenPipeError, ReaderGoneError):
        # The reader (head, a pager) has gone; Python must not complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.BROKEN_PIPE
    except Exception as error:
        code = _unexpected(error)
    if code == ExitCode.INTERRUPTED:  # Typer turns Ctrl-C into this code without a word
        say("ul: interrupted")
    sys.exit(int(code))


def _prepare_streams() -> None:
    """Make every path printable: a file's name may hold bytes that are no characters, or ones a terminal lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - lives as long as the process
            continue
        # Files and pipes in UTF-8 get such bytes back as they were.
        exact = not stream.isatty() and stream.encoding.lower().replace("-", "") == "utf8"
        stream.reconfigure(errors="surrogateescape" if exact else "backslashreplace")


def _unexpected(error: Exception) -> ExitCode:
    """Tell of what no code expects: out of memory, a full disk behind standard output, or a bug with its traceback."""
    # torch's errors, which are not worth importing torch for: one class for GPUs, a text for the CPU.
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_memory or "can't allocate memory" in str(error):
        return _user_error(UserError("out of memory; use a smaller --batch-size, --image-size or --bootstrap"))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is left in the buffer must not fail again
        return _user_error(UserError("cannot write to standard output: no space left on device"))
    traceback.print_exception(error)
    return ExitCode.BUG


def _user_error(error: UserError) -> ExitCode:
    if os.environ.get("UL_DEBUG"):
        raise error
    say(f"ul: {error}")
    return ExitCode.USAGE


def _terminated(signum: int, frame: FrameType | None) -> NoReturn:
    """On SIGTERM leave as on an error, so that temporary files are removed."""
    sys.exit(128 + signum)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ul {__version__}")
        raise typer.Exit


@app.callback()
def _ul(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


app.command("train")(train)
app.command("evaluate")(evaluate)
app.command("score")(score)
app.command("info")(info)
