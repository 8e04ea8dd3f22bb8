"""Special functions against 60 digits, and their derivatives."""

import math

import mpmath
import pytest
import torch

import uncertainty_loss as ul
from uncertainty_loss._polynomial import constants
from uncertainty_loss._special import (
    Excess,
    binet,
    digamma_difference,
    information_slope,
    tetragamma,
    trigamma,
)

mpmath.mp.dps = 60
ARGUMENTS = [1.0, 1.0001, 1.3, 2.0, 3.7, 10.0, 150.0, 1e4, 1e7]
# Not float32's eps of 6e-8, but enough for everything that is computed from them.
TOLERANCE = {torch.float32: 3e-6, torch.float64: 3e-13}
DTYPES = list(TOLERANCE)


def exact_binet(a, order):
    if order == 0:
        return mpmath.loggamma(a) - (a - mpmath.mpf(0.5)) * mpmath.log(a) + a - mpmath.log(2 * mpmath.pi) / 2
    if order == 1:
        return mpmath.digamma(a) - mpmath.log(a) + 1 / (2 * a)
    elementary = mpmath.factorial(order - 2) * a ** (1 - order) + mpmath.factorial(order - 1) / 2 * a**-order
    return mpmath.psi(order - 1, a) - (-1) ** order * elementary


def relative(got, exact, arguments):
    return max(float(abs(g - exact(x)) / abs(exact(x))) for g, x in zip(got.tolist(), arguments, strict=True))


def tensor(values, dtype):
    x = torch.tensor(values, dtype=dtype)
    return x, [mpmath.mpf(value) for value in x.tolist()]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_binet(order, dtype):
    x, exact = tensor(ARGUMENTS, dtype)
    assert relative(binet(x, order), lambda a: exact_binet(a, order), exact) < TOLERANCE[dtype]


def test_binet_beyond_the_series():
    x, exact = tensor(ARGUMENTS[:6], torch.float64)
    assert relative(binet(x, 4), lambda a: exact_binet(a, 4), exact) < 1e-6
    assert relative(binet(x, 5), lambda a: exact_binet(a, 5), exact) < 1e-6


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_binet_derivatives(order):
    x = torch.tensor([1.0, 1.7, 6.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: binet(a, order), x)
    assert torch.autograd.gradgradcheck(lambda a: binet(a, order), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_trigamma(dtype):
    x, exact = tensor([1e-8, 0.01, 0.5, *ARGUMENTS], dtype)
    assert relative(trigamma(x), lambda a: mpmath.psi(1, a), exact) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_tetragamma(dtype):
    x, exact = tensor(ARGUMENTS, dtype)
    assert relative(tetragamma(x), lambda a: mpmath.psi(2, a), exact) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gap", [0.1, 1.0, 1e7])
def test_digamma_difference(gap, dtype):
    x, exact = tensor([1e-3, 0.4, *ARGUMENTS], dtype)
    gap, (exact_gap,) = tensor([gap], dtype)
    got = digamma_difference(x, gap)
    assert relative(got, lambda a: mpmath.digamma(a + exact_gap) - mpmath.digamma(a), exact) < 1e2 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_information_slope(dtype):
    x, exact = tensor([1e-4, 0.3, 2.0, 99.0, 1e4, 1e7], dtype)

    def slope(e):
        return 3 * (mpmath.psi(1, e + 1) + e * mpmath.psi(2, e + 1) / 2) + mpmath.mpf(0.25)

    three, quarter = torch.tensor([[3.0], [0.25]], dtype=dtype)
    assert relative(information_slope(x, three, quarter), slope, exact) < TOLERANCE[dtype]
    with torch.no_grad():
        assert relative(information_slope(x, three, quarter), slope, exact) < TOLERANCE[dtype]


def exact_excess(a, b):
    return mpmath.loggamma(b) - mpmath.loggamma(a) + (a - b) * mpmath.digamma(a) - (a - b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("prior", "base"), [(1, 1), (10, 10), (0.1, 0.1), (0, 1), (1, 101), (1000, 1000)])
def test_excess(prior, base, dtype):
    evidence, exact = tensor([1e-4, 0.3, 2.0, 99.0, 1e4, 1e7], dtype)
    prior = torch.tensor(prior, dtype=dtype).item()
    exact_alpha = [e + mpmath.mpf(prior) for e in exact]
    base = prior if base == 0.1 else base
    for whole, large in ((False, 0.0), (True, 1.0), (True, 0.0)):
        got = Excess(prior, base, whole)(evidence, torch.full((1,), large, dtype=dtype))
        for g, a in zip(got.tolist(), exact_alpha, strict=True):
            linear = a - mpmath.mpf(base)
            truth = exact_excess(a, mpmath.mpf(base)) + (linear if whole and not large else 0)
            assert abs(g - truth) < 10 * TOLERANCE[dtype] * (abs(truth) + (base if base > 1 else 0.01))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("prior", "base"), [(1, 1), (10, 10), (0.25, 0.25), (0, 1), (1, 101)])
def test_excess_slopes(prior, base, dtype):
    evidence, exact = tensor([1e-4, 0.3, 2.0, 99.0, 1e4, 1e7], dtype)

    def full(e):
        return (e + prior - base) * mpmath.psi(1, e + prior)

    small = Excess(prior, base).slope(evidence[:3], torch.zeros(1, dtype=dtype))
    assert relative(small, full, exact[:3]) < 2 * TOLERANCE[dtype]
    large = Excess(prior, base).slope(evidence[3:], torch.ones(1, dtype=dtype))
    assert relative(large, lambda e: full(e) - 1, exact[3:]) < 20 * TOLERANCE[dtype]


def test_excess_is_zero_without_evidence():
    for classes in (1.0, 10.0, 1000.0):
        for dtype in DTYPES:
            zero = torch.zeros(1, dtype=dtype)
            assert Excess(classes, classes)(zero, zero) == 0
    assert math.isfinite(Excess()(torch.tensor(1e12), torch.tensor(1.0)))


def test_constants_live_where_the_evidence_does():
    evidence, target = torch.rand(4, 3), torch.randint(3, (4,))
    expected = ul.prior_network_loss(evidence, target)
    constants.cache_clear()
    with torch.device("meta"):
        torch.testing.assert_close(ul.prior_network_loss(evidence, target), expected)
