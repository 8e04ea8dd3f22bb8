"""The measures by their textbook formulas, in 60 digits: the oracle for `test_dirichlet`.

One distribution at a time: ``alpha`` is a list of numbers, every one taken exactly as the float it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mpmath import digamma, log, loggamma, mp, mpf, workdps
from torch import Tensor

mp.dps = 60

Measure = Callable[[Sequence[float]], mpf]


def concentrations(classes: int) -> Tensor:
    """float32 rows from concentrations of 1e-3 to a precision of 1e7 and far beyond, level and lopsided."""
    generator = torch.Generator().manual_seed(classes)
    levels = [1e-3, 0.1, 1.0, 10.0, 1e3, 1e7 / classes, 1e30]
    spreads = [0.3, 3.0] if classes <= 10 else [1.5]
    rows = [
        level * torch.exp(spread * torch.randn(classes, generator=generator)) for level in levels for spread in spreads
    ]
    evidence = [row + 1 for row in rows[: -len(spreads)]]
    one_class = torch.ones(classes)
    one_class[classes // 2] = 1e7
    return torch.stack([*rows, *evidence, one_class]).clamp(min=1e-4)


def _exact(alpha: Sequence[float]) -> tuple[list[mpf], mpf, list[mpf]]:
    a = [mpf(x) for x in alpha]
    s = sum(a)
    return a, s, [x / s for x in a]


def predictive_entropy(alpha: Sequence[float]) -> mpf:
    _, _, p = _exact(alpha)
    return -sum(x * log(x) for x in p)


def expected_entropy(alpha: Sequence[float]) -> mpf:
    a, s, p = _exact(alpha)
    return digamma(s + 1) - sum(q * digamma(x + 1) for q, x in zip(p, a, strict=True))


def mutual_information(alpha: Sequence[float]) -> mpf:
    return predictive_entropy(alpha) - expected_entropy(alpha)


def differential_entropy(alpha: Sequence[float]) -> mpf:
    a, s, _ = _exact(alpha)
    psi_s = digamma(s)
    return sum(loggamma(x) for x in a) - loggamma(s) - sum((x - 1) * (digamma(x) - psi_s) for x in a)


def expected_pairwise_kl(alpha: Sequence[float]) -> mpf:
    """From the definition, sum_k E[p_k] (E_q-average of log ratio): p and q independent draws."""
    a, s, p = _exact(alpha)
    e_plogp = sum(q * (digamma(x + 1) - digamma(s + 1)) for q, x in zip(p, a, strict=True))
    e_plogq = sum(q * (digamma(x) - digamma(s)) for q, x in zip(p, a, strict=True))
    return e_plogp - e_plogq


def data_variance(alpha: Sequence[float]) -> mpf:
    """sum_k E[p_k - p_k^2] from the second moment of a Dirichlet."""
    a, s, p = _exact(alpha)
    return sum(q - x * (x + 1) / (s * (s + 1)) for q, x in zip(p, a, strict=True))


def model_variance(alpha: Sequence[float]) -> mpf:
    """sum_k E[p_k^2] - E[p_k]^2."""
    a, s, p = _exact(alpha)
    return sum(x * (x + 1) / (s * (s + 1)) - q * q for q, x in zip(p, a, strict=True))


def dissonance(alpha: Sequence[float], prior: float = 1) -> mpf:
    """Evidence below the prior counts as none."""
    a, s, _ = _exact(alpha)
    b = [max(x - mpf(prior), mpf(0)) / s for x in a]
    total = mpf(0)
    for k, mine in enumerate(b):
        others = [x for j, x in enumerate(b) if j != k]
        if mass := sum(others):
            total += mine * sum(x * 2 * min(x, mine) / (x + mine) for x in others if x + mine) / mass
    return total


def dissonance_of_many(alpha: Sequence[float]) -> mpf:
    """`dissonance` in 64-bit mantissas: nothing in it cancels, and a million pairs in 60 digits are slow."""
    a = np.asarray(alpha, dtype=np.longdouble)
    b = np.maximum(a - 1, 0) / a.sum()
    pairs = np.add.outer(b, b)
    weighed = 2 * np.minimum.outer(b, b) / np.where(pairs > 0, pairs, 1) * b
    np.fill_diagonal(weighed, 0)
    others = np.array([np.delete(b, k).sum() for k in range(len(b))])
    return mpf(float((b * weighed.sum(1) / np.where(others > 0, others, 1)).sum()))


def derivative(measure: Measure, alpha: Sequence[float], component: int) -> mpf:
    """By central difference, in precision enough for both the step and the result: 25 digits remain."""
    with workdps(110):
        step = mpf(alpha[component]) * mpf(10) ** -30
        up, down = (
            [*alpha[:component], mpf(alpha[component]) + sign * step, *alpha[component + 1 :]] for sign in (1, -1)
        )
        return (measure(up) - measure(down)) / (2 * step)
