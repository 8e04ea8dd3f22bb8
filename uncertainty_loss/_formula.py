"""A loss as a formula of a few sums over the classes.

A Dirichlet loss sees the classes in two parts, the candidate for the true class and all others. Its formula says
which sums over the others it takes, and then makes one value of the candidate's evidence, the others' total and those
sums: shape (N, M, ...), one for each row of the batch and each candidate, see `_targets`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from uncertainty_loss._blocks import in_blocks
from uncertainty_loss._checks import can_look, looked, wide_dtype
from uncertainty_loss._polynomial import constants
from uncertainty_loss._terms import Term, first_largest, pull_back, put, sums, sums_for_each


class Formula:
    """A loss of a row for a candidate."""

    def terms(self, classes: int) -> tuple[Term, ...]:
        """What it takes the sums of."""
        raise NotImplementedError

    def within(self, classes: int, largest: float) -> Formula:
        """The same for evidence up to the largest, where that allows for fewer steps to the first derivative."""
        return self

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        """The loss, (N, M, ...), from evidence of the candidate, of all others, and the sums over the others."""
        raise NotImplementedError

    def with_slopes(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss for one candidate, (N, 1, ...), and its derivatives by own, rest and every sum, which broadcast.

        For formulas that know a shorter way than automatic derivatives: of a batch of common size those many small
        steps take longer than all of its classes.
        """
        inputs = [x.detach().requires_grad_() for x in (own, rest, *sums)]
        # Hooks of the caller, such as those of a checkpoint, are for what waits for his backward pass.
        with torch.enable_grad(), saved_tensors_hooks(_itself, _itself):
            losses = self(classes, *inputs)
        slopes = torch.autograd.grad(losses, inputs, torch.ones_like(losses), materialize_grads=True)
        return losses.detach(), slopes

    @property
    def learned(self) -> bool:
        """Whether it has parameters that may want a gradient of their own."""
        return False

    @property
    def wide(self) -> bool:
        """Whether it wants the digits of double: its parts are of both signs, and large beside what they leave."""
        return False

    @property
    def wide_rows(self) -> bool:
        """Whether only what there is one of for a row wants them."""
        return False


def _itself(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Regularized(Formula):
    """formula + factor · regularizer; the sums of both are taken in one go."""

    formula: Formula
    regularizer: Formula
    factor: float | Tensor

    def within(self, classes: int, largest: float) -> Formula:
        formula, regularizer = self.formula.within(classes, largest), self.regularizer.within(classes, largest)
        return Regularized(formula, regularizer, self.factor)

    def terms(self, classes: int) -> tuple[Term, ...]:
        return *self.formula.terms(classes), *self.regularizer.terms(classes)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        first, second = self._divided(classes, sums)
        losses = self.formula(classes, own, rest, *first)
        return losses + self.factor * self.regularizer(classes, own, rest, *second)

    def with_slopes(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        assert not isinstance(self.factor, Tensor), "one that is learned wants automatic derivatives"
        factor = float(self.factor)  # torch takes no bool and no array as alpha
        first, second = self._divided(classes, sums)
        losses, (own_slope, rest_slope, *slopes) = self.formula.with_slopes(classes, own, rest, *first)
        added, (own_more, rest_more, *more) = self.regularizer.with_slopes(classes, own, rest, *second)
        (zero,) = constants((0,), losses.dtype)
        pairs = (losses, added), (own_slope, own_more), (rest_slope, rest_more), *((zero, slope) for slope in more)
        losses, own_slope, rest_slope, *more = (torch.add(x, y, alpha=factor) for x, y in pairs)
        return losses, (own_slope, rest_slope, *slopes, *more)

    @property
    def learned(self) -> bool:
        return isinstance(self.factor, Tensor)

    @property
    def wide(self) -> bool:
        return self.formula.wide or self.regularizer.wide

    @property
    def wide_rows(self) -> bool:
        return self.formula.wide_rows or self.regularizer.wide_rows

    def _divided(self, classes: int, sums: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        length = sum(term.count for term in self.formula.terms(classes))
        return sums[:length], sums[length:]


def row_losses(
    formula: Formula, evidence: Tensor, index: Tensor, bound: float = math.inf, mean: bool = False
) -> Tensor:
    """The formula for the candidates at index, (N, ...), or their mean.

    Args:
        formula: Of a row and a candidate.
        evidence: (N, C, ...).
        index: (N, 1, ...).
        bound: No evidence is above it.
        mean: Whether to return the mean of all rows, which saves a step.
    """
    if evidence.requires_grad and torch.is_grad_enabled() and can_look(evidence, index) and not formula.learned:
        losses: Tensor = _RowLosses.apply(formula, evidence, index, bound, mean)
        return losses
    return _automatic(formula, evidence, index, mean)


def expected_losses(formula: Formula, evidence: Tensor, probabilities: Tensor) -> Tensor:
    """Σ_c t_c times the formula for the candidate c, (N, ...), from evidence and probabilities t, (N, C, ...)."""
    if (
        evidence.requires_grad
        and torch.is_grad_enabled()
        and can_look(evidence, probabilities)
        and not (formula.learned or probabilities.requires_grad)
    ):
        losses: Tensor = _ExpectedLosses.apply(formula, evidence, probabilities)
        return losses
    return _automatic_expectation(formula, evidence, probabilities)


def _automatic_expectation(formula: Formula, evidence: Tensor, probabilities: Tensor) -> Tensor:
    # The class with most evidence by itself, see `sums_for_each`.
    most = first_largest(evidence.detach())
    losses = probabilities.gather(1, most).squeeze(1) * _automatic(formula, evidence, most)
    classes = evidence.shape[1]
    if classes == 1:
        return losses
    each = formula(classes, *sums_for_each(formula.terms(classes), evidence, most))
    return losses + (put(probabilities, most, 0.0) * each).sum(1)


def _automatic(formula: Formula, evidence: Tensor, index: Tensor, mean: bool = False) -> Tensor:
    classes = evidence.shape[1]
    losses = formula(classes, *sums(formula.terms(classes), evidence, index, _row_dtype(formula, evidence)))
    losses = losses.to(evidence.dtype)
    return losses.mean() if mean else _without_candidates(losses)


def _row_dtype(formula: Formula, evidence: Tensor) -> torch.dtype:
    return wide_dtype(evidence) if formula.wide_rows else evidence.dtype


def _without_candidates(losses: Tensor) -> Tensor:
    """(N, ...) from (N, 1, ...); not a view of what has been computed, for a caller to write into it."""
    return losses.squeeze(1).clone()


class _ExpectedLosses(torch.autograd.Function):
    """The expectation and its gradient in one go, a few rows at a time: all that lies between is not kept."""

    @staticmethod
    def forward(ctx: Any, formula: Formula, evidence: Tensor, probabilities: Tensor) -> Tensor:
        ctx.formula = formula

        def block(evidence: Tensor, probabilities: Tensor, out: Tensor) -> tuple[Tensor]:
            leaf = evidence.detach().requires_grad_()
            with torch.enable_grad(), saved_tensors_hooks(_itself, _itself):
                losses = _automatic_expectation(formula, leaf, probabilities)
            (slopes,) = torch.autograd.grad(losses, leaf, torch.ones_like(losses))
            out.copy_(slopes)
            return (losses.detach().unsqueeze(1),)

        gradient = torch.empty_like(evidence)
        (losses,) = in_blocks(block, evidence, probabilities, gradient, temporaries=False)
        ctx.save_for_backward(evidence, probabilities, gradient)
        return _without_candidates(losses)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        evidence, probabilities, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():
            # As in _RowLosses.
            evidence = evidence.view_as(evidence)
            losses = _automatic_expectation(ctx.formula, evidence, probabilities)
            return None, *torch.autograd.grad(losses, evidence, grad, create_graph=True), None
        return None, gradient * grad.unsqueeze(1), None


class _RowLosses(torch.autograd.Function):
    """All that lies between evidence and losses as one step, with the derivative of every row taken along the way."""

    @staticmethod
    def forward(ctx: Any, formula: Formula, evidence: Tensor, index: Tensor, bound: float, mean: bool) -> Tensor:
        classes = evidence.shape[1]
        ctx.mean = mean
        ctx.general = formula
        ctx.formula = formula = formula.within(classes, bound)
        before = looked.already
        try:
            looked.already = True
            own, rest, *totals = sums(formula.terms(classes), evidence, index, _row_dtype(formula, evidence))
            losses, slopes = formula.with_slopes(classes, own, rest, *totals)
        finally:
            looked.already = before
        if formula.wide_rows:
            losses, slopes = losses.to(evidence.dtype), tuple(slope.to(evidence.dtype) for slope in slopes)
        ctx.save_for_backward(evidence, index, rest, *slopes)
        # In place: it is nobody else's, no slope and no sum.
        return losses.mean() if mean else losses.squeeze_(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None, None, None]:
        evidence, index, rest, *slopes = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Somebody will differentiate this once more. By another name: hooks of the evidence wait for the result.
            evidence = evidence.view_as(evidence)
            losses = _automatic(ctx.general, evidence, index, ctx.mean)
            return None, *torch.autograd.grad(losses, evidence, grad, create_graph=True), None, None, None
        terms = ctx.formula.terms(evidence.shape[1])
        grad = (grad / index.numel()).expand_as(rest) if ctx.mean else grad.unsqueeze(1)
        return None, pull_back(terms, evidence, index, rest, [slope * grad for slope in slopes]), None, None, None
