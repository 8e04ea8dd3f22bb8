"""Results as rich tables."""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ulcli.evaluation.figures import Family, of_family
from ulcli.output.console import printable
from ulcli.rows import Row

if TYPE_CHECKING:
    from ulcli.commands.evaluate import EvaluateResult
    from ulcli.commands.info import InfoResult
    from ulcli.commands.train import TrainResult
    from ulcli.evaluation.estimates import Estimate

_PIPE_WIDTH = 200  # where no terminal says how wide it is, nothing should be cut
_SHOWN = ("confidence", "vacuity", "dissonance")


def print_table(renderable: Table | Group, stream: IO[str] | None = None) -> None:
    """Print to a stream, or to standard output."""
    stream = stream or sys.stdout
    console = Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH)
    with console.capture() as printed:
        console.print(renderable)
    stream.write(printed.get())  # not by rich, which ends the process with status 1 where the reader has gone


def score_table(rows: Iterable[Row], top: int) -> Table:
    """The `top` most uncertain rows, and those that failed; keeps no more rows than it shows."""
    failed: list[Row] = []

    def readable() -> Iterator[Row]:
        for row in rows:
            if row["error"] is None:
                yield row
            elif len(failed) < top:
                failed.append(row)

    worst = heapq.nlargest(top, readable(), key=lambda row: row["vacuity"])
    labels, sets = ([name] if any(name in row for row in (*worst, *failed)) else [] for name in ("label", "set"))
    errors = ["error"] if failed else []
    columns = ["path", *labels, "predicted", *_SHOWN, "reason", *sets, *errors]
    table = _table(*columns)
    for row in (*worst, *failed):
        style = "red" if row["error"] else "yellow" if row["flagged"] else ""
        cells = (_number(row[name]) if name in _SHOWN else row[name] for name in columns)
        _add_row(table, *cells, style=style)
    return table


def evaluate_table(result: EvaluateResult) -> Group:
    """Figures on the data beside the baseline's, then one block of scores for each strange set."""
    shifts = list(result.shift)
    title = f"{result.data}: {result.n:,} images"
    figures = _table("", "evidential head", "cross-entropy", *shifts, title=title)
    for name, estimate in result.metrics.items():
        baseline = result.baseline.get(name)
        shifted = (_estimate(result.shift[shift].metrics[name]) for shift in shifts)
        _add_row(figures, name, _estimate(estimate), _estimate(baseline) if baseline else "", *shifted)
    parts: list[Table | Text] = [figures]
    for name, strange in result.ood.items():
        parts.append(_scores_table(f"against {name} ({strange.kind}): {strange.n:,} images", strange.scores))
    for name, shift in result.shift.items():
        parts.append(_scores_table(f"against the same images with {name}", shift.scores))
    if result.requirements:
        table = _table("requirement", "measured", "met")
        for requirement in result.requirements:
            style = "" if requirement.met else "red"
            met = "yes" if requirement.met else "NO"
            _add_row(table, str(requirement.condition), _number(requirement.value), met, style=style)
        parts.append(table)
    if result.verdict is not None:
        parts.append(Text(printable(str(result.verdict))))
    return Group(*parts)


def _scores_table(title: str, scores: Mapping[str, Mapping[str, Estimate]]) -> Table:
    metrics = of_family(Family.OOD)
    table = _table("score", *(metric.heading for metric in metrics), title=title)
    for score, figures in scores.items():
        auroc, *others = (figures[metric.name] for metric in metrics)
        _add_row(table, score, _estimate(auroc), *(_number(each.value) for each in others))
    return table


def train_table(result: TrainResult) -> Table:
    """Before and after, on the validation images."""
    title = f"{result.validation_images:,} validation images"
    table = _table("", "before (cross-entropy)", "uncalibrated", "after (evidential)", title=title)
    for name in result.after:
        _add_row(table, name, *(_number(each[name]) for each in (result.before, result.uncalibrated, result.after)))
    _add_row(table, "seconds", "", "", f"{result.seconds:.1f}")
    return table


def info_table(result: InfoResult) -> Table:
    """One line a field."""
    table = _table("field", "value", title=result.path)
    for name, value in result.fields.items():
        _add_row(table, name, _described(value))
    return table


_WORDS = ("", "path", "label", "predicted", "reason", "set", "error", "score", "field", "value", "requirement")


def _table(*columns: str, title: str | None = None) -> Table:
    heading = None if title is None else _text(title)
    table = Table(title=heading, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # A narrow terminal takes room from words, which can be folded, never from numbers.
        number = column not in _WORDS
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=number)
    return table


def _add_row(table: Table, *cells: str | None, style: str = "") -> None:
    table.add_row(*map(_text, cells), style=style)


def _text(words: str | None) -> Text:
    # Text, not markup: a file may be called "[red].png".
    return Text("" if words is None else printable(words), overflow="fold")


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4f}"


def _estimate(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return _number(estimate.value)
    return f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_described(item)}" for key, item in value.items())
    if isinstance(value, list):
        words = [str(item) for item in value]
        return ", ".join(words if len(words) <= 20 else [*words[:20], f"... {len(words)} in all"])
    return f"{value:.4g}" if isinstance(value, float) else str(value)
