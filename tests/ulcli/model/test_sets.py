"""Prediction sets hold the right class as often as promised, over many simulated validation sets."""

import itertools
import math

import numpy as np
import pytest
import torch

import uncertainty_loss as ul
from ulcli.model import sets
from ulcli.model.choices import SetMethod
from ulcli.model.sets import PredictionSets


def predictions(random, n, classes=6):
    """Probabilities of a model that is too confident, and labels."""
    p = random.dirichlet(np.full(classes, 0.4), n)
    labels = (p.cumsum(1) < random.random((n, 1))).sum(1).clip(max=classes - 1)
    sharpened = p**1.5
    return torch.tensor(sharpened / sharpened.sum(1, keepdims=True)), torch.tensor(labels)


@pytest.mark.parametrize("method", SetMethod)
@pytest.mark.parametrize("coverage", [0.8, 0.95, 0.99])
def test_coverage(method, coverage):
    random = np.random.default_rng(0)
    p, y = predictions(random, 4000)
    reached, sizes = [], []
    for _ in range(200):
        mask = PredictionSets.fit(*predictions(random, 150)).classes(p, coverage, method)
        assert mask.dtype == torch.bool
        reached.append(float(mask.gather(1, y[:, None]).double().mean()))
        sizes.append(float(mask.sum(1).double().mean()))
    noise = 3 * np.std(reached) / 200**0.5 + 3 * (coverage * (1 - coverage) / 4000) ** 0.5
    assert np.mean(reached) >= coverage - noise
    assert np.mean(reached) <= coverage + 1 / 151 + noise  # and not by naming more classes than it takes
    assert np.mean(sizes) < 6


def test_thresholds_against_numpy():
    p, y = predictions(np.random.default_rng(1), 300)
    test, _ = predictions(np.random.default_rng(2), 50)
    fitted = PredictionSets.fit(p, y)
    own = p.numpy()[np.arange(300), y.numpy()]
    limit = np.sort(1 - own)[math.ceil(301 * 0.9) - 1]
    expected = 1 - test.numpy() <= limit
    expected[np.arange(50), test.argmax(1)] = True
    assert np.array_equal(fitted.classes(test, 0.9, SetMethod.LAC), expected)
    before = np.sort([row[row > row[label]].sum() for row, label in zip(p.numpy(), y.numpy(), strict=True)])
    limit = before[math.ceil(301 * 0.9) - 1]  # mass of the classes before the right one
    expected = np.array([[row[row > each].sum() <= limit + 1e-12 for each in row] for row in test.numpy()])
    expected[np.arange(50), test.argmax(1)] = True
    assert np.array_equal(fitted.classes(test, 0.9, SetMethod.APS), expected)


@pytest.mark.parametrize("method", SetMethod)
def test_too_few_images_exclude_nothing(method):
    fitted = PredictionSets.fit(*predictions(np.random.default_rng(3), 18))
    assert fitted.classes(predictions(np.random.default_rng(4), 5)[0], 0.95, method).all()


def test_more_coverage_means_more_classes():
    fitted = PredictionSets.fit(*predictions(np.random.default_rng(5), 500))
    test = predictions(np.random.default_rng(6), 100)[0]
    for method in SetMethod:
        masks = [fitted.classes(test, coverage, method) for coverage in (0.5, 0.8, 0.9, 0.99)]
        assert all((less <= more).all() for less, more in itertools.pairwise(masks))
        assert masks[0].sum() < masks[-1].sum()


def test_large_validation_sets_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(sets, "_KEPT", 100)
    p, y = predictions(np.random.default_rng(7), 250)
    fitted = PredictionSets.fit(p, y)
    rows = torch.arange(0, 250, 3)
    assert torch.equal(fitted.lac, ul.lac_scores(p[rows], y[rows]))
    assert torch.equal(fitted.aps, ul.aps_scores(p[rows], y[rows]))
    assert len(PredictionSets.fit(p[:100], y[:100]).lac) == 100


@pytest.mark.parametrize(("images", "kept"), [(20_000, 20_000), (20_001, 10_001)])
def test_how_many_scores_are_kept(images, kept):
    fitted = PredictionSets.fit(torch.tensor([[0.5, 0.5]]).expand(images, 2), torch.zeros(images, dtype=torch.long))
    assert len(fitted.lac) == len(fitted.aps) == kept


def test_the_state_restores_to_the_bit():
    fitted = PredictionSets.fit(*predictions(np.random.default_rng(8), 40))
    restored = PredictionSets.from_state_dict(fitted.state_dict())
    assert torch.equal(restored.lac, fitted.lac)
    assert torch.equal(restored.aps, fitted.aps)
