"""Max-norm loss: a bound of the expected largest error under the predicted Dirichlet.

Source: Tsiligkaridis, "Information Aware Max-Norm Dirichlet Networks for Predictive Uncertainty Estimation",
arXiv 1910.04819.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from torch import Tensor

from uncertainty_loss._blocks import temporary
from uncertainty_loss._checks import can_look
from uncertainty_loss._compile import in_graph
from uncertainty_loss._evaluate import evaluate
from uncertainty_loss._formula import Formula
from uncertainty_loss._polynomial import constants, number, numbers, polynomial, root, row_polynomial, whole_power
from uncertainty_loss._special import binet
from uncertainty_loss._terms import Term, elementwise
from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.regularizers import InformationTerm


@in_graph
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
    options = reduction, weight, ignore_index, label_smoothing
    return evaluate(error_norm(p_norm), evidence, target, *options, reg_factor, InformationTerm(full_strength))


@in_graph
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
    return evaluate(error_norm(p_norm), evidence, target, reduction, weight, ignore_index, label_smoothing)


def error_norm(p: float) -> Formula:
    """(E[(1 - p_c)^p] + Σ_{j≠c} E[p_j^p])^(1/p).

    With the rising factorial ⟨a⟩ = Γ(a + p) / Γ(a) and r = S - α_c that is ((⟨r⟩ + Σ_{j≠c} ⟨α_j⟩) / ⟨S⟩)^(1/p). Its
    parts may be too large for a float, but no α_j exceeds r, so that ⟨α_j⟩ / r^p and ⟨r⟩ / r^p are not.
    """
    if not 1 <= p < math.inf:
        raise ValueError(f"p_norm must be >= 1 and finite, got {p}")
    return WholeErrorNorm(int(p)) if p == int(p) and p <= _LARGEST_PRODUCT else RealErrorNorm(float(p))


# Up to here products of p factors are as precise as logarithms, and fit: 20! is 2.4e18.
_LARGEST_PRODUCT = 20

# The most that r^p may be. A float32 has room for ⟨r⟩, at most 1e25 then, and for a gradient of 1e-16 divided by it.
_LARGEST_RISING = 1e22


@dataclass(frozen=True)
class WholeErrorNorm(Formula):
    """(r / S) ((N(r) + Σ_{j≠c} ⟨α_j⟩ / r^p) / N(S))^(1/p), N(x) = ⟨x⟩ / x^p = Π_{i<p} (1 + i / x).

    Attributes:
        p: A whole number.
    """

    p: int

    def within(self, classes: int, largest: float) -> Formula:
        moderate = classes > 1 and self.p > 1 and largest <= self.largest(classes)
        return ModerateErrorNorm(self.p) if moderate else self

    def largest(self, classes: int) -> float:
        """Evidence up to which Σ ⟨α_j⟩ fits in a float, so that r^p need not divide each of its parts."""
        return float(_LARGEST_RISING ** (1 / self.p)) / classes - 1

    def terms(self, classes: int) -> tuple[Term, ...]:
        return (ScaledRising(self.p),)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        if classes == 1:
            return own * 0
        (parts,) = sums
        r = rest + (classes - 1)
        total = r + (own + 1)
        # The sum leaves out what a class without evidence has, and may have a constant in place of r.
        unit = _unit(rest.detach().amax(1, keepdim=True), classes)
        parts = (parts + self.least_sum(classes) * whole_power(unit, self.p)) / whole_power(r * unit, self.p)
        return r / total * root((_whole_excess(r, self.p) + parts) / _whole_excess(total, self.p), self.p)

    def with_slopes(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        # (log ⟨x⟩)' = p H(x), so that the loss F has the slopes -F H(S) by own, F / (p A) by the sum A - N(r), and
        # F H(r) N(r) / A - F H(S) by r. The polynomial has the sign of -H.
        if classes == 1:
            return super().with_slopes(classes, own, rest, *sums)
        (parts,) = sums
        one, others, least, inverse_p = constants((1, classes - 1, self.least_sum(classes), 1 / self.p), own.dtype)
        r = rest + others
        unit, inverse_total = r.reciprocal(), (r + own).add_(one).reciprocal_()
        excess_r, excess_total = (polynomial(_EXCESS[self.p], t) for t in (unit, inverse_total))
        slope_r, slope_total = (polynomial(_EXCESS_SLOPE[self.p], t).mul_(t) for t in (unit, inverse_total))
        sum_ = torch.addcmul(parts, whole_power(unit, self.p), least).add_(excess_r)
        losses = root(sum_ / excess_total, self.p).mul_(inverse_total).mul_(r)
        share = losses / sum_
        by_own = (losses * slope_total).div_(excess_total)
        return losses, (by_own, torch.addcmul(by_own, share, slope_r, value=-1), share * inverse_p)

    def least_sum(self, classes: int) -> float:
        """Σ_{j≠c} ⟨α_j⟩ where there is no evidence."""
        return (classes - 1.0) * math.factorial(self.p)


@dataclass(frozen=True)
class ModerateErrorNorm(WholeErrorNorm):
    """The same as it stands, for two classes or more whose sums fit: ((⟨r⟩ + Σ_{j≠c} ⟨α_j⟩) / ⟨S⟩)^(1/p), p ≥ 2.

    Losses use `with_slopes`; the call says what that computes, for tests to compare.
    """

    def terms(self, classes: int) -> tuple[Term, ...]:
        return (Rising(self.p),)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        (parts,) = sums
        r = rest + (classes - 1)
        rising_r, rising_total = (math.prod(x + i for i in range(self.p)) for x in (r, r + own + 1))
        return root((parts + (rising_r + self.least_sum(classes))) / rising_total, self.p)

    def with_slopes(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        # With A for the sum and the loss F = (A / ⟨S⟩)^(1/p), the slopes are F / (p A) by the sum, -F ⟨S⟩' / (p ⟨S⟩)
        # by own, and F ⟨r⟩' / (p A) more by the rest.
        (parts,) = sums
        values = classes - 1 + _CENTRE[self.p], self.least_sum(classes), 1, 0, 1 / self.p
        others, least, one, zero, inverse_p = constants(values, own.dtype)
        r = rest + others
        rising_r, slope_r = _rising_and_slope(r, self.p)
        rising_total, slope_total = _rising_and_slope((r + own).add_(one), self.p)
        sum_ = (parts + least).add_(rising_r)
        losses = root(sum_ / rising_total, self.p)
        share = losses / sum_
        # A product and its sign in one step.
        by_own = torch.addcmul(zero, losses, slope_total, value=-1).div_(rising_total)
        return losses, (by_own, torch.addcmul(by_own, share, slope_r), share * inverse_p)


def _rising_and_slope(x: Tensor, p: int) -> tuple[Tensor, Tensor]:
    """⟨a⟩ and a p-th of its derivative, of x = a + _CENTRE[p], for p ≥ 2."""
    if p % 2:
        return polynomial(_RISING_FROM_ZERO[p], x), polynomial(_RISING_FROM_ZERO_SLOPE[p], x)
    # Factors in pairs, (x - i) (x + i) for i = ½, 3/2, …
    minus_mean, *lower = constants((-_MEAN[p], *_CENTRED_RISING[p]), x.dtype)
    v = torch.addcmul(minus_mean, x, x)
    slope = x if p == 2 else _monic(constants(_CENTRED_RISING_SLOPE[p], x.dtype), v) * x
    return _monic(lower, v), slope


def _monic(lower: Sequence[Tensor], v: Tensor) -> Tensor:
    """vⁿ + c₀ vⁿ⁻² + c₁ vⁿ⁻³ + ⋯, n - 1 of them."""
    total = v
    for c in lower:
        total = torch.addcmul(c, total, v)
    return total


def _unit(rest: Tensor, classes: int) -> Tensor:
    return (rest + number(max(classes - 1, 1), rest)).reciprocal()


def _whole_excess(x: Tensor, p: int) -> Tensor:
    """⟨x⟩ / x^p."""
    t = x.reciprocal()
    if can_look(t):
        (result,) = elementwise(WholeExcess(p), t)
        return result
    product = torch.ones_like(t)
    for i in range(1, p):
        # Once in a step: a compiler that writes the steps into each other would have two copies of all before.
        product = product * (t * i + 1)
    return product


@dataclass(frozen=True)
class WholeExcess(Term):
    """⟨1/t⟩ t^p: no term to sum, but with a slope in closed form all the same."""

    p: int

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        return polynomial(_EXCESS[self.p], x)

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        return polynomial((*_derivative(_EXCESS[self.p]), 0.0), x)


@dataclass(frozen=True)
class Rising(Term):
    """⟨e + 1⟩ - p!: a polynomial in e without negative parts."""

    p: int

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        y = x if self.p % 2 else torch.addcmul(x, x, x, value=1 / (self.p + 1), out=temporary(x))
        return polynomial(_RISING_WITHOUT_CONSTANT[self.p], y)

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        return polynomial(_RISING_SLOPE[self.p], x)


@dataclass(frozen=True)
class ScaledRising(Term):
    """(⟨e + 1⟩ - p!) · unit^p, for a unit that keeps it small: a polynomial in z = e · unit."""

    p: int

    def rows(self, classes: int, rest: Tensor, least: Tensor) -> tuple[Tensor, ...]:
        return (_unit(rest, classes),)

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        (unit,) = rows
        if self.p % 2:
            z, coefficients = torch.mul(x, unit, out=temporary(x)), _RISING[self.p]
        else:
            # Half as many steps: factors in pairs, (e + i) (e + p + 1 - i) = y + i (p + 1 - i), y = e² + (p + 1) e.
            unit, step = unit * unit, self.p + 1
            z = torch.addcmul(x, x, x, value=1 / step, out=temporary(x)).mul_(unit * number(step, x))
            coefficients = _RISING_IN_PAIRS[self.p]
        # Without the constant, and then over z.
        _, *lower, last = coefficients
        return row_polynomial(_scaled(lower, unit, unit), last, z).mul_(z) if lower else z

    def add_slopes(
        self, total: Tensor, grads: Sequence[Tensor], x: Tensor, *rows: Tensor, out: Tensor | None = None
    ) -> Tensor:
        (grad,), (unit,) = grads, rows
        # The unit and the gradient multiply the coefficients, one a row each, rather than what is made of them.
        scale = grad * unit
        if self.p == 1:
            return torch.add(scale + total, torch.zeros_like(x), out=out)
        z = torch.mul(x, unit, out=temporary(x))
        *lower, last = _RISING_SLOPE[self.p]
        lowest, *others = _scaled(lower, unit, scale * unit)
        return row_polynomial([lowest + total, *others], scale * number(last, x), z, out)


def _scaled(coefficients: Sequence[float], unit: Tensor, scale: Tensor) -> list[Tensor]:
    """The coefficients times scale, from the last to the first times one more unit each."""
    scales = accumulate([unit] * (len(coefficients) - 1), torch.mul, initial=scale)
    return [scale * c for scale, c in zip(scales, numbers(tuple(reversed(coefficients)), unit), strict=True)][::-1]


def _coefficients(roots: Iterable[float]) -> tuple[float, ...]:
    """Of Π (x + root) over the roots, constant term first."""
    coefficients = [1.0]
    for constant in roots:
        pairs = zip([*coefficients, 0.0], [0.0, *coefficients], strict=True)
        coefficients = [constant * low + high for low, high in pairs]
    return tuple(coefficients)


def _derivative(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(k * c for k, c in enumerate(coefficients) if k)


# Of ⟨e + 1⟩ = (e + 1) (e + 2) ⋯ (e + p) as a polynomial in e, constant term first, and of its derivative; for even p
# also as one in e² + (p + 1) e.
_RISING = {p: _coefficients(range(1, p + 1)) for p in range(1, _LARGEST_PRODUCT + 1)}
_RISING_SLOPE = {p: _derivative(_RISING[p]) for p in _RISING}
_RISING_IN_PAIRS = {p: _coefficients(i * (p + 1 - i) for i in range(1, p // 2 + 1)) for p in _RISING if p % 2 == 0}

# Without the constant: of e for odd p, of e² / (p + 1) + e for even.
_RISING_WITHOUT_CONSTANT = {
    p: (0.0, *(_RISING[p][1:] if p % 2 else [c * (p + 1) ** k for k, c in enumerate(_RISING_IN_PAIRS[p]) if k]))
    for p in _RISING
}

# Of ⟨x⟩ and of a p-th of its derivative, for odd p.
_RISING_FROM_ZERO = {p: (0.0, *_RISING[p - 1]) for p in _RISING if p % 2 and p > 1}
_RISING_FROM_ZERO_SLOPE = {p: tuple(c / p for c in _derivative(_RISING_FROM_ZERO[p])) for p in _RISING_FROM_ZERO}

# For even p as a polynomial in x² less the mean of ¼, 9/4, …, for x in the middle between the factors. Its two highest
# coefficients are 1 and 0, and so are those of its derivative in that, divided by p / 2: here are the others, the
# highest first.
_CENTRE = {p: 0.0 if p % 2 else (p - 1) / 2 for p in _RISING}
_MEAN = {p: (p * p - 1) / 12 for p in _RISING_IN_PAIRS}
_CENTRED_RISING = {p: _coefficients(_MEAN[p] - (i + 0.5) ** 2 for i in range(p // 2))[-3::-1] for p in _RISING_IN_PAIRS}
_CENTRED_RISING_SLOPE = {
    p: tuple(c * k / (p // 2) for c, k in zip(_CENTRED_RISING[p][:-1], range(p // 2 - 2, 0, -1), strict=True))
    for p in _CENTRED_RISING
}

# Of N(x) and of -x N(x) H(x), H(x) = (1 / p) Σ_{i<p} 1 / (x + i), as polynomials in 1 / x, constant term first.
_EXCESS = {1: (1.0, 0.0)} | {p: _RISING[p - 1][::-1] for p in range(2, _LARGEST_PRODUCT + 1)}
_EXCESS_SLOPE = {p: tuple((k / p - 1) * c for k, c in enumerate(_EXCESS[p])) for p in _EXCESS}


@dataclass(frozen=True)
class RealErrorNorm(Formula):
    """(1 + Σ_{j≠c} ⟨α_j⟩ / ⟨r⟩)^(1/p) (⟨r⟩ / ⟨S⟩)^(1/p), by logarithms."""

    p: float

    def terms(self, classes: int) -> tuple[Term, ...]:
        return (RealRising(self.p),)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        if classes == 1:
            return own * 0
        (parts,) = sums
        r = rest + (classes - 1)
        # The sum has a constant in place of r.
        gap = rest.detach().amax(1, keepdim=True) - rest
        parts = parts * torch.exp(-_log_rising_ratio(r, gap, self.p))
        return torch.exp((torch.log1p(parts) + _log_rising_ratio(r, own + 1, self.p)) / self.p)


@dataclass(frozen=True)
class RealRising(Term):
    """⟨e + 1⟩ / ⟨scale⟩, by Stirling's formula with its large parts cancelled."""

    p: float
    absent: ClassVar[None] = None

    def rows(self, classes: int, rest: Tensor, least: Tensor) -> tuple[Tensor, ...]:
        return (rest + max(classes - 1, 1),)

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        (scale,) = rows
        a, p = x + 1, self.p
        logarithm = p * torch.log((a + p) / (scale + p))
        return torch.exp(logarithm + (_log_rising_rest(a, p) - _log_rising_rest(scale, p)))

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        a, p = x + 1, self.p
        # ψ(a + p) - ψ(a)
        log_slope = torch.log1p(p / a) + p / a / (2 * (a + p)) + (binet(a + p, 1) - binet(a, 1))
        return log_slope.mul_(self.value(x, *rows))


def _log_rising_rest(a: Tensor, p: float) -> Tensor:
    """log ⟨a⟩ - p (log(a + p) - 1)."""
    return (a - 0.5) * torch.log1p(p / a) + (binet(a + p) - binet(a))


def _log_rising_ratio(a: Tensor, gap: Tensor, p: float) -> Tensor:
    """log ⟨a⟩ - log ⟨a + gap⟩ for a ≥ 1, gap ≥ 0."""
    return -p * torch.log1p(gap / (a + p)) + (_log_rising_rest(a, p) - _log_rising_rest(a + gap, p))


class MaxNormLoss(LossModule):
    """`maxnorm_loss` as a module; options p_norm and full_strength."""

    function = staticmethod(maxnorm_loss)
