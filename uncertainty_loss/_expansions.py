"""Two combinations of log-gamma and digamma in which everything that grows cancels on paper.

What a Dirichlet says about itself is a small difference of large gamma functions: at a precision of 1e7 the
textbook mutual information subtracts numbers near 16 to find one near 1e-7. The functions here are what
remains after Stirling's leading terms have been removed by hand. They grow no faster than a logarithm, so
sums and differences of them keep their digits. Both are elementwise and differentiable to any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# B_2, B_4, ..., B_16 (Bernoulli numbers). From the switch-over below upwards, eight terms of the
# asymptotic series are exact to rounding.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_EXCESS = tuple(b / (2 * n) for n, b in enumerate(_BERNOULLI, 1))
_ENTROPY = tuple(b / (2 * n - 1) for n, b in enumerate(_BERNOULLI, 1))


def digamma_excess(x: Tensor) -> Tensor:
    r"""x (psi(x + 1) - log x) for x > 0: rises from 0 at zero to 1/2 at infinity."""
    small, large = _split(x)
    below = small * (torch.digamma(small + 1) - torch.log(small))
    above = 0.5 - _odd_series(_EXCESS, 1 / large)
    return torch.where(x < large, below, above)


def entropy_kernel(x: Tensor) -> Tensor:
    r"""lgamma(x) - (x - 1) psi(x) + x for x > 0: -1 / x near zero, (1 + log(2 pi x)) / 2 far out."""
    small, large = _split(x)
    below = torch.lgamma(small) - (small - 1) * torch.digamma(small) + small
    inverse = 1 / large
    digamma_minus_log = -inverse * (0.5 + _odd_series(_EXCESS, inverse))
    above = 0.5 * (1 + math.log(2 * math.pi) + torch.log(large))
    above = above + digamma_minus_log + _odd_series(_ENTROPY, inverse)
    return torch.where(x < large, below, above)


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """x with its large, and x with its small entries moved to the switch-over between the two forms.

    Both forms are evaluated everywhere; clamping keeps the unused one finite, and so its gradient out of
    the other's (0 times inf would be nan). The switch-over is where the series reaches the dtype's precision.
    """
    switch = 10.0 if x.dtype == torch.float64 else 3.0
    return x.clamp(max=switch), x.clamp(min=switch)


def _odd_series(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """c_1 x + c_2 x^3 + c_3 x^5 + ..."""
    square = x * x
    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * square + coefficient
    return total * x
