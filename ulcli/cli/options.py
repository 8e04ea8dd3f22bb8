"""The options that several commands share: name, help and checks in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ulcli.output.formats import Format

FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="How to print. Default: by the output file's suffix, else table."),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of standard output.")
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images per pass through the network.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", "-j", min=1, help="Threads that decode images. Default: one a core."),
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps ... auto takes a GPU where there is one."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only on standard error.")]
NoProgressOption = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep features on disk.")]
DataRootOption = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar="UL_DATA_ROOT",
        metavar="DIR",
        help="Where torchvision data sets lie.  [default: data]",
    ),
]
DownloadOption = Annotated[bool, typer.Option("--download", help="Fetch a torchvision data set that is not there.")]
