"""Targets, weights and reductions, by the rules of `torch.nn.functional.cross_entropy`.

A Dirichlet loss sees the classes in two parts: the true class, and all others. `split_by_target` makes the
parts; a loss is then one formula of `own`, `rest` and sums over `others`, whatever kind of target came. Such
a formula gives one value for each row of the batch and each candidate for the true class, shape (N, M, ...):

- class indices: M = 1, the candidate is the target.
- class probabilities: M = C, and the loss is the expectation Σ_c t_c L_c over the candidates. This is what
  cross-entropy does, and it makes a probability of one the same as an index.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from uncertainty_loss._checks import check_reduction, check_target, checked_evidence
from uncertainty_loss._terms import Term, apply, elementwise, summed


class Split:
    """Evidence as a loss sees it. Class dimension 1; M is 1 or C, see above.

    Attributes:
        evidence: All of it, (N, C, ...).
        own: Evidence of the candidate, (N, M, ...).
        rest: Evidence of all other classes together, (N, M, ...), summed without the candidate ever in it.
        classes: C.
        wrong: Evidence with zero in the true class's place, (N, C, ...); None for probabilities.
        batched: Whether the caller's tensors have the N dimension.
    """

    evidence: Tensor
    own: Tensor
    rest: Tensor
    batched: bool
    wrong: Tensor | None = None

    @property
    def classes(self) -> int:
        return self.evidence.shape[1]

    def others(self, term: Term, *rows: Tensor, at_zero: Tensor | float = 0.0) -> Tensor:
        """Σ over all classes but the candidate of a term of their evidence, (N, M, ...).

        Args:
            term: See `_terms`.
            rows: Constants of the term, (N, 1, ...).
            at_zero: Its value where there is no evidence.
        """
        raise NotImplementedError

    def expect(self, losses: Tensor) -> Tensor:
        """One value a row, (N, ...), from one a candidate, weighted and zero where ignored."""
        raise NotImplementedError

    def normalizer(self) -> Tensor:
        """What the mean divides by."""
        raise NotImplementedError

    def reduce(self, losses: Tensor, reduction: str | None) -> Tensor:
        """The loss that the caller asked for, from one value a candidate. The mean over nothing is 0."""
        rows = self.expect(losses)
        if reduction == "sum":
            return rows.sum()
        if reduction == "mean":
            normalizer = self.normalizer()
            return rows.sum() / (normalizer + (normalizer == 0))
        return rows if self.batched else rows.squeeze(0)


class _IndexSplit(Split):
    def __init__(self, evidence: Tensor, index: Tensor, weight: Tensor | None, ignore_index: int) -> None:
        self.evidence = evidence
        self.valid = index != ignore_index
        self.index = index.where(self.valid, 0)
        self.own, self.wrong, self.rest = apply(_TakeOut, evidence, self.index.unsqueeze(1))
        self.weight = None if weight is None else weight.to(evidence.dtype)[self.index].where(self.valid, 0.0)

    def one_hot(self, label_smoothing: float) -> Tensor:
        """The targets as smoothed probabilities, (N, C, ...), zero where ignored."""
        valid = self.valid.unsqueeze(1).to(self.evidence.dtype)
        zeros = torch.zeros_like(self.evidence)
        return _smooth(zeros.scatter(1, self.index.unsqueeze(1), valid), label_smoothing) * valid

    def others(self, term: Term, *rows: Tensor, at_zero: Tensor | float = 0.0) -> Tensor:
        assert self.wrong is not None
        return summed(term, self.wrong, *rows) - at_zero

    def expect(self, losses: Tensor) -> Tensor:
        losses = losses.squeeze(1)
        return losses.where(self.valid, 0.0) if self.weight is None else losses * self.weight

    def normalizer(self) -> Tensor:
        return (self.valid if self.weight is None else self.weight).sum()


class _TakeOut(torch.autograd.Function):
    """Evidence of the true class; evidence with zero in its place; and the sum of that."""

    generate_vmap_rule = True

    @staticmethod
    def forward(evidence: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own = evidence.gather(1, index)
        wrong = _put(evidence, index, torch.zeros_like(own))
        return own, wrong, wrong.sum(1, keepdim=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
        evidence, index = inputs
        ctx.save_for_backward(index)
        ctx.shape = evidence.shape
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, grad_own: Tensor | None, grad_wrong: Tensor | None, grad_rest: Tensor | None
    ) -> tuple[Tensor | None, None]:
        (index,) = ctx.saved_tensors
        grads = [grad for grad in (grad_wrong, grad_rest) if grad is not None]
        if not grads:
            return None, None
        grad = sum(grads[1:], start=grads[0]).expand(ctx.shape)
        return _put(grad, index, torch.zeros_like(grad[:, :1]) if grad_own is None else grad_own), None


def _put(x: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """x with values at index along dimension 1."""
    if torch.compiler.is_compiling():
        # A comparison fuses with what comes before and after; a scatter would be a kernel of its own.
        classes = torch.arange(x.shape[1], device=x.device).view(-1, *[1] * (x.ndim - 2))
        return torch.where(classes == index, values, x)
    return x.scatter(1, index, values)


class _ProbabilitySplit(Split):
    """Leaves each class out in turn, in double where the device has it: differences of sums lose digits."""

    def __init__(
        self, evidence: Tensor, probabilities: Tensor, weight: Tensor | None, normalizer: Tensor
    ) -> None:
        self.dtype = evidence.dtype
        self.evidence = self.own = widened(evidence)
        self.rest = leave_one_out(self.evidence)
        self.probabilities = widened(probabilities)
        if weight is not None:
            self.probabilities = self.probabilities * weight.view(-1, *[1] * (evidence.ndim - 2))
        self._normalizer = normalizer

    def others(self, term: Term, *rows: Tensor, at_zero: Tensor | float = 0.0) -> Tensor:
        return leave_one_out(elementwise(term, self.evidence, *rows))

    def expect(self, losses: Tensor) -> Tensor:
        return (self.probabilities * losses).sum(1).to(self.dtype)

    def normalizer(self) -> Tensor:
        return self._normalizer


def widened(x: Tensor) -> Tensor:
    """x in double, where the device has it."""
    return x if x.device.type == "mps" else x.double()


def leave_one_out(x: Tensor) -> Tensor:
    """Σ_{j≠k} x_j for every k of dimension 1, x ≥ 0, precise even where x_k is nearly the whole sum.

    Example:
        >>> leave_one_out(torch.tensor([[1e9, 1.0, 2.0]]))
        tensor([[3.0000e+00, 1.0000e+09, 1.0000e+09]])
    """
    if x.dtype == torch.float32 and x.device.type != "mps":
        # total - x_k, with a total of twice the digits in two parts: the first difference is exact for an x_k that
        # is nearly all, and then the second part is what counts.
        total = x.sum(1, keepdim=True, dtype=torch.float64)
        high = total.float()
        return (high - x).add_((total - high).float())
    # (largest - x_k) + what is left without the largest: both are ≥ 0, so nothing cancels.
    largest, where = x.max(dim=1, keepdim=True)
    return (largest - x) + _put(x, where, torch.zeros_like(largest)).sum(1, keepdim=True)


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
        reduction: Checked here, before anything is computed; `Split.reduce` wants it again.
        weight: Weight of each class, (C).
        ignore_index: Index of rows that do not count. Has no effect on probabilities.
        label_smoothing: Share of the target spread evenly over the classes, in [0, 1].

    Raises:
        TypeError, ValueError: See `uncertainty_loss._checks`.
    """
    check_reduction(reduction)
    soft = check_target(evidence, target, weight, label_smoothing)
    evidence = checked_evidence(evidence)
    batched = evidence.ndim > 1
    if not batched:
        evidence, target = evidence.unsqueeze(0), target.unsqueeze(0)
    split: Split
    if soft:
        rows = torch.full((), target.numel() // max(evidence.shape[1], 1), device=evidence.device)
        split = _ProbabilitySplit(evidence, _smooth(target, label_smoothing), weight, rows)
    else:
        split = _IndexSplit(evidence, target.long(), weight, ignore_index)
        if label_smoothing > 0:
            split = _ProbabilitySplit(evidence, split.one_hot(label_smoothing), weight, split.normalizer())
    split.batched = batched
    return split


def _smooth(probabilities: Tensor, label_smoothing: float) -> Tensor:
    if label_smoothing == 0:
        return probabilities
    return probabilities * (1 - label_smoothing) + label_smoothing / probabilities.shape[1]
