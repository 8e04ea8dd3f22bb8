"""What a Dirichlet distribution over class probabilities says: how sure, of what, and why not.

Every measure takes the concentrations ``alpha`` of shape (N, C, d1, ...) or (C,): the class dimension is 1,
or 0 for a single unbatched distribution, as in ``torch.nn.functional.cross_entropy``. Unless its name is
per class (`expected_probability`, `belief`), a measure returns one value a distribution: (N, d1, ...), or a
scalar for (C,). Half-precision input is computed, and returned, in float32; float64 stays float64.

S = sum_k alpha_k is the precision, p_k = alpha_k / S the expected probability of class k.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from uncertainty_loss._expansions import digamma_excess, entropy_kernel


class ExpectedVariance(NamedTuple):
    """The variance of a one-hot label, summed over classes, by where it comes from."""

    data: Tensor
    model: Tensor

    @property
    def total(self) -> Tensor:
        return self.data + self.model


def precision(alpha: Tensor) -> Tensor:
    alpha, dim = _checked(alpha)
    return alpha.sum(dim)


def expected_probability(alpha: Tensor) -> Tensor:
    alpha, dim = _checked(alpha)
    return alpha / alpha.sum(dim, keepdim=True)


def vacuity(alpha: Tensor, *, prior: float = 1.0) -> Tensor:
    alpha, dim = _checked(alpha)
    return prior * alpha.shape[dim] / alpha.sum(dim)


def belief(alpha: Tensor, *, prior: float = 1.0) -> Tensor:
    alpha, dim = _checked(alpha)
    return (alpha - prior) / alpha.sum(dim, keepdim=True)


def dissonance(alpha: Tensor, *, prior: float = 1.0) -> Tensor:
    alpha, dim = _checked(alpha)
    mass = belief(alpha, prior=prior).clamp(min=0).movedim(dim, -1)
    tiny = torch.finfo(mass.dtype).tiny
    mine, other = mass.unsqueeze(-1), mass.unsqueeze(-2)
    diagonal = torch.eye(mass.shape[-1], dtype=torch.bool, device=mass.device)
    balance = 2 * torch.minimum(mine, other) / (mine + other).clamp(min=tiny)
    conflict = (other * balance).masked_fill(diagonal, 0).sum(-1)
    return (mass * conflict / _others(mass, -1).clamp(min=tiny)).sum(-1)


def predictive_entropy(alpha: Tensor) -> Tensor:
    alpha, dim = _checked(alpha)
    p, q = _probability_and_complement(alpha, dim)
    # Near one, log p is known only through 1 - p.
    log_p = torch.where(p < 0.5, p.clamp(max=0.5).log(), torch.log1p(-q.clamp(max=0.5)))
    return -(p * log_p).sum(dim)


def expected_entropy(alpha: Tensor) -> Tensor:
    return predictive_entropy(alpha) - mutual_information(alpha)


def mutual_information(alpha: Tensor) -> Tensor:
    alpha, dim = _checked(alpha)
    s = alpha.sum(dim)
    return (digamma_excess(alpha).sum(dim) - digamma_excess(s)) / s


def differential_entropy(alpha: Tensor) -> Tensor:
    alpha, dim = _checked(alpha)
    s = alpha.sum(dim)
    return entropy_kernel(alpha).sum(dim) - entropy_kernel(s) - (alpha.shape[dim] - 1) * torch.digamma(s)


def expected_pairwise_kl(alpha: Tensor) -> Tensor:
    alpha, dim = _checked(alpha)
    return (alpha.shape[dim] - 1) / alpha.sum(dim)


def expected_variance(alpha: Tensor) -> ExpectedVariance:
    alpha, dim = _checked(alpha)
    s = alpha.sum(dim)
    p, q = _probability_and_complement(alpha, dim)
    total = (p * q).sum(dim)
    return ExpectedVariance(data=total * (s / (s + 1)), model=total / (s + 1))


def entropy(y_proba: Tensor, normalize: bool = False) -> Tensor:
    y_proba, dim = _checked(y_proba)
    # 0 log 0 = 0, with a gradient of 0 there instead of an infinite one.
    log_p = torch.where(y_proba > 0, y_proba, 1).log()
    result = -(y_proba * log_p).sum(dim)
    return _share_of_maximum(result, y_proba.shape[dim]) if normalize else result


def uncertainty(evidence: Tensor, normalize: bool = False) -> Tensor:
    evidence, dim = _checked(evidence)
    result = predictive_entropy(evidence + 1)
    return _share_of_maximum(result, evidence.shape[dim]) if normalize else result


def model_uncertainty(evidence: Tensor) -> Tensor:
    evidence, _ = _checked(evidence)
    return mutual_information(evidence + 1)


def data_uncertainty(evidence: Tensor) -> Tensor:
    evidence, _ = _checked(evidence)
    return expected_entropy(evidence + 1)


def cross_entropy_uncertainty(logits: Tensor) -> Tensor:
    logits, dim = _checked(logits)
    log_p = logits.log_softmax(dim)
    p = log_p.exp()
    return -(p * torch.where(p > 0, log_p, 0)).sum(dim)


def _checked(x: Tensor) -> tuple[Tensor, int]:
    if not isinstance(x, Tensor):
        raise TypeError(f"expected a torch.Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeError(f"expected a floating-point tensor, got {x.dtype}")
    if x.dim() == 0:
        raise ValueError("expected shape (N, C, d1, ...) or (C,), got a scalar")
    dim = min(1, x.dim() - 1)
    if x.shape[dim] == 0:
        raise ValueError(f"expected at least one class in dimension {dim}, got shape {tuple(x.shape)}")
    return (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x), dim


def _others(x: Tensor, dim: int) -> Tensor:
    """sum_{j != k} x_j, without the cancellation in S - x_k for a class that holds almost everything."""
    largest = torch.zeros_like(x, dtype=torch.bool).scatter(dim, x.argmax(dim, keepdim=True), True)
    rest = x.masked_fill(largest, 0).sum(dim, keepdim=True)
    return torch.where(largest, rest, x.sum(dim, keepdim=True) - x)


def _probability_and_complement(alpha: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """p_k and 1 - p_k, both to full relative precision."""
    s = alpha.sum(dim, keepdim=True)
    return alpha / s, _others(alpha, dim) / s


def _share_of_maximum(entropy: Tensor, classes: int) -> Tensor:
    # A single class has no entropy to share: 0, not 0 / 0.
    return entropy / math.log(classes) if classes > 1 else entropy
