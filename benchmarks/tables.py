"""What the benchmarks show of the reports of `ul evaluate`, as Markdown tables."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

LOSSES = ("maxnorm", "evidential")
RIVALS = ("max_probability", "entropy", "energy", "mahalanobis", "relative_mahalanobis", "knn", "vim")
FIGURES = ("accuracy", "nll", "brier", "ece", "adaptive_ece", "classwise_ece", "aurc", "misclassification_auroc")

Table = dict[str, dict[str, list[float]]]  # row -> column -> one value a seed


def add_far(table: Table, loss: str, report: dict[str, Any]) -> None:
    """AUROC over the far sets, a row a score; the baselines are the same for every loss."""
    names = {f"vacuity ({loss})": "vacuity", f"head's own vacuity ({loss})": "head_vacuity"}
    for row, score in (names | {name: name for name in RIVALS if loss == LOSSES[0]}).items():
        aurocs = {
            Path(key).name: strange["scores"][score]["auroc"]
            for key, strange in report["ood"].items()
            if strange["kind"] == "far"
        }
        table[row]["mean"].append(mean(aurocs.values()))
        table[row]["worst"].append(min(aurocs.values()))
        for key, value in aurocs.items():
            table[row][key].append(value)


def add_near(table: Table, held_out: tuple[str, ...], report: dict[str, Any]) -> None:
    """AUROC against the held-out classes, a row a score."""
    (near,) = (strange for strange in report["ood"].values() if strange["kind"] == "near")
    for score in ("vacuity", "head_vacuity", *RIVALS):
        table[score]["mean"].append(near["scores"][score]["auroc"])
        table[score][" + ".join(held_out)].append(near["scores"][score]["auroc"])


def add_quality(table: Table, loss: str, report: dict[str, Any]) -> None:
    """Figures of the predictions, a row a loss, and one for the cross-entropy classifier."""
    rows = {loss: report["metrics"]} | ({"cross-entropy": report["baseline"]} if loss == LOSSES[0] else {})
    for row, metrics in rows.items():
        for name in FIGURES:
            table[row][name].append(metrics[name]["value"])


def show(title: str, table: Table) -> None:
    """Markdown: the mean over the seeds, and their range."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print(f"\n{title}\n\n| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in table.items():
        cells = [_cell(row[column]) if column in row else "" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _cell(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"
