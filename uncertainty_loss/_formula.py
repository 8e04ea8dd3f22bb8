"""A loss as a formula of a few sums over the classes.

A Dirichlet loss sees the classes in two parts, the candidate for the true class and all others. Its formula says
which sums over the others it takes, and then makes one value of the candidate's evidence, the others' total and those
sums: shape (N, M, ...), one for each row of the batch and each candidate, see `_targets`. The sums of a loss and of its
regulariser are taken in one go.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from uncertainty_loss._targets import split_by_target
from uncertainty_loss._terms import Term


class Formula(Protocol):
    """A loss of a row for a candidate."""

    def terms(self, classes: int) -> tuple[Term, ...]:
        """What it takes the sums of."""
        ...

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        """The loss, (N, M, ...), from evidence of the candidate, of all others, and the sums over the others."""
        ...


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
    split = split_by_target(evidence, target, reduction, weight, ignore_index, label_smoothing)
    classes = split.classes
    terms = formula.terms(classes)
    if regularizer is None or (not isinstance(reg_factor, Tensor) and reg_factor == 0):
        return split.reduce(formula(classes, *split.sums(*terms)), reduction)
    own, rest, *sums = split.sums(*terms, *regularizer.terms(classes))
    losses = formula(classes, own, rest, *sums[: len(terms)])
    losses = losses + reg_factor * regularizer(classes, own, rest, *sums[len(terms) :])
    return split.reduce(losses, reduction)
