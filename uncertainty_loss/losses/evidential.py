"""Evidential deep learning: the expected squared error under the predicted Dirichlet.

Source: Sensoy, Kaplan, Kandemir, "Evidential Deep Learning to Quantify Classification Uncertainty",
NeurIPS 2018, arXiv 1806.01768.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from uncertainty_loss._targets import reduce


def evidential_loss(
    evidence: Tensor, target: Tensor, reg_factor: float = 0.0, reduction: str | None = "mean"
) -> Tensor:
    """Expected squared error of the predicted Dirichlet, Σ_k (y_k - p_k)² + p_k (1 - p_k) / (S + 1).

    Args:
        evidence: Evidence e ≥ 0, shape (N, C) or (N, C, d1, ...); α = e + 1.
        target: Class indices, shape (N) or (N, d1, ...).
        reg_factor: Weight of KL(Dir(α̃) ‖ Dir(1)), where α̃ is α with the true class set to 1.
        reduction: "mean", "sum", or "none" for one value a sample.

    Returns:
        The reduced loss.

    Example:
        >>> evidential_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
        tensor(0.0303)
    """
    alpha = evidence + 1
    index = target.unsqueeze(1)
    # The other classes are summed by themselves: S - α_c has no digits left once the network is sure.
    others = alpha.scatter(1, index, 0.0)
    total = others.sum(1) + alpha.gather(1, index).squeeze(1)
    miss = others.sum(1) / total
    squares = (others / total.unsqueeze(1)).square().sum(1)
    rows = miss.square() + squares + (miss * (2 - miss) - squares) / (total + 1)
    if reg_factor > 0:
        rows = rows + reg_factor * _kl_to_uniform(evidence, index)
    return reduce(rows, reduction)


def _kl_to_uniform(evidence: Tensor, index: Tensor) -> Tensor:
    alpha = evidence.scatter(1, index, 0.0) + 1
    total = alpha.sum(1)
    classes = alpha.shape[1]
    return (
        torch.lgamma(total)
        - math.lgamma(classes)
        - torch.lgamma(alpha).sum(1)
        + ((alpha - 1) * torch.digamma(alpha)).sum(1)
        - (total - classes) * torch.digamma(total)
    )
