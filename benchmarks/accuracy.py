"""Worst errors of the losses, regularisers and measures against 60-digit arithmetic, as a table.

    python benchmarks/accuracy.py [--markdown] [--classes 2 3 10 100 1000] [--only NAME ...]

The rows that a loss's errors are the worst of go from no evidence to S = 1e7, right, wrong and torn; see `rows` in
tests/uncertainty_loss/oracle.py, where the formulas of the papers are as well. Those of a measure go from
concentrations of 1e-3 to S = 1e7; see `concentrations` in tests/uncertainty_loss/mp_dirichlet.py. Values: relative
from 0.1 up, below in units of 0.1. Gradients: to the largest component of the row. A thousand classes take minutes a
function.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "uncertainty_loss")]
import mp_dirichlet  # noqa: E402
import oracle  # noqa: E402

import uncertainty_loss as ul  # noqa: E402
from uncertainty_loss import dirichlet  # noqa: E402

REG_FACTOR = 0.1


Worst = dict[torch.dtype, tuple[float, float]]  # of value and gradient


def losses() -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any]]]:
    """Name, function of (evidence, target), the same in 60 digits."""
    for name in ul.loss_names():
        loss, exact = ul.get_loss(name).function, oracle.LOSSES[name]
        for reg in (0.0, REG_FACTOR):
            yield (
                f"{name}{', regularised' if reg else ''}",
                partial(loss, reg_factor=reg, reduction="none"),
                partial(exact, reg=oracle.mpmath.mpf(reg)),
            )
    for p in (1, 1.5, 2, 3, 8, 20):
        yield (
            f"maxnorm, p = {p}",
            partial(ul.dirichlet_pnorm_loss, p_norm=p, reduction="none"),
            partial(oracle.error_norm, p=p),
        )
    yield "KL term", partial(ul.uniform_dirichlet_kl, reduction="none"), oracle.wrong_kl
    for full in (False, True):
        yield (
            f"information term{', full S' if full else ''}",
            partial(ul.dirichlet_fisher_regularizer, full_strength=full, reduction="none"),
            partial(oracle.information_term, full=full),
        )


def errors_of_loss(name: str, classes: int, function: Callable[..., Any], exact: Callable[..., Any]) -> Worst:
    evidence, target = oracle.rows(classes)
    if name.startswith("belief-matching"):  # evidence is the parameter itself: it cannot be zero
        evidence, target = evidence[:-1], target[:-1]
    worst: Worst = oracle.errors(function, exact, evidence, target, picks=6 if classes <= 10 else 2)
    return worst


def measures() -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any]]]:
    """Name, function of concentrations, the same in 60 digits."""
    for name in (
        "predictive_entropy",
        "expected_entropy",
        "mutual_information",
        "differential_entropy",
        "expected_pairwise_kl",
        "dissonance",
    ):
        yield name, getattr(dirichlet, name), getattr(mp_dirichlet, name)
    yield "data variance", lambda alpha: dirichlet.expected_variance(alpha).data, mp_dirichlet.data_variance
    yield "model variance", lambda alpha: dirichlet.expected_variance(alpha).model, mp_dirichlet.model_variance


def errors_of_measure(name: str, classes: int, function: Callable[..., Any], exact: Callable[..., Any]) -> Worst:
    alpha = mp_dirichlet.concentrations(classes)
    alpha = alpha[alpha.sum(1) < 1e8]
    if classes > 10:
        alpha = alpha[[2, 4, -1]]
    if name == "dissonance":  # it has kinks at the prior
        alpha = alpha[(alpha > 1).all(1)]
    return oracle.errors(
        lambda alpha, _: function(alpha),
        lambda alpha, _: exact(alpha),
        alpha,
        torch.zeros(len(alpha), dtype=torch.long),
        picks=3 if classes <= 10 else 1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--classes", nargs="+", type=int, default=[2, 3, 10, 100])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="functions whose name contains one of these")
    options = parser.parse_args()

    head = ["function", "classes", "float32 value", "gradient", "float64 value", "gradient"]
    line = "| {} |" if options.markdown else "{}"
    separator = " | " if options.markdown else "  "
    widths = [32, 7, 13, 8, 13, 8]

    def show(cells: list[str]) -> None:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(line.format(separator.join(padded)), flush=True)

    show(head)
    if options.markdown:
        show(["-" * width for width in widths])
    for functions, errors in ((losses(), errors_of_loss), (measures(), errors_of_measure)):
        for name, function, exact in functions:
            if options.only and not any(part in name for part in options.only):
                continue
            for classes in options.classes:
                worst = errors(name, classes, function, exact)
                numbers = [f"{error:.0e}" for dtype in (torch.float32, torch.float64) for error in worst[dtype]]
                show([name, str(classes), *numbers])


if __name__ == "__main__":
    main()
