"""The gamma-function remainders against mpmath, from the smallest concentrations to the largest."""

from __future__ import annotations

import pytest
import torch
from mpmath import digamma, log, loggamma, mp, mpf, psi, workdps
from torch import Tensor

from uncertainty_loss._expansions import digamma_excess, digamma_rise, entropy_kernel

TOLERANCE = {torch.float32: 2e-6, torch.float64: 5e-14}
DTYPES = sorted(TOLERANCE, key=str)
mp.dps = 60


@pytest.fixture(params=DTYPES, ids=str)
def x(request: pytest.FixtureRequest) -> Tensor:
    """A wide range, and densely around the switch-overs at 3 and 10."""
    wide = torch.logspace(-6, 30, 120, dtype=request.param)
    return torch.cat([wide, torch.linspace(0.05, 12, 80, dtype=request.param)]).requires_grad_()


def worst(actual: Tensor, expected: list[mpf], smallest: float = 1e-30) -> float:
    """The largest error relative to the expected value, or to ``smallest`` where that is larger."""
    pairs = zip(actual.tolist(), expected, strict=True)
    return max(float(abs(a - e) / max(abs(e), mpf(smallest))) for a, e in pairs)


def test_digamma_excess_keeps_its_relative_precision(x: Tensor) -> None:
    expected = [mpf(v) * (digamma(mpf(v) + 1) - log(mpf(v))) for v in x.tolist()]
    assert worst(digamma_excess(x), expected) < TOLERANCE[x.dtype]


def test_gradient_of_digamma_excess(x: Tensor) -> None:
    (gradient,) = torch.autograd.grad(digamma_excess(x).sum(), x)
    with workdps(120):
        expected = [digamma(mpf(v) + 1) - log(mpf(v)) + mpf(v) * psi(1, mpf(v) + 1) - 1 for v in x.tolist()]
    # It falls like 1 / (12 x^2); where it meets zero in float32, underflow is the right answer.
    assert worst(gradient, expected, smallest=1e-36) < (1e-4 if x.dtype == torch.float32 else 5e-12)


def test_entropy_kernel_and_its_gradient(x: Tensor) -> None:
    points = [mpf(v) for v in x.tolist()]
    value = entropy_kernel(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    # The kernel crosses zero near 0.49, where only an absolute error makes sense.
    assert (
        worst(value, [loggamma(v) - (v - 1) * digamma(v) + v for v in points], smallest=0.1)
        < 1.5 * (TOLERANCE[x.dtype])
    )
    with workdps(120):
        assert worst(gradient, [1 - (v - 1) * psi(1, v) for v in points]) < 3 * TOLERANCE[x.dtype]


@pytest.mark.parametrize("by", [1e-3, 1.0, 40.0, 1e8, 1e30])
def test_digamma_rise_and_its_gradients(x: Tensor, by: float) -> None:
    step = torch.full_like(x, by).detach().requires_grad_()
    value = digamma_rise(x, step)
    gradients = torch.autograd.grad(value.sum(), (x, step))
    with workdps(120):
        exact = mpf(step[0].item())
        points = [mpf(v) for v in x.tolist()]
        rise = [digamma(v + exact + 1) - digamma(v + 1) for v in points]
        along_step = [psi(1, v + exact + 1) for v in points]
        along_x = [a - psi(1, v + 1) for a, v in zip(along_step, points, strict=True)]
    assert worst(value, rise) < 2 * TOLERANCE[x.dtype]
    tolerance = 1e-5 if x.dtype == torch.float32 else 1e-11
    assert worst(gradients[0], along_x, smallest=1e-36) < tolerance
    assert worst(gradients[1], along_step) < tolerance


def test_digamma_rise_by_nothing_is_zero() -> None:
    x = torch.tensor([0.0, 1e-30, 1.0, 1e30])
    assert torch.equal(digamma_rise(x, torch.zeros(4)), torch.zeros(4))


def test_second_derivatives() -> None:
    x = torch.tensor([0.2, 1.0, 2.9, 3.1, 9.9, 10.1, 50.0], dtype=torch.float64, requires_grad=True)
    by = torch.linspace(0.1, 20, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(digamma_excess, x)
    assert torch.autograd.gradgradcheck(entropy_kernel, x)
    assert torch.autograd.gradgradcheck(digamma_rise, (x, by))
