"""The verdict names the best baseline, whichever it is, and claims no more than the resamples show."""

import numpy as np
import pytest

from ulcli.evaluation.verdict import Verdict

RIVALS = ("max_probability", "entropy", "energy", "mahalanobis", "relative_mahalanobis", "vim", "knn")
OURS = ("vacuity", "head_vacuity", "typicality", "confidence", "mutual_information")


def aurocs(resamples=0, **means):
    """AUROCs of one set: .5 but for those given, with noise in the resamples that all scores share."""
    shared = np.concatenate([[0.0], np.random.default_rng(0).normal(0, 0.01, resamples)])
    return {name: means.get(name, 0.5) + shared for name in (*OURS, *RIVALS)}


@pytest.mark.parametrize("rival", RIVALS)
def test_every_baseline_may_be_the_best(rival):
    found = Verdict.of([aurocs(vacuity=0.9, **{rival: 0.8}), aurocs(vacuity=0.7, **{rival: 0.75})])
    assert found.baseline == rival
    assert found.own == pytest.approx(0.8)
    assert found.best == pytest.approx(0.775)
    assert found.difference.value == pytest.approx(0.025)
    assert found.difference.low is found.difference.high is None


@pytest.mark.parametrize("ours", OURS[1:])
def test_the_models_own_scores_are_no_baselines(ours):
    found = Verdict.of([aurocs(vacuity=0.6, energy=0.7, **{ours: 0.99})])
    assert (found.own, found.baseline) == (pytest.approx(0.6), "energy")


def test_the_mean_decides_not_one_set():
    sets = [aurocs(energy=0.99, knn=0.8), aurocs(energy=0.5, knn=0.8)]
    assert Verdict.of(sets).baseline == Verdict.of(sets[::-1]).baseline == "knn"


def test_a_baseline_that_was_left_out_is_no_rival():
    scores = {name: values for name, values in aurocs(knn=0.9, entropy=0.6).items() if name != "knn"}
    assert Verdict.of([scores]).baseline == "entropy"


def test_nothing_to_say_without_a_set():
    assert Verdict.of([]) is None


def test_the_difference_is_taken_resample_by_resample():
    # Noise that both scores share says nothing of which is better.
    difference = Verdict.of([aurocs(100, vacuity=0.7, vim=0.69)]).difference
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.01, 0.01, 0.01))


@pytest.mark.parametrize(
    ("own", "outcome", "figures"),
    [
        (0.72, "better than", "mean AUROC 0.7200 to 0.7000, difference +0.0200 [+0."),
        (0.68, "worse than", "mean AUROC 0.6800 to 0.7000, difference -0.0200 [-0."),
        (0.7005, "not told apart from", "mean AUROC 0.7005 to 0.7000, difference +0.0005 [-0."),
    ],
)
def test_words(own, outcome, figures):
    random, scores = np.random.default_rng(1), aurocs(100)
    scores["vacuity"] = own + np.concatenate([[0.0], random.normal(0, 0.002, 100)])
    scores["vim"] = 0.7 + np.concatenate([[0.0], random.normal(0, 0.002, 100)])
    said = f"flags by vacuity are {outcome} the best baseline (vim) on this data: {figures}"
    assert str(Verdict.of([scores])).startswith(said)
