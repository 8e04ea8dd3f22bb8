"""The options that several commands share, and the way from options to settings.

Defaults and checks are the settings' own; here are names and help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ulcli.commands.settings import PassSettings
from ulcli.output.formats import Format

_Settings = TypeVar("_Settings", bound=PassSettings)

FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="How to print. Default: by the output file's suffix, else table."),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of standard output.")
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", "-b", help="Images per pass through the network.")]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", "-j", help="Threads that decode images. Default: one a core."),
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps ... auto takes a GPU where there is one."),
]
TrustCodeOption = Annotated[
    bool,
    typer.Option("--trust-code", help="Let a model or checkpoint run code of yours from the working directory."),
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
        help="Where torchvision data sets lie. Default: data.",
    ),
]
DownloadOption = Annotated[bool, typer.Option("--download", help="Fetch a torchvision data set that is not there.")]


def settings_from(options: Mapping[str, Any], settings: type[_Settings]) -> _Settings:
    """Build settings from a command's options, which are called as the fields; what was not given keeps its default."""
    given: dict[str, Any] = {
        field.name: options[field.name] for field in fields(settings) if options[field.name] is not None
    }
    return settings(**given)
