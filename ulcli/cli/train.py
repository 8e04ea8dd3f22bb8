"""Options of `ul train`."""

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
    QuietOption,
    WorkersOption,
    settings_from,
)
from ulcli.commands.settings import TrainSettings as Default
from ulcli.commands.settings import losses
from ulcli.errors import ExitCode
from ulcli.model.choices import EvidenceFrom

_LOSSES = "; ".join(f"{name}: {summary}" for name, summary in sorted(losses().items()))


def train(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="State dict (.pt, .pth, .safetensors), or a model.pt to fit again. Default: the published weights "
            "of --arch, or without it the sample digits classifier.",
        ),
    ] = Default.checkpoint,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images: digits, a torchvision set, a folder with one sub-folder a class, a CSV with "
            "path,label; NAME:SPLIT for one part.  [default: digits]",
        ),
    ] = Default.data,
    val: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Validation images. Default: the val part of --data."),
    ] = Default.val,
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="ARCH",
            help="torchvision name (resnet18), or package.module:factory for your own network.",
        ),
    ] = Default.arch,
    loss: Annotated[str, typer.Option(metavar="NAME", help=_LOSSES)] = Default.loss,
    reg_factor: Annotated[
        float | None,
        typer.Option(
            help="Final weight of the loss's regulariser. Default: 0, and the loss's own with --evidence-from head.",
        ),
    ] = Default.reg_factor,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the model.")
    ] = Default.output,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the images that the network takes, in pixels.")
    ] = Default.image_size,
    mean: Annotated[
        str | None, typer.Option(metavar="M[,M,M]", help="Mean that normalisation subtracts.")
    ] = Default.mean,
    std: Annotated[
        str | None, typer.Option(metavar="S[,S,S]", help="Deviation that normalisation divides by.")
    ] = Default.std,
    grayscale: Annotated[
        bool | None,
        typer.Option("--grayscale/--color", help="One channel or three.  [default: as the network has]"),
    ] = Default.grayscale,
    flag_rate: Annotated[
        float, typer.Option(help="Share of familiar images that the model may flag; sets its threshold.")
    ] = Default.flag_rate,
    target_accuracy: Annotated[
        float | None,
        typer.Option(help="Flag as ambiguous what it takes for the other predictions to be this accurate."),
    ] = Default.target_accuracy,
    evidence_from: Annotated[
        EvidenceFrom, typer.Option(help="What the amount of evidence comes from.")
    ] = Default.evidence_from,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS", help="Leave a class out; ul evaluate then uses it as near strange data. Repeatable."
        ),
    ] = None,
    data_root: DataRootOption = Default.data_root,
    download: DownloadOption = Default.download,
    seed: Annotated[int, typer.Option(help="Same seed, same weights.")] = Default.seed,
    form: FormatOption = None,
    batch_size: BatchSizeOption = Default.batch_size,
    workers: WorkersOption = Default.workers,
    device: DeviceOption = Default.device,
    no_cache: NoCacheOption = Default.no_cache,
    quiet: QuietOption = False,
    no_progress: NoProgressOption = False,
) -> ExitCode:
    """Fit an evidential head on an image classifier and write model.pt."""
    settings = settings_from(locals(), Default)
    from ulcli.cli.printing import choose, close, write
    from ulcli.commands.train import train
    from ulcli.output import views
    from ulcli.output.console import ConsoleReporter
    from ulcli.output.shapes import Shape

    form = choose(form, None, views.TRAIN)
    result = train(settings, ConsoleReporter(quiet=quiet, progress=not no_progress))
    if not (quiet and form.shape(views.TRAIN) is Shape.TABLE):
        write(views.train_view(result), form, None)
    return close(result, quiet=quiet)
