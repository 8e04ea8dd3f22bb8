"""Options of `ul score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ulcli.cli.options import (
    BatchSizeOption,
    DataRootOption,
    DeviceOption,
    FormatOption,
    NoProgressOption,
    OutputOption,
    QuietOption,
    TrustCodeOption,
    WorkersOption,
    settings_from,
)
from ulcli.commands.settings import ScoreSettings as Default
from ulcli.errors import ExitCode
from ulcli.model.choices import SetMethod


def score(
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
    ] = Default.flag_on,
    max_flagged: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Exit code 1 where more images than this are flagged.")
    ] = Default.max_flagged,
    top: Annotated[int, typer.Option(min=1, help="Rows of the table: the most uncertain ones.")] = 50,
    probs: Annotated[bool, typer.Option("--probs", help="A column p_CLASS for each class.")] = Default.probs,
    alpha: Annotated[bool, typer.Option("--alpha", help="A column alpha_CLASS for each class.")] = Default.alpha,
    sets: Annotated[
        float | None,
        typer.Option(metavar="COVERAGE", help="A column with the classes that cannot be excluded, such as 0.95."),
    ] = Default.sets,
    set_method: Annotated[
        SetMethod, typer.Option(help="lac: smallest sets; aps: sets that grow with ambiguity.")
    ] = Default.set_method,
    form: FormatOption = None,
    output: OutputOption = None,
    data_root: DataRootOption = Default.data_root,
    batch_size: BatchSizeOption = Default.batch_size,
    workers: WorkersOption = Default.workers,
    device: DeviceOption = Default.device,
    trust_code: TrustCodeOption = Default.trust_code,
    quiet: QuietOption = False,
    no_progress: NoProgressOption = False,
) -> ExitCode:
    """Score images: a row of uncertainty measures each, and a flag on those not to trust."""
    settings = settings_from(locals(), Default)
    from ulcli.cli.printing import choose, close, write
    from ulcli.commands.score import score
    from ulcli.output import views
    from ulcli.output.console import ConsoleReporter

    form = choose(form, output, views.SCORE, [settings.model, *settings.inputs])
    result = score(settings, ConsoleReporter(quiet=quiet, progress=not no_progress))
    write(views.score_view(result, top), form, output)
    return close(result, quiet=quiet)
