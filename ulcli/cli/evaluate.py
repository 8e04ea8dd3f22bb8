"""Options of `ul evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    TrustCodeOption,
    WorkersOption,
    settings_from,
)
from ulcli.commands.settings import FEWEST_RESAMPLES
from ulcli.commands.settings import EvaluateSettings as Default
from ulcli.errors import ExitCode


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What ul train wrote.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Labelled images. Default: the test part of what the model was fitted on."),
    ] = Default.data,
    ood: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Images of another kind: noise, photos, a data set, a folder of images, a CSV. Repeatable. "
            "Default: noise and photos.",
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
        int, typer.Option(help=f"Resamples for the 95% intervals, {FEWEST_RESAMPLES} or more; 0 for none.")
    ] = Default.bootstrap,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.")] = Default.seed,
    form: FormatOption = None,
    output: OutputOption = None,
    data_root: DataRootOption = Default.data_root,
    download: DownloadOption = Default.download,
    batch_size: BatchSizeOption = Default.batch_size,
    workers: WorkersOption = Default.workers,
    device: DeviceOption = Default.device,
    no_cache: NoCacheOption = Default.no_cache,
    trust_code: TrustCodeOption = Default.trust_code,
    quiet: QuietOption = False,
    no_progress: NoProgressOption = False,
) -> ExitCode:
    """Measure a model: its predictions on labelled images, its uncertainty on strange ones."""
    settings = settings_from(locals(), Default)
    from ulcli.cli.printing import choose, close, write
    from ulcli.commands.evaluate import evaluate
    from ulcli.output import views
    from ulcli.output.console import ConsoleReporter
    from ulcli.output.shapes import Shape

    form = choose(form, output, views.EVALUATE, [settings.model, settings.data, *settings.ood])
    result = evaluate(settings, ConsoleReporter(quiet=quiet, progress=not no_progress))
    shape = write(views.evaluate_view(result), form, output)
    # Words have no row: there the verdict is told; a table and a document hold it.
    return close(result, quiet=quiet or shape is not Shape.ROWS)
