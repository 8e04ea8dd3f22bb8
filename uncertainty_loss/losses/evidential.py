"""Evidential deep learning: three expectations under the predicted Dirichlet, and the KL regulariser.

Source: Sensoy, Kaplan, Kandemir, "Evidential Deep Learning to Quantify Classification Uncertainty",
NeurIPS 2018, arXiv 1806.01768.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uncertainty_loss._compile import in_graph
from uncertainty_loss._evaluate import evaluate
from uncertainty_loss._formula import Formula
from uncertainty_loss._polynomial import constants
from uncertainty_loss._special import digamma_difference
from uncertainty_loss._terms import Square, Term
from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.regularizers import WrongEvidenceKL


@in_graph
def evidential_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 0.0,
    reduction: str | None = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Expected squared error under the predicted Dirichlet: the loss of evidential deep learning.

    The place to start. Bounded by 2, so that single wrong labels do not dominate. With α = e + 1, S = Σ α_k,
    p = α / S of shape (N, C, ...) and y one-hot:

        Σ_k (y_k - p_k)² + p_k (1 - p_k) / (S + 1)   +   reg_factor · KL(Dir(α̃) ‖ Dir(1))

    where α̃ is α with the true class set to 1, see `uniform_dirichlet_kl`.

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the KL term, ≥ 0. Annealed from 0 in the paper; a final weight near 1 costs
            accuracy as the number of classes grows, 0.1 or less does not.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss, ≥ 0.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> evidential_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
        tensor(0.0303)

    Source: Sensoy et al. 2018, arXiv 1806.01768, equation 5.
    """
    options = reduction, weight, ignore_index, label_smoothing
    return evaluate(ExpectedSquaredError(), evidence, target, *options, reg_factor, WrongEvidenceKL())


@in_graph
def evidential_log_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 0.0,
    reduction: str | None = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative logarithm of the expected probability of the true class, type II maximum likelihood.

    Cross-entropy of the Dirichlet's mean. It trains where `evidential_loss` does not, with many classes. With
    α = e + 1 and S = Σ α_k:

        log S - log α_c   +   reg_factor · KL(Dir(α̃) ‖ Dir(1))

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the KL term, ≥ 0; see `uniform_dirichlet_kl`.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss, ≥ 0.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> evidential_log_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
        tensor(0.0953)

    Source: Sensoy et al. 2018, arXiv 1806.01768, equation 3.
    """
    options = reduction, weight, ignore_index, label_smoothing
    return evaluate(ExpectedProbabilityNLL(), evidence, target, *options, reg_factor, WrongEvidenceKL())


@in_graph
def evidential_digamma_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 0.0,
    reduction: str | None = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Expected cross-entropy under the predicted Dirichlet (its Bayes risk).

    Above `evidential_log_loss` by what the Dirichlet's spread costs. With α = e + 1 and S = Σ α_k:

        ψ(S) - ψ(α_c)   +   reg_factor · KL(Dir(α̃) ‖ Dir(1))

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the KL term, ≥ 0; see `uniform_dirichlet_kl`.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss, ≥ 0.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> evidential_digamma_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
        tensor(0.1000)

    Source: Sensoy et al. 2018, arXiv 1806.01768, equation 4.
    """
    options = reduction, weight, ignore_index, label_smoothing
    return evaluate(ExpectedCrossEntropy(), evidence, target, *options, reg_factor, WrongEvidenceKL())


@in_graph
def dirichlet_mse_loss(
    evidence: Tensor,
    target: Tensor,
    reduction: str | None = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """`evidential_loss` without its regulariser, for who combines terms by hand.

    Args:
        evidence, target, reduction, weight, ignore_index, label_smoothing: As in `evidential_loss`.

    Returns:
        The loss, ≥ 0.

    Example:
        >>> dirichlet_mse_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
        tensor(0.0303)

    Source: Sensoy et al. 2018, arXiv 1806.01768, equation 5.
    """
    return evaluate(ExpectedSquaredError(), evidence, target, reduction, weight, ignore_index, label_smoothing)


class ExpectedSquaredError(Formula):
    """E[(1 - p_c)²] + Σ_{j≠c} E[p_j²], the same number as equation 5 in terms that are all positive.

    With r = S - α_c that is (r (r + 1) + Σ_{j≠c} α_j (α_j + 1)) / (S (S + 1)); the numerator is multiplied out in e.
    """

    def terms(self, classes: int) -> tuple[Term, ...]:
        return (Square(),)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        (squares,) = sums
        numerator = rest * (rest + (2 * classes + 2)) + squares + (classes + 2) * (classes - 1)
        total = rest + own + classes
        return numerator / (total * (total + 1))

    def with_slopes(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        (squares,) = sums
        numbers = 2 * classes + 2, (classes + 2) * (classes - 1), classes, -1
        twice, product, all_classes, minus_one = constants(numbers, rest.dtype)
        factor = rest + twice
        numerator = torch.addcmul(squares, rest, factor).add_(product)
        total = (rest + own).add_(all_classes)
        inverse = torch.addcmul(total, total, total).reciprocal_()
        losses = numerator * inverse
        by_own = torch.add(minus_one, total, alpha=-2).mul_(inverse).mul_(losses)
        return losses, (by_own, torch.addcmul(by_own, rest + factor, inverse), inverse)


class ExpectedProbabilityNLL(Formula):
    """log S - log α_c."""

    def terms(self, classes: int) -> tuple[Term, ...]:
        return ()

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        return torch.log1p((rest + (classes - 1)) / (own + 1))


@dataclass(frozen=True)
class ExpectedCrossEntropy(Formula):
    """ψ(S) - ψ(α_c), α = e + prior."""

    prior: float = 1.0

    @property
    def wide_rows(self) -> bool:
        # Beside classes that have neither a prior nor evidence all slopes are as small as that is.
        return self.prior == 0

    def terms(self, classes: int) -> tuple[Term, ...]:
        return ()

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        return digamma_difference(own + self.prior, rest + self.prior * (classes - 1))


class EvidentialLoss(LossModule):
    """`evidential_loss` as a module."""

    function = staticmethod(evidential_loss)


class EvidentialLogLoss(LossModule):
    """`evidential_log_loss` as a module."""

    function = staticmethod(evidential_log_loss)


class EvidentialDigammaLoss(LossModule):
    """`evidential_digamma_loss` as a module."""

    function = staticmethod(evidential_digamma_loss)
