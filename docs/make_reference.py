"""Fill the tables of docs/commands.md from the registries of the code; the prose between them is written by hand.

Run from the repository's root: python docs/make_reference.py

A block starts with `<!-- made by docs/make_reference.py: NAME -->` and ends with `<!-- end -->`. For a new one, write a
function that returns its Markdown, name it in `BLOCKS`, and put the two lines where the block is to stand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from typer.main import get_command

from ulcli.app import app
from ulcli.data.sources import registry as data_sources
from ulcli.errors import ExitCode
from ulcli.evaluation.figures import Family, of_family
from ulcli.network.sources import registry as network_sources
from ulcli.output.formats import Format
from ulcli.rows import COLUMNS, Column, Measure

PAGE = Path(__file__).parent / "commands.md"
COMMANDS: dict[str, Any] = get_command(app).commands
_BLOCK = re.compile(
    r"(?P<start><!-- made by docs/make_reference\.py: (?P<name>.+?) -->\n).*?(?P<end><!-- end -->)", re.DOTALL
)
_TOLD_DEFAULT = re.compile(r"\s*(?:\[default: (.+?)\]|Default: (.+?)\.?)$")
_POINTS = {1: "higher", -1: "lower"}


def row_columns() -> str:
    """The columns of a row, and which of them tell OOD images apart."""
    return table(
        ("column", "meaning", "only with", "further out when"),
        ((f"`{each.name}`", each.meaning, _extra(each), _direction(each)) for each in COLUMNS.values()),
    )


def data() -> str:
    """The sources of images."""
    entries = ((", ".join(f"`{word}`" for word in source.spellings), source.meaning) for source in data_sources.SOURCES)
    return table(("DATA", "what it is"), entries)


def networks() -> str:
    """The sources of networks."""
    return table(("ARCH", "what it is"), ((f"`{each.example}`", each.description) for each in network_sources.SOURCES))


def formats() -> str:
    """The formats, and the shapes of results that each writes."""
    rows = (
        (f"`{form.value}`", form.meaning, ", ".join(f"`{suffix}`" for suffix in form.suffixes), _shapes(form))
        for form in Format
    )
    return table(("format", "what it is", "file names", "writes"), rows)


def metrics(*families: Family) -> str:
    """The metrics of some families."""
    found = (metric for family in families for metric in of_family(family))
    return table(("name", "meaning", "better"), ((f"`{each.name}`", each.meaning, each.better) for each in found))


def exit_codes() -> str:
    """How a command can end."""
    return table(("exit code", "meaning"), ((str(int(code)), code.meaning) for code in ExitCode))


def options(command: str) -> str:
    """The options of a command as Typer has them, so that none is left out."""
    shown = [each for each in COMMANDS[command].params if each.param_type_name == "option" and not each.hidden]
    return table(("option", "meaning", "default"), (_option(each) for each in shown))


BLOCKS: dict[str, Callable[[], str]] = {
    "data": data,
    "networks": networks,
    "formats": formats,
    "metrics of the data": partial(metrics, Family.CLASSIFICATION, Family.SELECTIVE, Family.FLAGS),
    "metrics of an OOD set": partial(metrics, Family.OOD),
    "metrics over all OOD sets": partial(metrics, Family.OOD_OVERALL),
    "columns of a row": row_columns,
    "exit codes": exit_codes,
    **{f"options of ul {name}": partial(options, name) for name in COMMANDS},
}


def fill(page: str) -> str:
    """Put into each block of a page what the code says today."""
    return _BLOCK.sub(lambda match: f"{match['start']}\n{BLOCKS[match['name']]()}\n{match['end']}", page)


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(cells) for cells in (heading, *rows)]
    lines.insert(1, " | ".join(["---"] * (lines[0].count(" | ") + 1)))
    return "".join(f"| {line} |\n" for line in lines)


def _shapes(form: Format) -> str:
    return ", else ".join(shape.value for shape in form.writers)


def _extra(column: Column) -> str:
    words = "" if column.extra is None else column.extra.value
    return f"`{words}`" if words.startswith("--") else words


def _direction(column: Column) -> str:
    return _POINTS[column.ood_sign] if isinstance(column, Measure) and column.ood_sign is not None else ""


def _option(parameter: Any) -> tuple[str, str, str]:
    """Name, meaning and default of an option."""
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    value = f"`{parameter.metavar}`" if parameter.metavar else ""
    if isinstance(default, Enum):
        value = ", ".join(f"`{each.value}`" for each in type(default))
        default = default.value
    meaning = (parameter.help or "").strip()
    told = _TOLD_DEFAULT.search(meaning)
    if told:  # what the help puts into words says more than the bare value
        meaning, shown = meaning[: told.start()], told[1] or told[2]
    else:
        shown = "" if default is None or default is False else f"`{default}`"
    if parameter.envvar:
        shown = f"`{parameter.envvar}`, else {shown}"
    return _escaped(f"{names} {value}".strip()), _escaped(meaning), _escaped(shown)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
