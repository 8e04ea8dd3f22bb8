"""Targets, weights and reductions, by the rules of `torch.nn.functional.cross_entropy`.

A loss is one formula for a candidate for the true class and all other classes (see `_formula`), whatever kind of target
came. It gives one value for each row of the batch and each candidate, shape (N, M, ...):

- class indices: M = 1, the candidate is the target.
- class probabilities: M = C, and the loss is the expectation Σ_c t_c L_c over the candidates. This is what
  cross-entropy does, and it makes a probability of one the same as an index.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uncertainty_loss._checks import check_indices, check_reduction, check_target, evidence_and_bound, widened
from uncertainty_loss._formula import Formula, expected_losses, row_losses
from uncertainty_loss._terms import put


class Split:
    """Evidence as a loss sees it. Class dimension 1; M is 1 or C, see above.

    Attributes:
        evidence: All of it, (N, C, ...).
        batched: Whether the caller's tensors have the N dimension.
    """

    evidence: Tensor
    batched: bool

    @property
    def classes(self) -> int:
        return self.evidence.shape[1]

    def loss(self, formula: Formula, reduction: str | None) -> Tensor:
        """The loss that the caller asked for. The mean over nothing is 0."""
        rows = self._losses(formula)
        if reduction == "sum":
            return rows.sum()
        if reduction == "mean":
            normalizer = self.normalizer()
            if isinstance(normalizer, Tensor):
                return rows.sum() / (normalizer + (normalizer == 0))
            # All rows count alike.
            return rows.mean() if normalizer else rows.sum()
        return rows if self.batched else rows.squeeze(0)

    def _losses(self, formula: Formula) -> Tensor:
        """One value a row, (N, ...), weighted and zero where ignored."""
        raise NotImplementedError

    def _wide(self, formula: Formula) -> bool:
        # With so few classes all components of a row's gradient may nearly vanish at once, where parts of the loss pull
        # against each other; then float32 leaves them too few digits.
        return self.classes <= 3 or formula.wide

    def normalizer(self) -> Tensor | int:
        """What the mean divides by."""
        raise NotImplementedError


class IndexSplit(Split):
    """For class indices; index is (N, 1, ...), with any class in place of one to ignore; no evidence is above bound."""

    def __init__(
        self, evidence: Tensor, bound: float, target: Tensor, weight: Tensor | None, ignore_index: int
    ) -> None:
        self.bound = bound
        self.valid = None if check_indices(target, evidence.shape[1], ignore_index) else target != ignore_index
        self.evidence = evidence
        self.index = (target if self.valid is None else target.where(self.valid, 0)).unsqueeze(1)
        self.weight = None
        if weight is not None:
            self.weight = weight.to(evidence.dtype)[self.index.squeeze(1)]

    def loss(self, formula: Formula, reduction: str | None) -> Tensor:
        if reduction == "mean" and self.weight is None and self.valid is None and self.index.numel():
            return self._rows(formula, mean=True)
        return super().loss(formula, reduction)

    def _rows(self, formula: Formula, mean: bool = False) -> Tensor:
        evidence = widened(self.evidence) if self._wide(formula) else self.evidence
        return row_losses(formula, evidence, self.index, self.bound, mean).to(self.evidence.dtype)

    def _losses(self, formula: Formula) -> Tensor:
        losses = self._rows(formula)
        if self.weight is not None:
            losses = losses * self.weight
        return losses if self.valid is None else losses.where(self.valid, 0.0)

    def normalizer(self) -> Tensor | int:
        if self.weight is None:
            return self.index.numel() if self.valid is None else self.valid.sum()
        return (self.weight if self.valid is None else self.weight.where(self.valid, 0.0)).sum()

    def one_hot(self, label_smoothing: float) -> Tensor:
        """The targets as smoothed probabilities, (N, C, ...), zero where ignored."""
        probabilities = _smooth(put(torch.zeros_like(self.evidence), self.index, 1.0), label_smoothing)
        return probabilities if self.valid is None else probabilities.where(self.valid.unsqueeze(1), 0.0)


class ProbabilitySplit(Split):
    """For class probabilities, (N, C, ...), any numbers that need not sum to 1."""

    def __init__(
        self, evidence: Tensor, probabilities: Tensor, weight: Tensor | None, normalizer: Tensor | int
    ) -> None:
        self.evidence = evidence
        self.probabilities = probabilities.to(evidence.dtype)
        if weight is not None:
            self.probabilities = self.probabilities * weight.to(evidence.dtype).view(-1, *[1] * (evidence.ndim - 2))
        self._normalizer = normalizer

    def _losses(self, formula: Formula) -> Tensor:
        evidence, probabilities = self.evidence, self.probabilities
        if self._wide(formula):
            evidence, probabilities = widened(evidence), widened(probabilities)
        return expected_losses(formula, evidence, probabilities).to(self.evidence.dtype)

    def normalizer(self) -> Tensor | int:
        return self._normalizer


def split_by_target(
    evidence: Tensor,
    target: Tensor,
    reduction: str | None,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Split:
    """Check the arguments and part the evidence by the target.

    Args:
        evidence: (C), (N, C) or (N, C, d1, ...), entries ≥ 0.
        target: Class indices, evidence's shape without C, or probabilities of evidence's shape.
        reduction: Checked here, before anything is computed; `Split.loss` wants it again.
        weight: Weight of each class, (C).
        ignore_index: Index of rows that do not count. Has no effect on probabilities.
        label_smoothing: Share of the target spread evenly over the classes, in [0, 1].

    Raises:
        TypeError, ValueError: See `uncertainty_loss._checks`.
    """
    check_reduction(reduction)
    soft = check_target(evidence, target, weight, label_smoothing)
    evidence, bound = evidence_and_bound(evidence)
    batched = evidence.ndim > 1
    if not batched:
        evidence, target = evidence.unsqueeze(0), target.unsqueeze(0)
    split: Split
    if soft:
        rows = target.numel() // evidence.shape[1]
        split = ProbabilitySplit(evidence, _smooth(target, label_smoothing), weight, rows)
    else:
        split = IndexSplit(evidence, bound, target.long(), weight, ignore_index)
        if label_smoothing > 0:
            split = ProbabilitySplit(evidence, split.one_hot(label_smoothing), weight, split.normalizer())
    split.batched = batched
    return split


def _smooth(probabilities: Tensor, label_smoothing: float) -> Tensor:
    if label_smoothing == 0:
        return probabilities
    return probabilities * (1 - label_smoothing) + label_smoothing / probabilities.shape[1]
