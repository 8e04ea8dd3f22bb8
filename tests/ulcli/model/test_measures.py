"""The figures of a row, against scipy and against loops written from the definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from known_columns import SIGNS
from scipy import stats
from scipy.special import digamma

from ulcli.model.measures import FUNCTIONS, measure_all, ood_scores
from ulcli.model.predictor import Predictions
from ulcli.rows import MEASURES


def naive_dissonance(alpha, prior):
    belief = (alpha - prior) / alpha.sum()
    total = 0.0
    for k, own in enumerate(belief):
        others = np.delete(belief, k)
        if others.sum() > 0:
            balance = [2 * min(own, b) / (own + b) if own + b > 0 else 0.0 for b in others]
            total += own * (others * balance).sum() / others.sum()
    return total


def naive_expected_entropy(alpha, _):
    p = alpha / alpha.sum()
    return digamma(alpha.sum() + 1) - (p * digamma(alpha + 1)).sum()


ORACLES = {
    "confidence": lambda alpha, _: (alpha / alpha.sum()).max(),
    "vacuity": lambda alpha, prior: prior * len(alpha) / alpha.sum(),
    "dissonance": naive_dissonance,
    "predictive_entropy": lambda alpha, _: stats.entropy(alpha / alpha.sum()),
    "expected_entropy": naive_expected_entropy,
    "mutual_information": lambda alpha, _: stats.entropy(alpha / alpha.sum()) - naive_expected_entropy(alpha, _),
    "differential_entropy": lambda alpha, _: stats.dirichlet(alpha).entropy(),
}


def predictions(alpha, prior=1.0, typicality=None):
    alpha = alpha.double()
    return Predictions(alpha, prior, alpha, torch.full((len(alpha),), 0.5) if typicality is None else typicality)


def rows(prior, classes=4, n=40):
    return prior + torch.exp(3 * torch.randn(n, classes, dtype=torch.float64))


@pytest.mark.parametrize("prior", [1.0, 0.1])
@pytest.mark.parametrize("name", ORACLES)
def test_values(name, prior):
    alpha = rows(prior)
    got = measure_all(predictions(alpha, prior))[name]
    assert got.dtype == np.float64
    assert got.shape == (40,)
    expected = [ORACLES[name](row, prior) for row in alpha.numpy()]
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10)


def test_typicality_comes_with_the_predictions_and_is_double_like_the_others():
    typicality = torch.rand(5, dtype=torch.float32)
    got = measure_all(predictions(rows(1.0, n=5), typicality=typicality))["typicality"]
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, typicality.numpy())


def test_every_measure_of_a_row_has_its_function():
    assert FUNCTIONS.keys() == MEASURES.keys()


def test_every_measure_has_an_oracle():
    """Typicality comes with the predictions."""
    assert {*ORACLES, "typicality"} == MEASURES.keys()


def test_every_measure_says_which_way_it_points():
    sure, unsure = torch.tensor([[50.0, 1, 1]]), torch.tensor([[1.0, 1, 1]])
    low = measure_all(predictions(sure, typicality=torch.tensor([0.9])))
    high = measure_all(predictions(unsure, typicality=torch.tensor([1e-9])))
    for name, measure in MEASURES.items():
        if measure.ood_sign is not None and name != "dissonance":  # of no evidence there is no conflict
            assert measure.ood_sign * high[name] > measure.ood_sign * low[name]
    conflict = measure_all(predictions(torch.tensor([[50.0, 50, 1]])))
    assert conflict["dissonance"] > low["dissonance"]


def test_ood_scores_are_turned_so_that_higher_means_further_out():
    batch = predictions(rows(1.0), typicality=torch.rand(40))
    scores, plain = ood_scores(batch), measure_all(batch)
    assert scores.keys() == SIGNS.keys()
    for name, values in scores.items():
        np.testing.assert_array_equal(values, SIGNS[name] * plain[name])


def test_a_measure_without_a_sign_is_no_ood_score(monkeypatch):
    batch = predictions(rows(1.0))
    before = ood_scores(batch)
    monkeypatch.setitem(MEASURES, "dissonance", replace(MEASURES["dissonance"], ood_sign=None))
    assert before.keys() - ood_scores(batch).keys() == {"dissonance"}
    assert "dissonance" in measure_all(batch)
