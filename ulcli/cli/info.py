"""Options of `ul info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ulcli.cli.options import FormatOption
from ulcli.errors import ExitCode


def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="What ul train wrote.")],
    form: FormatOption = None,
) -> ExitCode:
    """Show what a model file holds."""
    from ulcli.cli.printing import choose, write
    from ulcli.commands.info import info
    from ulcli.output import views

    form = choose(form, None, views.INFO)
    write(views.info_view(info(model)), form, None)
    return ExitCode.OK
