"""Max-norm loss: a bound of the expected largest error under the predicted Dirichlet.

Source: Tsiligkaridis, "Information Aware Max-Norm Dirichlet Networks for Predictive Uncertainty Estimation",
arXiv 1910.04819.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uncertainty_loss._special import log_rising
from uncertainty_loss._targets import reduce


def maxnorm_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float = 0.0,
    p_norm: int = 4,
    reduction: str | None = "mean",
) -> Tensor:
    """(E[(1 - p_c)^p] + Σ_{j≠c} E[p_j^p])^(1/p), an upper bound of E‖y - p‖_∞.

    Args:
        evidence: Evidence e ≥ 0, shape (N, C) or (N, C, d1, ...); α = e + 1.
        target: Class indices, shape (N) or (N, d1, ...).
        reg_factor: Weight of the information term ½ Σ_{j≠c} (α_j - 1)² (ψ′(α_j) - ψ′(S̃)).
        p_norm: The order p ≥ 1; larger is closer to the maximum.
        reduction: "mean", "sum", or "none" for one value a sample.

    Returns:
        The reduced loss.

    Example:
        >>> maxnorm_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
        tensor(0.2114)
    """
    alpha = evidence + 1
    index = target.unsqueeze(1)
    others = alpha.scatter(1, index, 0.0).sum(1, keepdim=True)
    total = others + alpha.gather(1, index)
    # Every marginal is a Beta; that of 1 - p_c has the other classes' parameters together.
    a = alpha.scatter(1, index, others)
    log_power = torch.logsumexp(log_rising(a, p_norm) - log_rising(total, p_norm), dim=1)
    rows = torch.exp(log_power / p_norm)
    if reg_factor > 0:
        rows = rows + reg_factor * _information(evidence, index)
    return reduce(rows, reduction)


def _information(evidence: Tensor, index: Tensor) -> Tensor:
    wrong = evidence.scatter(1, index, 0.0)
    alpha = wrong + 1
    trigamma = torch.polygamma(1, alpha) - torch.polygamma(1, alpha.sum(1, keepdim=True))
    return 0.5 * (wrong.square() * trigamma).sum(1)
