"""Metrics against scikit-learn and against loops written from the definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, log_loss, roc_auc_score

from uncertainty_loss import metrics

METRICS = [
    metrics.accuracy,
    metrics.negative_log_likelihood,
    metrics.brier_score,
    metrics.expected_calibration_error,
]


def predictions(n=500, classes=4, sharpness=2.0, seed=0):
    random = np.random.default_rng(seed)
    p = np.exp(sharpness * random.normal(size=(n, classes)))
    p /= p.sum(1, keepdims=True)
    return p, np.array([random.choice(classes, p=row) for row in p])


def naive_ece(p, y, bins):
    confidence, right = p.max(1), p.argmax(1) == y
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (7, 3), (500, 4), (200, 100)])
def test_against_scikit_learn(n, classes):
    p, y = predictions(n, classes)
    assert metrics.accuracy(p, y) == pytest.approx(accuracy_score(y, p.argmax(1)))
    nll = log_loss(y, p, labels=np.arange(classes))
    assert metrics.negative_log_likelihood(p, y) == pytest.approx(nll, rel=1e-9)
    one_hot = np.eye(classes)[y]
    assert metrics.brier_score(p, y) == pytest.approx(((p - one_hot) ** 2).sum(1).mean(), abs=1e-12)


@pytest.mark.parametrize("bins", [1, 2, 10, 15, 100])
@pytest.mark.parametrize("sharpness", [0.0, 0.3, 2.0, 8.0])
def test_calibration_error(bins, sharpness):
    p, y = predictions(sharpness=sharpness)
    p = 0.999 * p + 0.001 * np.eye(4)[0]  # off the bins' edges, where rounding decides
    assert metrics.expected_calibration_error(p, y, bins) == pytest.approx(naive_ece(p, y, bins), abs=1e-12)


def test_calibrated_predictions_have_little_error_and_overconfident_ones_much():
    p, y = predictions(20_000)
    sharper = p**3 / (p**3).sum(1, keepdims=True)
    assert metrics.expected_calibration_error(p, y) < 0.015
    assert metrics.expected_calibration_error(sharper, y) > 0.1


def test_certainty():
    p = np.eye(3)[[0, 1, 2, 0]]
    assert metrics.expected_calibration_error(p, [0, 1, 2, 1]) == 0.25
    assert metrics.brier_score(p, [0, 1, 2, 1]) == 0.5
    assert metrics.negative_log_likelihood(p, [0, 1, 2, 0]) == 0
    assert math.isfinite(metrics.negative_log_likelihood(p, [0, 1, 2, 1]))


def test_one_class():
    assert metrics.accuracy([[1.0]], [0]) == 1
    assert metrics.expected_calibration_error([[1.0]], [0]) == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("p", "y", "error", "message"),
    [
        ([0.5, 0.5], [0], ValueError, r"expected probabilities \(N, K\) and labels \(N,\) with N >= 1, got \(2,\) and"),
        ([[0.5, 0.5]], [0, 1], ValueError, r"got \(1, 2\) and \(2,\)"),
        ([[0.5, 0.5]], [[0]], ValueError, r"got \(1, 2\) and \(1, 1\)"),
        (np.ones((0, 2)), np.ones(0, int), ValueError, "with N >= 1"),
        ([[0.5, 0.5]], [2], ValueError, r"expected labels in 0\.\.1, got 2\.\.2"),
        ([[0.5, 0.5]], [-1], ValueError, r"got -1\.\.-1"),
        ([[0.5, 0.5]], [0.0], TypeError, "expected integer labels, got float64"),
    ],
)
def test_arguments_that_do_not_fit(metric, p, y, error, message):
    with pytest.raises(error, match=message):
        metric(p, y)


# Few different values, so that there are ties.
SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_ood_scores(familiar, strange):
    got = metrics.ood_scores(familiar, strange)
    low, high = np.array(familiar), np.array(strange)
    wins = (high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean()
    assert got["auroc"] == pytest.approx(wins)
    labels = np.r_[np.zeros(len(low)), np.ones(len(high))]
    scores = np.r_[low, high]
    assert got["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert got["aupr_out"] == pytest.approx(naive_average_precision(high, low))
    assert got["aupr_in"] == pytest.approx(naive_average_precision(-low, -high))
    assert got["aupr_out"] == pytest.approx(average_precision_score(labels, scores))
    threshold = max(value for value in high if (high >= value).mean() >= 0.95)
    assert got["fpr95"] == pytest.approx((low >= threshold).mean())


def naive_average_precision(positive, negative):
    """Precision at each threshold, weighted with the recall that it adds."""
    total, before = 0.0, 0.0
    for threshold in sorted({*positive, *negative}, reverse=True):
        found, wrong = (positive >= threshold).sum(), (negative >= threshold).sum()
        total += found / (found + wrong) * (found / len(positive) - before)
        before = found / len(positive)
    return total


def test_exactly_95_percent_are_enough():
    strange = np.arange(20.0)
    assert metrics.ood_scores([0.5, 0.5, 1.5, 9.0], strange)["fpr95"] == 0.5


def test_perfect_and_reversed_scores():
    assert metrics.ood_scores([0, 1], [2, 3]) == {"auroc": 1, "aupr_in": 1, "aupr_out": 1, "fpr95": 0}
    assert metrics.ood_scores([2, 3], [0, 1])["auroc"] == 0
    assert metrics.ood_scores([2, 3], [0, 1])["fpr95"] == 1


@pytest.mark.parametrize(("familiar", "strange"), [([], [1]), ([1], []), ([math.nan], [1]), ([1], [math.inf])])
def test_scores_that_cannot_be_ranked(familiar, strange):
    with pytest.raises(ValueError, match="expected finite scores of at least one familiar and one strange image"):
        metrics.ood_scores(familiar, strange)
