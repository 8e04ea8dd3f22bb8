"""Figures agree with the metrics one by one, and lie in their intervals."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ulcli.evaluation.estimates import Estimate, Resamples, against, classification, selective
from uncertainty_loss import metrics


@pytest.fixture(scope="module")
def predictions():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(4, 0.5), 300)
    return p, (p.cumsum(1) < random.random((300, 1))).sum(1).clip(max=3)


SINGLE = {
    "accuracy": metrics.accuracy,
    "nll": metrics.negative_log_likelihood,
    "brier": metrics.brier_score,
    "ece": metrics.expected_calibration_error,
    "adaptive_ece": metrics.adaptive_calibration_error,
    "classwise_ece": metrics.classwise_calibration_error,
}
RANKING = {
    "aurc": metrics.aurc,
    "excess_aurc": metrics.excess_aurc,
    "augrc": metrics.augrc,
    "accuracy_at_80": lambda c, right: metrics.accuracy_at_coverage(c, right, 0.8),
    "accuracy_at_90": lambda c, right: metrics.accuracy_at_coverage(c, right, 0.9),
    "accuracy_at_95": lambda c, right: metrics.accuracy_at_coverage(c, right, 0.95),
    "misclassification_auroc": lambda c, right: metrics.misclassification_auroc(-c, ~right),
}


@pytest.mark.parametrize("resamples", [0, 200])
def test_values(predictions, resamples):
    p, y = predictions
    draws = Resamples.of(300, resamples, (0, 0))
    got = {**classification(p, y, draws), **selective(p, y, draws)}
    assert set(got) == {*SINGLE, *RANKING}
    for name, figure in SINGLE.items():
        assert got[name].value == pytest.approx(figure(p, y))
    for name, figure in RANKING.items():
        assert got[name].value == pytest.approx(figure(p.max(1), p.argmax(1) == y))
    for estimate in got.values():
        if resamples:
            assert 0 <= estimate.low <= estimate.value <= estimate.high
        else:
            assert estimate.low is estimate.high is None


def test_the_interval_is_the_plain_bootstrap(predictions):
    p, y = predictions
    got = classification(p, y, Resamples.of(300, 150, (3, 1)))["nll"]
    expected = metrics.bootstrap_interval(metrics.negative_log_likelihood, p, y, resamples=150, seed=(3, 1))
    assert (got.value, got.low, got.high) == pytest.approx(expected)


def test_no_calibration_error_is_below_zero():
    # Half are right, as claimed: every resample has an error, and shifted down by their mean some lie below zero.
    p, y = np.array([[0.5, 0.5]] * 40), np.repeat([0, 1], 20)
    figures = classification(p, y, Resamples.of(40, 100, (0,)))
    resampled = metrics.classification_replicates(p, y, Resamples.of(40, 100, (0,)).counts)["ece"][1:]
    assert figures["ece"].value == pytest.approx(0)
    assert figures["ece"].low == 0
    assert figures["ece"].high == pytest.approx(np.quantile(resampled, 0.975) - resampled.mean())


def test_the_interval_of_an_accuracy_holds_it():
    random, held = np.random.default_rng(1), 0
    for seed in range(200):
        right = random.random(200) < 0.85
        p = np.array([[0.7, 0.3]] * 200)
        estimate = classification(p, np.where(right, 0, 1), Resamples.of(200, 200, (seed,)))["accuracy"]
        held += estimate.low <= 0.85 <= estimate.high
    assert 0.89 <= held / 200 <= 0.99


def test_against():
    random = np.random.default_rng(2)
    familiar = {"a": random.normal(size=120), "b": random.normal(size=120)}
    strange = {"a": random.normal(1, size=80), "b": random.normal(3, size=80)}
    draws = Resamples.of(120, 100, (0, 0)), Resamples.of(80, 100, (0, 1))
    estimates, aurocs = against(familiar, strange, *draws)
    assert list(estimates) == ["a", "b"]
    for name in familiar:
        labels = np.repeat([0, 1], [120, 80])
        expected = roc_auc_score(labels, np.concatenate([familiar[name], strange[name]]))
        assert estimates[name]["auroc"].value == pytest.approx(expected)
        assert aurocs[name].shape == (101,)
        assert aurocs[name][0] == pytest.approx(expected)
        for figure, value in metrics.ood_scores(familiar[name], strange[name]).items():
            assert estimates[name][figure].value == pytest.approx(value)
        for estimate in estimates[name].values():
            assert estimate.low <= estimate.value <= estimate.high
    low, high = np.quantile(aurocs["a"][1:], [0.025, 0.975])
    assert (estimates["a"]["auroc"].low, estimates["a"]["auroc"].high) == pytest.approx((low, high))


def test_without_resamples():
    draws = Resamples.of(3, 0, (0,))
    assert draws.counts.tolist() == [[1]] * 3
    assert Estimate.of(np.array([0.5])) == Estimate(0.5, None, None)


def test_a_figure_that_is_not_defined_has_no_interval():
    assert Estimate.of(np.array([0.5, np.nan, np.nan])) == Estimate(0.5, None, None)
    undefined = Estimate.of(np.array([np.nan, 0.5, 0.6]))
    assert np.isnan(undefined.value)
    assert undefined.low is undefined.high is None


def test_draws_are_seeded():
    first, again, other = (Resamples.of(50, 20, seed).counts for seed in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert (first.sum(0) == 50).all()
