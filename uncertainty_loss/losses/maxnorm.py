"""Max-norm loss: a bound of the expected largest error under the predicted Dirichlet.

Source: Tsiligkaridis, "Information Aware Max-Norm Dirichlet Networks for Predictive Uncertainty Estimation",
arXiv 1910.04819.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from uncertainty_loss._special import binet
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

    With the rising factorial ⟨a⟩ = Γ(a + p) / Γ(a) and r = S - α_c that is ((⟨r⟩ + Σ_{j≠c} ⟨α_j⟩) / ⟨S⟩)^(1/p). Its
    parts do not fit in any float, but no α_j exceeds r, so that ⟨α_j⟩ / r^p and ⟨r⟩ / r^p do.
    """
    if p < 1:
        raise ValueError(f"p_norm must be >= 1, got {p}")
    if split.classes == 1:
        return split.own * 0
    rest = split.rest + (split.classes - 1)
    if p == int(p) and p <= _LARGEST_PRODUCT:
        return _whole_error_norm(split, rest, int(p))
    return _real_error_norm(split, rest, float(p))


# Up to here products of p factors are as precise as logarithms, and fit: 20! is 2.4e18.
_LARGEST_PRODUCT = 20


def _whole_error_norm(split: Split, rest: Tensor, p: int) -> Tensor:
    """(r / S) ((N(r) + Σ_{j≠c} ⟨α_j⟩ / r^p) / N(S))^(1/p), N(x) = ⟨x⟩ / x^p = Π_{i<p} (1 + i / x)."""
    total = rest + (split.own + 1)
    # The sum can have any constant scale, as long as it is not far below r.
    unit = rest.detach().amax(1, keepdim=True).reciprocal()
    parts = split.others(WholeRising(p), unit, at_zero=math.factorial(p) * unit**p) / (rest * unit) ** p
    return rest / total * ((_whole_excess(rest, p) + parts) / _whole_excess(total, p)) ** (1 / p)


def _whole_excess(x: Tensor, p: int) -> Tensor:
    """⟨x⟩ / x^p."""
    t = x.reciprocal()
    product = 1 + t if p > 1 else torch.ones_like(t)
    for i in range(2, p):
        product = torch.addcmul(product, product, t, value=i)
    return product


@dataclass(frozen=True)
class WholeRising:
    """⟨e + 1⟩ · unit^p = Π_{i<p} (z + i · unit), z = (e + 1) · unit.

    Factors pair up, the first with the last, u for the unit: (z + i u) (z + (p - 1 - i) u) = q + i (p - 1 - i) u²,
    q = z (z + (p - 1) u). So p = 4 takes two multiplications. An odd p leaves its middle factor, z + (p - 1) u / 2.
    """

    p: int

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        (unit,) = rows
        z = (x + 1).mul_(unit)
        if self.p == 1:
            return z
        value = q = (z + unit * (self.p - 1)).mul_(z)
        for offset in self._offsets():
            value = value * (q + unit.square() * offset)
        return value.mul_(z + unit * ((self.p - 1) / 2)) if self.p % 2 else value

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        (unit,) = rows
        if self.p == 1:
            return unit.expand_as(x)
        z = (x + 1).mul_(unit)
        value = q = (z + unit * (self.p - 1)).mul_(z)
        slope = unit
        for offset in self._offsets():
            factor = q + unit.square() * offset
            value, slope = value * factor, factor * slope + value * unit
        slope = (2 * z).add_(unit * (self.p - 1)).mul_(slope)
        return slope.mul_(z + unit * ((self.p - 1) / 2)).add_(value * unit) if self.p % 2 else slope

    def _offsets(self) -> list[int]:
        return [i * (self.p - 1 - i) for i in range(1, self.p // 2)]


def _real_error_norm(split: Split, rest: Tensor, p: float) -> Tensor:
    """(1 + Σ_{j≠c} ⟨α_j⟩ / ⟨r⟩)^(1/p) (⟨r⟩ / ⟨S⟩)^(1/p), by logarithms."""
    scale = rest.detach().amax(1, keepdim=True)
    term = RealRising(p)
    parts = split.others(term, scale, at_zero=term.value(torch.zeros_like(scale), scale))
    parts = parts * torch.exp(-_log_rising_ratio(rest, scale - rest, p))
    return torch.exp((torch.log1p(parts) + _log_rising_ratio(rest, split.own + 1, p)) / p)


@dataclass(frozen=True)
class RealRising:
    """⟨e + 1⟩ / ⟨scale⟩, by Stirling's formula with its large parts cancelled."""

    p: float

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        (scale,) = rows
        a, p = x + 1, self.p
        logarithm = p * torch.log((a + p) / (scale + p))
        return torch.exp(logarithm + (_log_rising_rest(a, p) - _log_rising_rest(scale, p)))

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        a, p = x + 1, self.p
        # ψ(a + p) - ψ(a)
        log_slope = torch.log1p(p / a) + p / a / (2 * (a + p)) + (binet(a + p, 1) - binet(a, 1))
        return log_slope * self.value(x, *rows)


def _log_rising_rest(a: Tensor, p: float) -> Tensor:
    """log ⟨a⟩ - p (log(a + p) - 1)."""
    return (a - 0.5) * torch.log1p(p / a) + (binet(a + p) - binet(a))


def _log_rising_ratio(a: Tensor, gap: Tensor, p: float) -> Tensor:
    """log ⟨a⟩ - log ⟨a + gap⟩ for a ≥ 1, gap ≥ 0."""
    return -p * torch.log1p(gap / (a + p)) + (_log_rising_rest(a, p) - _log_rising_rest(a + gap, p))


class MaxNormLoss(LossModule):
    """`maxnorm_loss` as a module; options p_norm and full_strength."""

    function = staticmethod(maxnorm_loss)
