"""I-EDL: errors weighted by the Fisher information of the predicted Dirichlet.

Source: Deng, Chen, Yu, Liu, Heng, "Uncertainty Estimation by Fisher Information-based Evidential Deep
Learning", ICML 2023, arXiv 2303.02045, and its authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from uncertainty_loss._compile import in_graph
from uncertainty_loss._evaluate import evaluate
from uncertainty_loss._formula import Formula
from uncertainty_loss._special import binet, tetragamma, trigamma
from uncertainty_loss._terms import Term
from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.regularizers import WrongEvidenceKL


@in_graph
def information_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 0.0,
    reduction: str | None = "mean",
    *,
    information_weight: float = 0.005,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """I-EDL: squared errors weighted by the Fisher information ψ′(α_k), and a reward for information.

    Classes with little evidence weigh most: ψ′ is the Fisher information of their parameter. With α = e + 1,
    S = Σ α_k, p = α / S:

        Σ_k ψ′(α_k) [(y_k - p_k)² + p_k (1 - p_k) / (S + 1)] - λ log|F|   +   reg_factor · KL(Dir(α̃) ‖ Dir(1))
        log|F| = Σ_k log ψ′(α_k) + log(1 - Σ_k ψ′(S) / ψ′(α_k))

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...), C ≥ 2 unless information_weight is 0.
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the KL term, ≥ 0; see `uniform_dirichlet_kl`.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        information_weight: λ; the authors use 0.005 for MNIST and 0.05 for CIFAR-10.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss; log|F| has no bound, so neither has it.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> information_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]), information_weight=0)
        tensor(0.0265)

    Source: Deng et al. 2023, arXiv 2303.02045.
    """
    options = reduction, weight, ignore_index, label_smoothing
    formula = WeightedSquaredError(information_weight)
    return evaluate(formula, evidence, target, *options, reg_factor, WrongEvidenceKL())


@dataclass(frozen=True)
class WeightedSquaredError(Formula):
    """ψ′(α_c) E[(1 - p_c)²] + Σ_{j≠c} ψ′(α_j) E[p_j²] - λ log|F|; the error in terms that are all positive.

    1 / ψ′(α) = α - ½ + η(α) with a small η, so that in log|F|

        1 - Σ_k ψ′(S) / ψ′(α_k) = ψ′(S) [(K - 1) / 2 + η(S) - Σ_k η(α_k)],

    where the textbook form takes 1 - 1/S from 1.
    """

    information_weight: float

    @property
    def wide(self) -> bool:
        return bool(self.information_weight)

    def terms(self, classes: int) -> tuple[Term, ...]:
        if not self.information_weight:
            return (WeightedMoment(),)
        if classes < 2:
            raise ValueError("the Fisher information of one class is zero: use at least 2, or information_weight=0")
        return WeightedMoment(), LogTrigamma(), Eta()

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        moments, *logarithms = sums
        alpha, others = own + 1, rest + (classes - 1)
        total = alpha + others
        error = trigamma(alpha) * (others / total * ((others + 1) / (total + 1))) + moments / total / (total + 1)
        if not self.information_weight:
            return error
        log_trigamma, eta = logarithms
        remainder = (classes - 1) / 2 + _eta(total) - (_eta(alpha) + eta)
        log_determinant = log_trigamma + torch.log(trigamma(alpha) * trigamma(total) * remainder)
        return error - self.information_weight * log_determinant


class WeightedMoment(Term):
    """ψ′(α) α (α + 1), α = e + 1."""

    absent: ClassVar[None] = None

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        alpha = x + 1
        return trigamma(alpha) * alpha * (alpha + 1)

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        alpha = x + 1
        return tetragamma(alpha) * alpha * (alpha + 1) + trigamma(alpha) * (2 * alpha + 1)


class LogTrigamma(Term):
    """log ψ′(α), α = e + 1."""

    absent: ClassVar[None] = None

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        return torch.log(trigamma(x + 1))

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        alpha = x + 1
        return tetragamma(alpha) / trigamma(alpha)


class Eta(Term):
    """1 / ψ′(α) - α + ½, α = e + 1: falls from 0.108 to 1 / (12 α)."""

    absent: ClassVar[None] = None

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        return _eta(x + 1)

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        # -ψ″ / ψ′² - 1, with the 1 taken off on paper: ψ′ = t + m, m = t² / 2 + μ″, and -ψ″ = t² + t³ - μ‴.
        alpha = x + 1
        t = alpha.reciprocal()
        second, third = binet(alpha, 2), binet(alpha, 3)
        m = t.square() / 2 + second
        slope = -third - 2 * t * second - m.square()
        return slope / (t + m).square()


def _eta(a: Tensor) -> Tensor:
    t = a.reciprocal()
    scaled = a * binet(a, 2)
    return (t / 4 + scaled / 2 - a * scaled) / (1 + t / 2 + scaled)


class InformationLoss(LossModule):
    """`information_loss` as a module; option information_weight."""

    function = staticmethod(information_loss)
