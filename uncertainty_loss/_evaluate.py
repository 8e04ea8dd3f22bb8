"""From a formula and a caller's arguments to the loss."""

from __future__ import annotations

from torch import Tensor

from uncertainty_loss._checks import check_not_traced, checked_factor
from uncertainty_loss._formula import Formula, Regularized
from uncertainty_loss._targets import split_by_target


def evaluate(
    formula: Formula,
    evidence: Tensor,
    target: Tensor,
    reduction: str | None,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    reg_factor: float | Tensor = 0.0,
    regularizer: Formula | None = None,
) -> Tensor:
    """formula + reg_factor · regularizer, reduced; a factor that is the number 0 costs nothing."""
    check_not_traced(evidence)
    split = split_by_target(evidence, target, reduction, weight, ignore_index, label_smoothing)
    factor = checked_factor(reg_factor)
    if regularizer is not None and (isinstance(factor, Tensor) or factor != 0):
        formula = Regularized(formula, regularizer, factor)
    return split.loss(formula, reduction)
