"""Worst errors of the losses and regularisers against 60-digit arithmetic, as a table.

    python benchmarks/accuracy.py [--markdown] [--classes 2 3 10 100 1000] [--only NAME ...]

The rows that the errors are the worst of go from no evidence to S = 1e7, right, wrong and torn; see `rows` in
tests/uncertainty_loss/oracle.py, where the formulas of the papers are as well. Values: relative from 0.1 up, below in
units of 0.1. Gradients: to the largest component of the row. A thousand classes take minutes a function.
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
import oracle  # noqa: E402

import uncertainty_loss as ul  # noqa: E402

REG_FACTOR = 0.1


def functions() -> Iterator[tuple[str, Callable[..., Any], Callable[..., Any]]]:
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
    print(line.format(separator.join(cell.ljust(width) for cell, width in zip(head, widths, strict=True))))
    if options.markdown:
        print(line.format(separator.join("-" * width for width in widths)))
    for name, function, exact in functions():
        if options.only and not any(part in name for part in options.only):
            continue
        for classes in options.classes:
            evidence, target = oracle.rows(classes)
            if name.startswith("belief-matching"):  # evidence is the parameter itself: it cannot be zero
                evidence, target = evidence[:-1], target[:-1]
            worst = oracle.errors(function, exact, evidence, target, picks=6 if classes <= 10 else 2)
            numbers = [f"{error:.0e}" for dtype in (torch.float32, torch.float64) for error in worst[dtype]]
            cells = [name, str(classes), *numbers]
            print(line.format(separator.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
