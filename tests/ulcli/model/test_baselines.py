"""The rivals, each against scikit-learn, scipy or its formula written out."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from ulcli.model import baselines
from ulcli.model.baselines import BASELINES, FeatureBaselines, logit_scores
from ulcli.model.linear import Linear


def features_of(n, seed=0, classes=5, size=16):
    centres = torch.randn(classes, size, generator=torch.Generator().manual_seed(9))
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=random)
    mix = torch.linspace(0.2, 2, size)
    return (2 * centres[labels] + mix * torch.randn(n, size, generator=random)).relu() + 0.01, labels


@pytest.fixture(scope="module")
def classifier():
    random = torch.Generator().manual_seed(1)
    return Linear(torch.randn(5, 16, generator=random), torch.randn(5, generator=random))


@pytest.fixture(scope="module")
def fitted(classifier):
    return FeatureBaselines(*features_of(700), classifier)


def test_logit_scores():
    logits = torch.cat([3 * torch.randn(50, 4), torch.tensor([[800.0, 0, 0, 0], [0, 0, 0, 0]])]).double()
    got = logit_scores(logits)
    z = logits.numpy()
    p = special.softmax(z, axis=1)
    assert got["max_probability"][50] == pytest.approx(np.log(3) - 800)
    assert got["max_probability"][51] == pytest.approx(np.log(3))
    np.testing.assert_allclose(got["max_probability"][:50], -special.logit(p.max(1)[:50]), atol=1e-9)
    np.testing.assert_allclose(got["entropy"], stats.entropy(p, axis=1), atol=1e-12)
    np.testing.assert_allclose(got["energy"], -special.logsumexp(z, axis=1), rtol=1e-12)


def test_certain_images_are_told_apart():
    scores = logit_scores(torch.tensor([[50.0, 0], [60, 0], [80, 0]], dtype=torch.float64))["max_probability"]
    assert scores.tolist() == [-50, -60, -80]


def test_mahalanobis(fitted):
    x, y = (each.numpy() for each in features_of(700))
    images = features_of(60, seed=2)[0]
    test = images.double().numpy()
    means = np.stack([x[y == k].mean(0) for k in range(5)]).astype(float)
    centred = x - means[y]
    scatter, p, n = centred.T @ centred / 700, 16, 700
    power, trace = np.trace(scatter @ scatter), np.trace(scatter)
    rho = ((1 - 2 / p) * power + trace**2) / ((n + 1 - 2 / p) * (power - trace**2 / p))
    within = (1 - rho) * scatter + rho * trace / p * np.eye(p)
    centre = x.mean(0)
    between = sum((y == k).mean() * np.outer(m - centre, m - centre) for k, m in enumerate(means))

    def squared(difference, covariance):
        return (difference @ np.linalg.inv(covariance) * difference).sum(1)

    expected = np.min([squared(test - mean, within) for mean in means], axis=0)
    got = fitted.scores(images)
    np.testing.assert_allclose(got["mahalanobis"], expected, rtol=1e-4)
    relative = expected - squared(test - centre, within + between)
    np.testing.assert_allclose(got["relative_mahalanobis"], relative, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("chunk", [2**25, 2000])
def test_nearest_neighbours(fitted, monkeypatch, chunk):
    monkeypatch.setattr(baselines, "_CHUNK", chunk)  # one chunk, or two images at a time
    x, test = features_of(700)[0].numpy(), features_of(60, seed=2)[0]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    search = NearestNeighbors(n_neighbors=50).fit(unit)
    queries = test.numpy() / np.linalg.norm(test.numpy(), axis=1, keepdims=True)
    expected = search.kneighbors(queries)[0][:, -1]
    np.testing.assert_allclose(fitted.scores(test)["knn"], expected, rtol=1e-4)


def test_fewer_images_than_neighbours(classifier):
    x, y = features_of(8)
    scores = FeatureBaselines(x, y, classifier).scores(x)["knn"]
    unit = torch.nn.functional.normalize(x)
    np.testing.assert_allclose(scores, torch.cdist(unit, unit).amax(1), rtol=1e-3)  # the farthest of all eight


def test_a_large_bank_is_thinned_evenly(classifier, monkeypatch):
    monkeypatch.setattr(baselines, "_BANK", 100)
    x, y = features_of(397)
    bank = FeatureBaselines(x, y, classifier)._bank
    torch.testing.assert_close(bank, torch.nn.functional.normalize(x[::4]))


def naive_vim(x, weight, bias, test):
    """Eq. 2 to 6 of arXiv 2203.10807."""
    origin = -np.linalg.pinv(weight) @ bias
    covariance = EmpiricalCovariance(assume_centered=True).fit(x - origin).covariance_
    values, vectors = np.linalg.eig(covariance)
    residual_space = vectors.real[:, np.argsort(-values.real)[x.shape[1] // 2 :]]

    def residual(features):
        return np.linalg.norm((features - origin) @ residual_space, axis=1)

    alpha = (x @ weight.T + bias).max(1).mean() / residual(x).mean()
    logits = test @ weight.T + bias
    extended = np.concatenate([logits, alpha * residual(test)[:, None]], 1)
    return special.softmax(extended, axis=1)[:, -1]


def test_vim(fitted, classifier):
    x, test = features_of(700)[0].double().numpy(), features_of(60, seed=2)[0]
    weight, bias = classifier.weight.double().numpy(), classifier.bias.double().numpy()
    probability = naive_vim(x, weight, bias, test.double().numpy())
    got = fitted.scores(test)["vim"]
    np.testing.assert_allclose(got, special.logit(probability), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("size", "residual"), [(6, 3), (7, 4), (767, 384), (768, 256), (1600, 600)])
def test_dimensions_of_the_residual_space(size, residual):
    random = torch.Generator().manual_seed(0)
    linear = Linear(torch.randn(3, size, generator=random), torch.zeros(3))
    _, minor = baselines._vim_space(torch.randn(10, size, generator=random), linear)
    assert minor.shape == (size, residual)
    torch.testing.assert_close(minor.T @ minor, torch.eye(residual), atol=1e-4, rtol=0)


def test_higher_is_stranger(fitted):
    test = features_of(200, seed=2)[0]
    far = -5 * test.flip(1) + 3 * torch.randn(200, 16)
    familiar, strange = fitted.scores(test), fitted.scores(far)
    assert tuple(familiar) == BASELINES
    for name in BASELINES:
        assert familiar[name].dtype == np.float64
        if name != "relative_mahalanobis":
            assert stats.mannwhitneyu(strange[name], familiar[name]).statistic / 200**2 > 0.9
