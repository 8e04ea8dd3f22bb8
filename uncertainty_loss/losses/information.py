"""I-EDL: errors weighted by the Fisher information of the predicted Dirichlet.

Source: Deng, Chen, Yu, Liu, Heng, "Uncertainty Estimation by Fisher Information-based Evidential Deep
Learning", ICML 2023, arXiv 2303.02045, and its authors' code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from uncertainty_loss._special import binet, tetragamma, trigamma
from uncertainty_loss._targets import Split, split_by_target
from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.regularizers import regularized, wrong_evidence_kl


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

        Σ_k ψ′(α_k) [(y_k - p_k)² + p_k (1 - p_k) / (S + 1)] - λ log|F|   +   reg_factor · KL(Dir(α̃) ‖
        Dir(1)) log|F| = Σ_k log ψ′(α_k) + log(1 - Σ_k ψ′(S) / ψ′(α_k))

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
    split = split_by_target(evidence, target, reduction, weight, ignore_index, label_smoothing)
    losses = weighted_squared_error(split)
    if information_weight != 0:
        losses = losses - information_weight * log_information(split)
    losses = regularized(losses, reg_factor, wrong_evidence_kl, split)
    return split.reduce(losses, reduction)


def weighted_squared_error(split: Split) -> Tensor:
    """ψ′(α_c) E[(1 - p_c)²] + Σ_{j≠c} ψ′(α_j) E[p_j²], in terms that are all positive."""
    own = split.own + 1
    rest = split.rest + (split.classes - 1)
    total = rest + own
    parts = split.others(WeightedMoment(), at_zero=math.pi**2 / 3)
    return trigamma(own) * (rest / total * ((rest + 1) / (total + 1))) + parts / total / (total + 1)


class WeightedMoment:
    """ψ′(α) α (α + 1), α = e + 1."""

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        alpha = x + 1
        return trigamma(alpha) * alpha * (alpha + 1)

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        alpha = x + 1
        return tetragamma(alpha) * alpha * (alpha + 1) + trigamma(alpha) * (2 * alpha + 1)


def log_information(split: Split) -> Tensor:
    """log|F|, the log-determinant of the Dirichlet's Fisher information, (N, 1, ...).

    1 / ψ′(α) = α - ½ + η(α) with a small η, so that

        1 - Σ_k ψ′(S) / ψ′(α_k) = ψ′(S) [(K - 1) / 2 + η(S) - Σ_k η(α_k)],

    where the textbook form subtracts 1 - 1/S from 1.
    """
    if split.classes < 2:
        raise ValueError("the Fisher information of one class is zero: use at least 2, or information_weight=0")
    alpha = split.evidence + 1
    total = alpha.sum(1, keepdim=True)
    remainder = (split.classes - 1) / 2 + _eta(total) - _eta(alpha).sum(1, keepdim=True)
    return torch.log(trigamma(alpha)).sum(1, keepdim=True) + torch.log(trigamma(total) * remainder)


def _eta(a: Tensor) -> Tensor:
    """1 / ψ′(a) - a + ½ for a ≥ 1: falls from 0.108 to 1 / (12 a)."""
    t = a.reciprocal()
    scaled = a * binet(a, 2)
    return (t / 4 + scaled / 2 - a * scaled) / (1 + t / 2 + scaled)


class InformationLoss(LossModule):
    """`information_loss` as a module; option information_weight."""

    function = staticmethod(information_loss)
