"""Max-norm loss: a bound of the expected largest error under the predicted Dirichlet.

Source: Tsiligkaridis, "Information Aware Max-Norm Dirichlet Networks for Predictive Uncertainty Estimation",
arXiv 1910.04819.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from uncertainty_loss._special import apply, binet
from uncertainty_loss._targets import Split, split_by_target
from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.regularizers import information_term, regularized


def maxnorm_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 0.0,
    p_norm: float = 4,
    reduction: str | None = "mean",
    *,
    full_strength: bool = False,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """An upper bound of the expected largest error, E‖y - p‖_∞, under the predicted Dirichlet.

    More forgiving to the runner-up classes than `evidential_loss`, whose square root it is for p_norm = 2.
    With α = e + 1, S = Σ α_k and the marginals of Dir(α), which are Beta distributions:

        F = ( E[(1 - p_c)^p] + Σ_{j≠c} E[p_j^p] )^(1/p)   +   reg_factor · information term

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the information term, ≥ 0; see `dirichlet_fisher_regularizer`.
        p_norm: p ≥ 1, any real number; whole numbers are faster. Larger is closer to the maximum.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        full_strength: The information term as the package had it up to 0.1.2.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss, in [0, 2^(1/p)] without the regulariser.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> maxnorm_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]))
        tensor(0.2114)

    Source: Tsiligkaridis 2019, arXiv 1910.04819.
    """
    split = split_by_target(evidence, target, reduction, weight, ignore_index, label_smoothing)
    regularizer = partial(information_term, full_strength=full_strength)
    losses = regularized(error_norm(split, p_norm), reg_factor, regularizer, split)
    return split.reduce(losses, reduction)


def dirichlet_pnorm_loss(
    evidence: Tensor,
    target: Tensor,
    p_norm: float = 4,
    reduction: str | None = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """`maxnorm_loss` without its regulariser, for who combines terms by hand.

    Args:
        evidence, target, p_norm, reduction, weight, ignore_index, label_smoothing: As in `maxnorm_loss`.

    Returns:
        The loss, in [0, 2^(1/p)].

    Example:
        >>> dirichlet_pnorm_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]), p_norm=1)
        tensor(0.1818)

    Source: Tsiligkaridis 2019, arXiv 1910.04819.
    """
    split = split_by_target(evidence, target, reduction, weight, ignore_index, label_smoothing)
    return split.reduce(error_norm(split, p_norm), reduction)


def error_norm(split: Split, p: float) -> Tensor:
    """(E[(1 - p_c)^p] + Σ_{j≠c} E[p_j^p])^(1/p).

    With ⟨a⟩ = Γ(a + p) / Γ(a), the rising factorial, and r = S - α_c this is ((⟨r⟩ + Σ_{j≠c} ⟨α_j⟩) /
    ⟨S⟩)^(1/p). It is computed as (1 + Σ_{j≠c} ⟨α_j⟩ / ⟨r⟩)^(1/p) (⟨r⟩ / ⟨S⟩)^(1/p): no α_j exceeds r, so that
    the first factor is a sum of ratios below 1, and the second, which can be small beyond float32, is safe as
    a logarithm.
    """
    if p < 1:
        raise ValueError(f"p_norm must be >= 1, got {p}")
    if split.classes == 1:
        return split.own * 0
    rest = split.rest + (split.classes - 1)
    # Any constant scale gives the same sum in the end; this one keeps every ratio in range.
    scale = rest.detach().amax(1, keepdim=True)
    ratios = split.others(
        lambda e: rising_ratio(e, scale, p), rising_ratio(torch.zeros_like(scale), scale, p)
    )
    ratios = ratios * torch.exp(-log_rising_ratio(rest, scale - rest, p))
    return torch.exp((torch.log1p(ratios) + log_rising_ratio(rest, split.own + 1, p)) / p)


def rising_ratio(evidence: Tensor, scale: Tensor, p: float) -> Tensor:
    """⟨e + 1⟩ / ⟨scale⟩ for e + 1 ≤ scale, differentiable in e alone."""
    if p == int(p):
        return apply(_WholeRisingRatio, evidence, scale, int(p))
    return apply(_RealRisingRatio, evidence, scale, float(p))


class _WholeRisingRatio(torch.autograd.Function):
    """Π_{i<p} (a + i) / (scale + i), a = e + 1, as a product: no logarithm, no overflow.

    Factors pair up, the first with the last: (a + i) (a + p - 1 - i) = q + i (p - 1 - i), q = a (a + p - 1). So
    p = 4 takes two multiplications. An odd p leaves the middle factor over, a + (p - 1) / 2.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(evidence: Tensor, scale: Tensor, p: int) -> Tensor:
        z, unit, norm = _scaled(evidence, scale, p)
        value = z + unit * (p - 1)
        value.mul_(z)
        q = value.clone() if p > 3 else value
        for i in range(1, p // 2):
            value.mul_(q + unit.square() * (i * (p - 1 - i)))
        if p == 1:
            value = z
        elif p % 2:
            value.mul_(z + unit * ((p - 1) / 2))
        return value.div_(norm)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        evidence, scale, ctx.p = inputs
        ctx.save_for_backward(evidence, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        evidence, scale = ctx.saved_tensors
        p = ctx.p
        z, unit, norm = _scaled(evidence, scale, p)
        if p == 1:
            return (grad / (norm * scale)).expand_as(evidence), None, None
        slope_q = (2 * z).add_(unit * (p - 1))
        q = (z + unit * (p - 1)).mul_(z)
        value, slope = q, torch.ones_like(unit)
        for i in range(1, p // 2):
            factor = q + unit.square() * (i * (p - 1 - i))
            slope = factor * slope + value
            value = value * factor
        slope = slope_q.mul_(slope)
        if p % 2:
            slope = slope.mul_(z + unit * ((p - 1) / 2)).add_(value)
        return slope.mul_(grad / (norm * scale)), None, None


def _scaled(evidence: Tensor, scale: Tensor, p: int) -> tuple[Tensor, Tensor, Tensor]:
    """z = a / scale; the step 1 / scale between z's rising factors; and Π_i (scale + i) / scale."""
    unit = scale.reciprocal()
    z = (evidence + 1).mul_(unit)
    steps = torch.arange(p, dtype=scale.dtype, device=scale.device)
    return z, unit, (1 + unit.unsqueeze(-1) * steps).prod(-1)


class _RealRisingRatio(torch.autograd.Function):
    """exp(log ⟨a⟩ - log ⟨scale⟩), a = e + 1, by Stirling's formula with its large parts cancelled."""

    generate_vmap_rule = True

    @staticmethod
    def forward(evidence: Tensor, scale: Tensor, p: float) -> Tensor:
        a = evidence + 1
        return torch.exp(
            p * torch.log((a + p) / (scale + p)) + (_log_rising_rest(a, p) - _log_rising_rest(scale, p))
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
        evidence, scale, ctx.p = inputs
        ctx.save_for_backward(evidence, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        evidence, scale = ctx.saved_tensors
        a, p = evidence + 1, ctx.p
        # ψ(a + p) - ψ(a)
        log_slope = torch.log1p(p / a) + p / a / (2 * (a + p)) + (binet(a + p, 1) - binet(a, 1))
        return grad * log_slope * rising_ratio(evidence, scale, p), None, None


def _log_rising_rest(a: Tensor, p: float) -> Tensor:
    """log Γ(a + p) - log Γ(a) - p (log(a + p) - 1)."""
    return (a - 0.5) * torch.log1p(p / a) + (binet(a + p) - binet(a))


def log_rising_ratio(a: Tensor, gap: Tensor, p: float) -> Tensor:
    """log ⟨a⟩ - log ⟨a + gap⟩ for a ≥ 1, gap ≥ 0; (N, M, ...)."""
    if p == int(p):
        steps = torch.arange(int(p), dtype=a.dtype, device=a.device)
        return -torch.log1p(gap.unsqueeze(-1) / (a.unsqueeze(-1) + steps)).sum(-1)
    return -p * torch.log1p(gap / (a + p)) + (_log_rising_rest(a, p) - _log_rising_rest(a + gap, p))


class MaxNormLoss(LossModule):
    """`maxnorm_loss` as a module; options p_norm and full_strength."""

    function = staticmethod(maxnorm_loss)
