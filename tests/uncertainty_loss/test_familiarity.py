"""Strangeness as a share of familiar images: ranks in the body, a Pareto tail beyond, uniform on data of the kind."""

import doctest
import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from uncertainty_loss import Familiarity, familiarity

DOUBLE = torch.float64


def signs_of(n, seed=0, heavy=False):
    """Distance, relative distance and energy in units of their own, correlated as they are."""
    random = np.random.default_rng(seed)
    common = random.standard_t(3, n) if heavy else random.normal(size=n)
    columns = [100 + 30 * (common + random.normal(size=n)), random.gamma(2, size=n), -12 + 0.5 * common]
    return torch.tensor(np.stack(columns, 1))


@pytest.fixture(scope="module", params=[3, 10, 57, 2000])
def fitted(request):
    return Familiarity.fit(signs_of(request.param))


def naive_score(signs, validation):
    x, v = np.asarray(signs), np.asarray(validation)

    def z(value, among):
        return (value - among.mean(0)) / among.std(0, ddof=1)

    pair = z(x[:, 1], v[:, 1]) + z(x[:, 2], v[:, 2])
    among = z(v[:, 1], v[:, 1]) + z(v[:, 2], v[:, 2])
    least = z(among, among).min()
    return z(x[:, 0], v[:, 0]) + np.maximum(z(pair, among), least)


@pytest.mark.parametrize("n", [3, 10, 500])
def test_the_score(n):
    validation, test = signs_of(n), signs_of(40, seed=1)
    np.testing.assert_allclose(Familiarity.fit(validation).score(test), naive_score(test, validation), rtol=1e-9)


def test_a_low_energy_excuses_no_distance():
    validation = signs_of(500)
    fitted, far = Familiarity.fit(validation), torch.tensor([[300.0, 2.0, -15.0], [1000.0, 2.0, -1e6]])
    near, further = fitted.score(far)
    assert float(validation[:, 2].min()) > -15
    assert further - near == pytest.approx(700 / float(validation[:, 0].std()))
    assert fitted.typicality(further[None]) < 1e-4


def test_no_unit_of_measure_matters():
    factors, shifts = torch.tensor([1e6, 1e-4, 3.0]), torch.tensor([5.0, -7.0, 1e3])
    plain, other = Familiarity.fit(signs_of(50)), Familiarity.fit(signs_of(50) * factors + shifts)
    test = signs_of(30, seed=1)
    torch.testing.assert_close(other.score(test * factors + shifts), plain.score(test), rtol=1e-6, atol=1e-6)


def test_single_precision_signs_are_enough():
    validation, test = signs_of(50), signs_of(30, seed=1)
    score = Familiarity.fit(validation.float()).score(test.float())
    torch.testing.assert_close(score, Familiarity.fit(validation).score(test), rtol=1e-3, atol=1e-3)


def test_typicality_falls_and_stays_a_share(fitted):
    low, high = float(fitted.scores[0]), float(fitted.scores[-1])
    scores = torch.linspace(low, high + 5 * (high - low), 5000, dtype=DOUBLE)
    shares = fitted.typicality(scores)
    assert shares.dtype == DOUBLE
    assert (shares.diff()[shares[1:] > 1e-12] < 0).all()
    n = len(fitted.scores)
    assert shares[0] == pytest.approx(n / (n + 1))
    assert fitted.typicality(torch.tensor([low - 100], dtype=DOUBLE)) == shares[0]
    assert fitted.typicality(torch.tensor([high + 1e300], dtype=DOUBLE)) >= 1e-12  # no share is none


def test_typicality_does_not_depend_on_the_batch(fitted):
    scores = fitted.score(signs_of(40, seed=2))
    assert torch.equal(fitted.typicality(scores)[5:9], fitted.typicality(scores[5:9]))
    assert fitted.typicality(scores[:0]).shape == (0,)


def test_ranks_in_the_body(fitted):
    n, knot = len(fitted.scores), fitted._knot
    body = fitted.scores[: knot + 1]
    expected = [int((fitted.scores >= score).sum()) / (n + 1) for score in body]
    np.testing.assert_allclose(fitted.typicality(body), expected, rtol=1e-9)


def test_about_a_tenth_lies_in_the_tail():
    for n, most in ((3, 2), (10, 2), (57, 5), (2000, 200)):
        fitted = Familiarity.fit(signs_of(n))
        assert n - 1 - fitted._knot == most


def test_continuous_at_the_knot(fitted):
    knot = float(fitted.scores[fitted._knot])
    before, at, after = fitted.typicality(torch.tensor([knot - 1e-9, knot, knot + 1e-9], dtype=DOUBLE))
    assert float(before) == pytest.approx(float(at), abs=1e-7)
    assert float(after) == pytest.approx(float(at), abs=1e-7)


@pytest.mark.parametrize("shape", [0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("scale", [0.2, 40.0])
def test_the_tail_is_recovered(shape, scale):
    excess = np.sort(stats.genpareto(shape, scale=scale).rvs(40_000, random_state=0))
    scores = torch.tensor(np.concatenate([[7.0], 7.0 + excess]))
    got_shape, got_scale = familiarity._pareto_tail(scores, 0)
    assert got_shape == pytest.approx(shape, abs=0.03)
    assert got_scale == pytest.approx(scale, rel=0.03)


def test_a_tail_that_would_end_is_an_exponential_one():
    excess = np.sort(stats.genpareto(-0.4, scale=1.0).rvs(5000, random_state=0))
    shape, scale = familiarity._pareto_tail(torch.tensor([0.0, *excess]), 0)
    assert shape == 0
    assert scale == pytest.approx(excess.mean())


def test_the_survival_function_of_the_tail_is_scipys():
    fitted = Familiarity.fit(signs_of(3000, heavy=True))
    n, knot = len(fitted.scores), fitted._knot
    assert fitted._shape > 0.05
    beyond = fitted.scores[knot] + torch.tensor([0.5, 2.0, 10.0, 300.0], dtype=DOUBLE)
    tail = stats.genpareto(fitted._shape, loc=float(fitted.scores[knot]), scale=fitted._scale)
    expected = (n - knot) / (n + 1) * tail.sf(beyond.numpy())
    np.testing.assert_allclose(fitted.typicality(beyond), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("heavy", [False, True])
def test_shares_of_fresh_data_are_uniform(heavy):
    fitted = Familiarity.fit(signs_of(20_000, seed=3, heavy=heavy))
    assert len(fitted.scores) == 10_000  # thinned out
    shares = fitted.typicality(fitted.score(signs_of(4000, seed=4, heavy=heavy)))
    assert stats.kstest(shares.numpy(), "uniform").pvalue > 0.01
    for rate in (0.001, 0.01):
        assert (shares < rate).double().mean() == pytest.approx(rate, abs=4 * (rate / 4000) ** 0.5)


def test_shares_are_uniform_over_small_validation_sets():
    shares = []
    for seed in range(300):
        fitted = Familiarity.fit(signs_of(40, seed=seed))
        shares += fitted.typicality(fitted.score(signs_of(10, seed=10_000 + seed))).tolist()
    assert stats.kstest(shares, "uniform").statistic < 0.03


def test_signs_that_never_change():
    fitted = Familiarity.fit(torch.ones(5, 3))
    shares = fitted.typicality(fitted.score(torch.tensor([[1.0, 1, 1], [1, 1, 2]])))
    assert shares.isfinite().all()
    assert shares[1] < shares[0]


def test_not_a_number_stays_one(fitted):
    assert fitted.typicality(torch.tensor([torch.nan], dtype=DOUBLE)).isnan().all()


@pytest.mark.parametrize(
    ("signs", "message"),
    [
        (torch.zeros(2, 3), r"expected signs of shape \(n, 3\) with n >= 3, got \(2, 3\)"),
        (torch.zeros(9, 2), r"expected signs of shape \(n, 3\) with n >= 3, got \(9, 2\)"),
        (torch.zeros(9), "expected signs of shape"),
        (torch.tensor([[1.0, 1, torch.nan]] * 3), "expected finite signs"),
        (torch.tensor([[1.0, torch.inf, 1]] * 3), "expected finite signs"),
    ],
)
def test_what_cannot_be_fitted(signs, message):
    with pytest.raises(ValueError, match=message):
        Familiarity.fit(signs)


def test_comparable_images():
    fitted = Familiarity.fit(signs_of(100))
    shares = torch.cat([torch.logspace(-300, 0, 5000, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)]).sort().values
    for total, fading in itertools.product((1, 60_000, 10**7), (0.01, 0.05, 0.5)):
        count = fitted.comparable_images(shares, total, fading)
        assert count.min() == 1e-9
        assert count.max() == total
        assert (count.diff() >= 0).all()
        full = shares >= fading
        np.testing.assert_allclose(count[full], total * shares[full], rtol=1e-12)  # a count of images
        fading_count = (total * shares[~full] ** 2 / fading).clamp_min(1e-9)
        np.testing.assert_allclose(count[~full], fading_count, rtol=1e-12)


def test_the_state_restores_to_the_bit(fitted):
    restored = Familiarity.from_state_dict(fitted.state_dict())
    scores = fitted.score(signs_of(50, seed=5))
    assert torch.equal(restored.score(signs_of(50, seed=5)), scores)
    assert torch.equal(restored.typicality(scores), fitted.typicality(scores))
    for change in ({"mean": torch.zeros(2)}, {"std": torch.zeros(4)}, {"scores": torch.zeros(2)}):
        with pytest.raises(ValueError, match="expected mean and std of three signs and at least three scores"):
            Familiarity.from_state_dict({**fitted.state_dict(), **change})


def test_examples():
    failures, _ = doctest.testmod(familiarity)
    assert failures == 0
