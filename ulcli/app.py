"""The front door: options and help of each command. Each calls one function, prints its result, and exits."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from ulcli import __version__
from ulcli.cli.options import (
    BatchSizeOption,
    DataRootOption,
    DeviceOption,
    DownloadOption,
    FormatOption,
    NoCacheOption,
    NoProgressOption,
    OutputOption,
    QuietOption,
    WorkersOption,
)
from ulcli.errors import ExitCode, UserError
from ulcli.output.console import ConsoleReporter, say
from ulcli.output.formats import Format, choose_format

if TYPE_CHECKING:
    from ulcli.data.catalog import DataName
    from ulcli.network.cache import FeatureCache

_Choice = TypeVar("_Choice", bound=Enum)
_FEWEST_RESAMPLES = 40  # of fewer, the 2.5% that an interval leaves out on either side are not a single one

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
        if message := error.format_message().strip().rstrip("."):  # empty where the help has been shown instead
            say(f"ul: {message} (see '{command} --help')")
        code = ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except (BrokenPipeError, _ReaderGoneError):
        # The reader (head, a pager) has gone; Python must not complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.BROKEN_PIPE
    except Exception as error:
        code = _unexpected(error)
    if code == ExitCode.INTERRUPTED:  # Typer turns Ctrl-C into this code without a word
        say("ul: interrupted")
    sys.exit(int(code))


class _ReaderGoneError(Exception):
    """Standard output was closed by its reader. Not a BrokenPipeError: Typer would end the process with code 1."""


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
    """What no code foresaw: out of memory, a full disk behind standard output, or a bug with its traceback."""
    # torch's errors, which are not worth importing torch for: one class for GPUs, a text for the CPU.
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return _user_error(UserError("out of memory; use a smaller --batch-size or --image-size"))
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


class _TrainCommand(typer.core.TyperCommand):
    """Names the losses in its help; reading their registry imports torch, so it waits until help is asked for."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        import uncertainty_loss as ul

        for parameter in self.params:
            if parameter.name == "loss":
                losses = map(ul.get_loss, ul.loss_names())
                parameter.help = "; ".join(f"{loss.name}: {loss.summary}" for loss in losses)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)


@app.command("train", cls=_TrainCommand)
def _train(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="State dict (.pt, .pth, .safetensors), or a model.pt to fit again. Default: the published weights "
            "of --arch, or without it the sample digits classifier.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images: digits, a torchvision set, a folder with one sub-folder a class, a CSV with "
            "path,label; NAME:SPLIT for one part.  [default: digits]",
        ),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Validation images. Default: the val part of --data."),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="ARCH",
            help="torchvision name (resnet18), or package.module:factory for your own network.",
        ),
    ] = None,
    loss: Annotated[str, typer.Option(metavar="NAME")] = "maxnorm",
    reg_factor: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Final weight of the loss's regulariser. Default: 0, and the loss's own with --evidence-from head.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the model.")] = Path(
        "model.pt"
    ),
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the images that the network takes, in pixels.")
    ] = None,
    mean: Annotated[str | None, typer.Option(metavar="M[,M,M]", help="Mean that normalisation subtracts.")] = None,
    std: Annotated[str | None, typer.Option(metavar="S[,S,S]", help="Deviation that normalisation divides by.")] = None,
    grayscale: Annotated[
        bool | None,
        typer.Option("--grayscale/--color", help="One channel or three.  [default: as the network has]"),
    ] = None,
    flag_rate: Annotated[
        float, typer.Option(help="Share of familiar images that the model may flag; sets its threshold.")
    ] = 0.05,
    target_accuracy: Annotated[
        float | None,
        typer.Option(help="Flag as ambiguous what it takes for the other predictions to be this accurate."),
    ] = None,
    evidence_from: Annotated[
        str, typer.Option(metavar="SOURCE", help="What the amount of evidence comes from: density or head.")
    ] = "density",
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS", help="Leave a class out; ul evaluate then uses it as near strange data. Repeatable."
        ),
    ] = None,
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Same seed, same weights.")] = 0,
    form: FormatOption = None,
    batch_size: BatchSizeOption = 64,
    workers: WorkersOption = None,
    device: DeviceOption = "auto",
    no_cache: NoCacheOption = False,
    quiet: QuietOption = False,
    no_progress: NoProgressOption = False,
) -> ExitCode:
    """Fit an evidential head on an image classifier and write model.pt."""
    from ulcli.commands.train import Preparation, TrainSettings, train
    from ulcli.data.catalog import Places
    from ulcli.data.loader import default_workers
    from ulcli.model.choices import EvidenceFrom
    from ulcli.network.device import resolve_device
    from ulcli.output.documents import train_document
    from ulcli.output.tables import train_table

    _check_document_format(form)
    if not 0 < flag_rate < 1:
        raise UserError(f"--flag-rate is {flag_rate:g}, expected a share between 0 and 1, such as 0.05")
    if reg_factor is not None and not math.isfinite(reg_factor):
        raise UserError(f"--reg-factor is {reg_factor}, expected a finite weight")
    if target_accuracy is not None and not 0 < target_accuracy < 1:
        raise UserError(f"--target-accuracy is {target_accuracy:g}, expected a share between 0 and 1, such as 0.98")
    settings = TrainSettings(
        checkpoint=checkpoint,
        arch=arch,
        data=_data_name(data),
        val=_data_name(val),
        places=Places(data_root or Path("data"), download),
        loss=loss,
        reg_factor=reg_factor,
        evidence_from=_choice(evidence_from, EvidenceFrom, "--evidence-from"),
        flag_rate=flag_rate,
        target_accuracy=target_accuracy,
        hold_out=tuple(hold_out or ()),
        output=output,
        preparation=Preparation(image_size, _numbers(mean, "--mean"), _numbers(std, "--std"), grayscale),
        seed=seed,
        device=resolve_device(device),
        batch_size=batch_size,
        workers=workers or default_workers(),
        cache=_cache(no_cache),
    )
    result = train(settings, ConsoleReporter(quiet=quiet, progress=not no_progress))
    if form in (None, Format.TABLE):
        _print(train_table(result), None) if not quiet else None
    else:
        _write_document(train_document(result), form, None)
    if not quiet:
        say(f"wrote {result.path} ({result.images:,} images, {result.epochs} epochs, {result.seconds:.1f} s)")
    return ExitCode.USAGE if result.unreadable else ExitCode.OK


@app.command("evaluate")
def _evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What ul train wrote.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Labelled images. Default: the test part of what the model was fitted on."),
    ] = None,
    ood: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Images of another kind: noise, photos, a data set, a folder of images. Repeatable.  "
            "[default: noise and photos]",
        ),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help="'accuracy>=0.9', 'ood_auroc>0.8' ...; exit code 1 where unmet. Repeatable."),
    ] = None,
    shift: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND[:1-5]",
            help="Measure on worse copies too: blur, noise, contrast, rotation, inversion, jpeg. Repeatable.",
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option(min=0, help=f"Resamples for the 95% intervals, {_FEWEST_RESAMPLES} or more; 0 for none.")
    ] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
    form: FormatOption = None,
    output: OutputOption = None,
    data_root: DataRootOption = None,
    download: DownloadOption = False,
    batch_size: BatchSizeOption = 64,
    workers: WorkersOption = None,
    device: DeviceOption = "auto",
    no_cache: NoCacheOption = False,
    quiet: QuietOption = False,
    no_progress: NoProgressOption = False,
) -> ExitCode:
    """Measure a model: its predictions on labelled images, its uncertainty on strange ones."""
    from ulcli.commands.evaluate import REQUIREMENTS, EvaluateSettings, evaluate
    from ulcli.data.catalog import DataName, Places
    from ulcli.data.loader import default_workers
    from ulcli.data.shifts import Shift
    from ulcli.expressions import parse_condition
    from ulcli.network.device import resolve_device
    from ulcli.output.documents import EVALUATE_COLUMNS, evaluate_document, evaluate_rows
    from ulcli.output.tables import evaluate_table

    form = _format(form, output)
    if 0 < bootstrap < _FEWEST_RESAMPLES:
        raise UserError(
            f"--bootstrap is {bootstrap}, expected {_FEWEST_RESAMPLES} resamples or more, or 0 for no intervals"
        )
    settings = EvaluateSettings(
        model=model,
        data=_data_name(data),
        ood=[DataName.parse(name) for name in ood or ()],
        shifts=[Shift.parse(text) for text in shift or ()],
        require=[parse_condition(text, REQUIREMENTS) for text in require or ()],
        bootstrap=bootstrap,
        seed=seed,
        places=Places(data_root, download) if data_root else None,
        device=resolve_device(device),
        batch_size=batch_size,
        workers=workers or default_workers(),
        cache=_cache(no_cache),
    )
    result = evaluate(settings, ConsoleReporter(quiet=quiet, progress=not no_progress))
    if form is Format.TABLE:
        _print(evaluate_table(result), output)
    elif form is Format.JSON:
        _write_document(evaluate_document(result), form, output)
    else:
        _write_rows(evaluate_rows(result), EVALUATE_COLUMNS, form, output)
        if result.verdict is not None and not quiet:
            say(str(result.verdict))  # words have no row
    unmet = [each for each in result.requirements if not each.met]
    for each in unmet:
        say(f"ul: requirement not met: {each.condition}, measured {each.value:.4f}")
    if result.unreadable:
        return ExitCode.USAGE
    return ExitCode.GATE if unmet else ExitCode.OK


@app.command("score")
def _score(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What ul train wrote.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images, folders, a CSV with a path column, a data set, or - for paths on stdin.",
        ),
    ],
    flag_on: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Flag on this instead of the model's own threshold: 'vacuity>0.4'."),
    ] = None,
    max_flagged: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Exit code 1 where more images than this are flagged.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows of the table: the most uncertain ones.")] = 50,
    probs: Annotated[bool, typer.Option("--probs", help="A column p_CLASS for each class.")] = False,
    alpha: Annotated[bool, typer.Option("--alpha", help="A column alpha_CLASS for each class.")] = False,
    sets: Annotated[
        float | None,
        typer.Option(metavar="COVERAGE", help="A column with the classes that cannot be excluded, such as 0.95."),
    ] = None,
    set_method: Annotated[
        str, typer.Option(metavar="METHOD", help="lac: smallest sets; aps: sets that grow with ambiguity.")
    ] = "lac",
    form: FormatOption = None,
    output: OutputOption = None,
    data_root: DataRootOption = None,
    batch_size: BatchSizeOption = 64,
    workers: WorkersOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    no_progress: NoProgressOption = False,
) -> ExitCode:
    """Score images: a row of uncertainty measures each, and a flag on those not to trust."""
    from ulcli.commands.score import Limit, ScoreSettings, score
    from ulcli.data.catalog import Places
    from ulcli.data.loader import default_workers
    from ulcli.expressions import parse_condition
    from ulcli.model.choices import SetMethod
    from ulcli.network.device import resolve_device
    from ulcli.output.tables import score_table
    from ulcli.rows import MEASURES

    form = _format(form, output)
    if sets is not None and not 0 < sets < 1:
        raise UserError(f"--sets is {sets:g}, expected a coverage between 0 and 1, such as 0.95")
    settings = ScoreSettings(
        model=model,
        inputs=inputs,
        flag_on=parse_condition(flag_on, MEASURES) if flag_on else None,
        max_flagged=Limit.parse(max_flagged) if max_flagged else None,
        places=Places(data_root or Path("data")),
        probs=probs,
        alpha=alpha,
        sets=sets,
        set_method=_choice(set_method, SetMethod, "--set-method"),
        device=resolve_device(device),
        batch_size=batch_size,
        workers=workers or default_workers(),
    )
    scoring = score(settings, ConsoleReporter(quiet=quiet, progress=not no_progress))
    if form is Format.TABLE:
        _print(score_table(scoring.rows, top), output)
    else:
        _write_rows(scoring.rows, scoring.columns, form, output)
    tally = scoring.tally
    if not quiet:
        say(f"{tally.rows:,} images: {tally.flagged:,} flagged ({scoring.flagged_on}), {tally.errors:,} unreadable")
    if tally.too_many:
        say(f"ul: more than --max-flagged {tally.max_flagged}: {tally.flagged:,} of {tally.scored:,} images")
    if tally.errors:
        return ExitCode.USAGE
    return ExitCode.GATE if tally.too_many else ExitCode.OK


@app.command("info")
def _info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What ul train wrote.")],
    form: FormatOption = None,
) -> ExitCode:
    """Show what a model file holds."""
    from ulcli.commands.info import info
    from ulcli.output.documents import info_document
    from ulcli.output.tables import info_table

    _check_document_format(form)
    result = info(model)
    if form in (None, Format.TABLE):
        _print(info_table(result), None)
    else:
        _write_document(info_document(result), form, None)
    return ExitCode.OK


def _data_name(text: str | None) -> DataName | None:
    from ulcli.data.catalog import DataName

    return None if text is None else DataName.parse(text)


def _choice(text: str, choices: type[_Choice], option: str) -> _Choice:
    """A member of an enumeration whose module is too heavy to import for the help."""
    from ulcli.errors import unknown_name

    try:
        return choices(text)
    except ValueError:
        raise unknown_name(f"value of {option}", text, [str(each.value) for each in choices]) from None


def _numbers(text: str | None, option: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"{option} is '{text}', expected one number, or three with commas between") from None


def _cache(no_cache: bool) -> FeatureCache | None:
    from ulcli.network.cache import FeatureCache

    return None if no_cache else FeatureCache.default()


def _format(asked: Format | None, output: Path | None) -> Format:
    """The format to write in; fails before the work where the output file could not be written."""
    from ulcli.files import check_writable

    if output is not None:
        check_writable(output)
    return choose_format(asked, output)


@contextlib.contextmanager
def _destination(output: Path | None) -> Iterator[IO[str]]:
    from ulcli.files import atomic_write

    if output is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:
            raise _ReaderGoneError from None
        return
    try:
        with atomic_write(output, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            yield stream
    except OSError as error:
        raise UserError(f"cannot write '{output}': {error.strerror or error}") from None


def _print(renderable: Any, output: Path | None) -> None:
    from ulcli.output.tables import print_table

    with _destination(output) as stream:
        print_table(renderable, stream)


def _write_rows(rows: Any, columns: Any, form: Format, output: Path | None) -> None:
    from ulcli.output.rows import write_rows

    with _destination(output) as stream:
        write_rows(rows, columns, form, stream)


def _check_document_format(form: Format | None) -> None:
    if form is Format.CSV:
        raise UserError("this result is a document, not rows; use --format json")


def _write_document(document: Any, form: Format, output: Path | None) -> None:
    from ulcli.output.rows import to_json

    with _destination(output) as stream:
        stream.write(to_json(document, indent=2 if form is Format.JSON else None) + "\n")
