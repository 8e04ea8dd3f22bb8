"""Results of `ul train`, `ul evaluate` and `ul info` as CSV rows and JSON documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ulcli.output.rows import plain
from ulcli.rows import Row

if TYPE_CHECKING:
    from ulcli.commands.evaluate import EvaluateResult
    from ulcli.commands.info import InfoResult
    from ulcli.commands.train import TrainResult
    from ulcli.evaluation.estimates import Estimate
    from ulcli.evaluation.ood import OODResult, ShiftResult

EVALUATE_COLUMNS = ("set", "n", "score", "metric", "value", "low", "high")


def evaluate_document(result: EvaluateResult) -> dict[str, Any]:
    """The JSON that scripts rely on."""
    return {
        "model": result.model,
        "data": result.data,
        "n": result.n,
        "metrics": {name: _estimate(estimate) for name, estimate in result.metrics.items()},
        "baseline": {name: _estimate(estimate) for name, estimate in result.baseline.items()},
        "ood": {
            name: {"kind": strange.kind, "n": strange.n, **_scores(strange.scores)}
            for name, strange in result.ood.items()
        },
        "shift": {
            name: {
                "n": shift.n,
                "metrics": {metric: _estimate(estimate) for metric, estimate in shift.metrics.items()},
                **_scores(shift.scores),
            }
            for name, shift in result.shift.items()
        },
        "verdict": str(result.verdict) if result.verdict else None,
        "requirements": [
            {"requirement": str(each.condition), "value": plain(each.value), "met": each.met}
            for each in result.requirements
        ],
    }


def evaluate_rows(result: EvaluateResult) -> Iterator[Row]:
    """The same, one figure a row."""
    for score, metrics in (("head", result.metrics), ("baseline", result.baseline)):
        for metric, estimate in metrics.items():
            yield _figure(result.data, result.n, score, metric, **asdict(estimate))
    compared: dict[str, OODResult | ShiftResult] = {**result.ood, **result.shift}
    for name, other in compared.items():
        for score, values in other.scores.items():
            for metric, estimate in values.items():
                yield _figure(name, other.n, score, metric, **asdict(estimate))
    for name, shift in result.shift.items():
        for metric, estimate in shift.metrics.items():
            yield _figure(name, shift.n, "head", metric, **asdict(estimate))


def info_document(result: InfoResult) -> dict[str, Any]:
    """A model file's fields as JSON."""
    return _all_plain_fields({"path": result.path, "size": result.size, **result.fields})


def train_document(result: TrainResult) -> dict[str, Any]:
    """Give the figures of a training as JSON."""
    return _all_plain_fields({**asdict(result), "path": str(result.path)})


def _figure(
    data: str,
    n: int,
    score: str,
    metric: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
) -> Row:
    return {"set": data, "n": n, "score": score, "metric": metric, "value": value, "low": low, "high": high}


def _scores(scores: Mapping[str, Mapping[str, Estimate]]) -> dict[str, Any]:
    """Numbers under `scores`, as scripts look for them, and their bounds beside."""
    return {
        "scores": {
            score: {figure: plain(estimate.value) for figure, estimate in figures.items()}
            for score, figures in scores.items()
        },
        "bounds": {
            score: {figure: [plain(estimate.low), plain(estimate.high)] for figure, estimate in figures.items()}
            for score, figures in scores.items()
        },
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {key: plain(value) for key, value in asdict(estimate).items()}


def _all_plain_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: _all_plain(value) for name, value in fields.items()}


def _all_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _all_plain_fields(value)
    if isinstance(value, list | tuple):
        return [_all_plain(item) for item in value]
    return plain(value)
