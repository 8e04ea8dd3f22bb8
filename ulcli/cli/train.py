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
    TrustCodeOption,
    WorkersOption,
    settings_from,
)
from ulcli.commands.settings import TrainSettings as Default
from ulcli.commands.settings import losses
from ulcli.errors import ExitCode
from ulcli.model.choices import EvidenceFrom

# One panel of the help page each.
DATA, NETWORK, PREPROCESSING, FIT = "Data", "Classifier", "Preprocessing", "Fit"
_LOSSES = "; ".join(f"{name}: {summary}" for name, summary in sorted(losses().items()))


def train(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="State dict (.pt, .pth, .ckpt, .safetensors), exported program (.pt2), folder of transformers, or a "
            "model.pt to fit again. Default: the published weights of --arch, or those of your factory; without --arch "
            "the sample digits classifier.",
        ),
    ] = Default.checkpoint,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Labelled images: digits, a torchvision set (cifar10), a folder with one sub-folder a class, a CSV "
            "with path,label; NAME:SPLIT for one part. Default: digits.",
            rich_help_panel=DATA,
        ),
    ] = Default.data,
    val: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Validation images. Default: the val part of --data.", rich_help_panel=DATA),
    ] = Default.val,
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="ARCH",
            help="torchvision name (resnet18), timm/NAME, or package.module:factory for your own network. "
            "Default: what the checkpoint says or looks like.",
            rich_help_panel=NETWORK,
        ),
    ] = Default.arch,
    arch_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An argument for whoever builds the network. Repeatable.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Layer of the network that is its classifier. Default: it is searched for.",
            rich_help_panel=NETWORK,
        ),
    ] = Default.head,
    weights_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which of the checkpoint's weights: model, model_ema ... Default: the EMA ones where there are some.",
            rich_help_panel=NETWORK,
        ),
    ] = Default.weights_key,
    loss: Annotated[str, typer.Option(metavar="NAME", help=_LOSSES, rich_help_panel=FIT)] = Default.loss,
    reg_factor: Annotated[
        float | None,
        typer.Option(
            help="Final weight of the loss's regulariser. Default: 0, and the loss's own with --evidence-from head.",
            rich_help_panel=FIT,
        ),
    ] = Default.reg_factor,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the model.")
    ] = Default.output,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Published torchvision weights of --arch, such as IMAGENET1K_V2, and their preprocessing; with a "
            "CHECKPOINT the preprocessing alone. Default: torchvision's DEFAULT.",
            rich_help_panel=NETWORK,
        ),
    ] = Default.weights,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Class names of the checkpoint in the order of its outputs: one a line, or JSON (a list, "
            "class_to_idx, id2label). Default: those in the checkpoint.",
            rich_help_panel=NETWORK,
        ),
    ] = Default.classes,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the images that the network takes, in pixels: --resize and --crop.",
            rich_help_panel=PREPROCESSING,
        ),
    ] = Default.image_size,
    resize: Annotated[
        int | None,
        typer.Option(help="Length of the shorter side before the crop, in pixels.", rich_help_panel=PREPROCESSING),
    ] = Default.resize,
    crop: Annotated[
        int | None,
        typer.Option(help="Side of the square that is cut from the centre, in pixels.", rich_help_panel=PREPROCESSING),
    ] = Default.crop,
    squash: Annotated[
        bool | None,
        typer.Option(
            "--squash/--no-squash",
            help="Resize both sides, whatever the aspect. Default: no-squash.",
            rich_help_panel=PREPROCESSING,
        ),
    ] = Default.squash,
    interpolation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="nearest, bilinear, bicubic or lanczos. Default: bilinear.",
            rich_help_panel=PREPROCESSING,
        ),
    ] = Default.interpolation,
    antialias: Annotated[
        bool | None,
        typer.Option(
            "--antialias/--no-antialias",
            help="Resize as Pillow does, or as torch resizes tensors without antialiasing. Default: antialias.",
            rich_help_panel=PREPROCESSING,
        ),
    ] = Default.antialias,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="M[,M,M]|NAME",
            help="Mean that normalisation subtracts, or imagenet, clip, inception for both.",
            rich_help_panel=PREPROCESSING,
        ),
    ] = Default.mean,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="S[,S,S]|NAME",
            help="Deviation that normalisation divides by, or such a name.",
            rich_help_panel=PREPROCESSING,
        ),
    ] = Default.std,
    grayscale: Annotated[
        bool | None,
        typer.Option(
            "--grayscale/--color",
            help="One channel or three. Default: as the network has.",
            rich_help_panel=PREPROCESSING,
        ),
    ] = Default.grayscale,
    flag_rate: Annotated[
        float,
        typer.Option(help="Share of familiar images that the model may flag; sets its threshold.", rich_help_panel=FIT),
    ] = Default.flag_rate,
    target_accuracy: Annotated[
        float | None,
        typer.Option(
            help="Flag as ambiguous what it takes for the other predictions to be this accurate.", rich_help_panel=FIT
        ),
    ] = Default.target_accuracy,
    evidence_from: Annotated[
        EvidenceFrom, typer.Option(help="What the amount of evidence comes from.", rich_help_panel=FIT)
    ] = Default.evidence_from,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS",
            help="Leave a class out; ul evaluate then uses it as near strange data. Repeatable.",
            rich_help_panel=DATA,
        ),
    ] = None,
    data_root: DataRootOption = Default.data_root,
    download: DownloadOption = Default.download,
    seed: Annotated[int, typer.Option(help="Same seed, same weights.", rich_help_panel=FIT)] = Default.seed,
    form: FormatOption = None,
    batch_size: BatchSizeOption = Default.batch_size,
    workers: WorkersOption = Default.workers,
    device: DeviceOption = Default.device,
    no_cache: NoCacheOption = Default.no_cache,
    trust_code: TrustCodeOption = Default.trust_code,
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
