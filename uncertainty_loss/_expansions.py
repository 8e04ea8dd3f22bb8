"""Combinations of gamma functions in which everything that grows cancels on paper, not in floating point.

What a Dirichlet says about itself is a small difference of large gamma functions: at a precision of 1e7 the
textbook mutual information subtracts numbers near 16 to find one near 1e-7. The functions here are what is
left once Stirling's leading terms have been removed by hand, so that sums of them keep their digits. All
are elementwise and differentiable to any order.

With the Bernoulli numbers B_2n, Stirling's series reads

    psi(x + 1) = log x + 1 / (2 x) - sum_n B_2n / (2n x^2n)
    lgamma(x)  = (x - 1/2) log x - x + log(2 pi) / 2 + sum_n B_2n / (2n (2n - 1) x^(2n - 1))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# B_2 to B_16: from `_series_start` upwards these eight terms are exact to rounding.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_EULER = 0.5772156649015329  # -psi(1)
_DIGAMMA = tuple(b / (2 * n) for n, b in enumerate(_BERNOULLI, 1))
_ENTROPY = tuple(b / (2 * n - 1) for n, b in enumerate(_BERNOULLI, 1))


def digamma(x: Tensor) -> Tensor:
    """psi(x) for x > 0. The gradient of torch.digamma is off by up to 1e-8 in float64."""
    return _digamma_next(x) - 1 / x


def digamma_excess(x: Tensor) -> Tensor:
    """x (psi(x + 1) - log x) for x > 0, which rises from 0 at zero to 1/2 at infinity."""
    small, large = _split(x)
    direct = small * (_digamma_next(small) - torch.log(small))
    series = 0.5 - _odd_series(_DIGAMMA, 1 / large)
    return torch.where(x < large, direct, series)


def digamma_rise(x: Tensor, by: Tensor) -> Tensor:
    """psi(x + by + 1) - psi(x + 1) for x, by >= 0, whose digits are kept also where the two are close."""
    # A few steps of psi(x + 1) = psi(x) + 1 / x, taken by both arguments at once, lead to where Stirling's
    # series holds. Its term 1 / (2 x) is the half of the last step.
    steps = int(_series_start(x))
    y, end = x + steps, x + by + steps
    rise = torch.log1p(by / y)
    rise = rise - _odd_series(_DIGAMMA, 1 / end) / end + _odd_series(_DIGAMMA, 1 / y) / y
    for back in range(steps):
        step = by / ((y - back) * (end - back))
        rise = rise + (step if back else 0.5 * step)
    return rise


def entropy_kernel(x: Tensor) -> Tensor:
    """lgamma(x) - (x - 1) psi(x) + x for x > 0: -1 / x near zero, (1 + log(2 pi x)) / 2 far from it."""
    small, large = _split(x)
    direct = torch.lgamma(small) - (small - 1) * digamma(small) + small
    inverse = 1 / large
    psi_minus_log = -inverse * (0.5 + _odd_series(_DIGAMMA, inverse))
    series = 0.5 * (1 + math.log(2 * math.pi) + torch.log(large)) + psi_minus_log
    series = series + _odd_series(_ENTROPY, inverse)
    return torch.where(x < large, direct, series)


def _digamma_next(x: Tensor) -> Tensor:
    """psi(x + 1) for x >= 0."""
    return digamma_rise(x.new_zeros(()), x) - _EULER


def _series_start(x: Tensor) -> float:
    """Where Stirling's series reaches the precision of x; below, nothing large has to cancel yet."""
    return 10.0 if x.dtype == torch.float64 else 3.0


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """x for the direct form and x for the series, each held where its form holds.

    Both are evaluated everywhere. Holding the one that is not used keeps it finite, and so keeps its gradient,
    0 times infinity, out of the other's. Not by clamp, which has no gradient at the bound itself.
    """
    start = _series_start(x)
    below = x < start
    return torch.where(below, x, start), torch.where(below, start, x)


def _odd_series(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """c_1 x + c_2 x^3 + c_3 x^5 + ..."""
    square = x * x
    total = square * coefficients[-1]
    for coefficient in reversed(coefficients[1:-1]):
        total = (total + coefficient) * square
    return (total + coefficients[0]) * x
