"""The rivals, each against scikit-learn, scipy or its formula written out."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from ulcli.model import baselines
from ulcli.model.baselines import BASELINES, FITTED, SEARCHED, FeatureBaselines, Neighbours, logit_scores
from ulcli.network.linear import Linear


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
    return FeatureBaselines.fit(*features_of(700), classifier)


def distances(features, test, classifier):
    return Neighbours(features).scores(test, classifier(test))["knn"]


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


def test_mahalanobis(fitted, classifier):
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
    got = fitted.scores(images, classifier(images))
    np.testing.assert_allclose(got["mahalanobis"], expected, rtol=1e-4)
    relative = expected - squared(test - centre, within + between)
    np.testing.assert_allclose(got["relative_mahalanobis"], relative, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("chunk", [2**25, 2000])
def test_nearest_neighbours(classifier, monkeypatch, chunk):
    monkeypatch.setattr(baselines, "_CHUNK", chunk)  # one chunk, or two images at a time
    features, test = features_of(700)[0], features_of(60, seed=2)[0]
    x = features.numpy()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    search = NearestNeighbors(n_neighbors=50).fit(unit)
    queries = test.numpy() / np.linalg.norm(test.numpy(), axis=1, keepdims=True)
    expected = search.kneighbors(queries)[0][:, -1]
    np.testing.assert_allclose(distances(features, test, classifier), expected, rtol=1e-4)


def test_fewer_images_than_neighbours(classifier):
    x, _ = features_of(8)
    unit = torch.nn.functional.normalize(x)
    farthest = torch.cdist(unit, unit).amax(1)  # of all eight
    np.testing.assert_allclose(distances(x, x, classifier), farthest, rtol=1e-3)


def test_a_large_bank_is_thinned_evenly(monkeypatch):
    monkeypatch.setattr(baselines, "_BANK", 100)
    x, _ = features_of(397)
    torch.testing.assert_close(Neighbours(x)._bank, torch.nn.functional.normalize(x[::4]))


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


@pytest.mark.parametrize("rows", [4096, 33])
def test_vim(classifier, monkeypatch, rows):
    monkeypatch.setattr(baselines, "_ROWS", rows)  # one part, or many
    x, test = features_of(700)[0].double().numpy(), features_of(60, seed=2)[0]
    weight, bias = classifier.weight.double().numpy(), classifier.bias.double().numpy()
    probability = naive_vim(x, weight, bias, test.double().numpy())
    got = FeatureBaselines.fit(*features_of(700), classifier).scores(test, classifier(test))["vim"]
    np.testing.assert_allclose(got, special.logit(probability), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("size", "residual"), [(6, 3), (7, 4), (767, 384), (768, 256), (1600, 600)])
def test_dimensions_of_the_residual_space(size, residual):
    random = torch.Generator().manual_seed(0)
    linear = Linear(torch.randn(3, size, generator=random), torch.zeros(3))
    _, minor = baselines._vim_space(torch.randn(10, size, generator=random), linear)
    assert minor.shape == (size, residual)
    torch.testing.assert_close(minor.T @ minor, torch.eye(residual), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("size", "classes"), [(1, 2), (2, 7), (16, 5), (767, 3), (768, 3), (1600, 2)])
def test_the_size_is_known_before_the_fit(size, classes):
    x, y = features_of(3 * classes, classes=classes, size=size)
    y[:classes] = torch.arange(classes)
    linear = Linear(torch.randn(classes, size), torch.randn(classes))
    state = FeatureBaselines.fit(x, y, linear).state_dict()
    tensors = [*state["density"].values(), state["vim"]["origin"], state["vim"]["minor"]]
    assert all(tensor.dtype == torch.float32 for tensor in tensors)
    assert sum(tensor.untyped_storage().nbytes() for tensor in tensors) == FeatureBaselines.size(size, classes)


def test_what_comes_back_from_a_file_scores_the_same(fitted, classifier):
    test = features_of(60, seed=2)[0]
    again = FeatureBaselines.from_state_dict(fitted.state_dict())
    one, other = (each.scores(test, classifier(test)) for each in (fitted, again))
    assert all(np.array_equal(one[name], other[name]) for name in FITTED)


@pytest.mark.parametrize(
    "vim",
    [
        {"origin": torch.zeros(15)},
        {"minor": torch.zeros(8, 16)},
        {"minor": torch.zeros(16)},
        {"origin": torch.zeros(16, 1)},
    ],
)
def test_parts_that_do_not_fit(fitted, vim):
    state = fitted.state_dict()
    with pytest.raises(ValueError, match="expected an origin and minor directions of 16 features"):
        FeatureBaselines.from_state_dict({**state, "vim": {**state["vim"], **vim}})


def test_higher_is_stranger(fitted, classifier):
    test = features_of(200, seed=2)[0]
    far = -5 * test.flip(1) + 3 * torch.randn(200, 16)
    neighbours = Neighbours(features_of(700)[0])
    familiar, strange = (
        {**fitted.scores(x, classifier(x)), **neighbours.scores(x, classifier(x))} for x in (test, far)
    )
    assert tuple(familiar) == BASELINES == (*FITTED, *SEARCHED)
    for name in BASELINES:
        assert familiar[name].dtype == np.float64
        if name != "relative_mahalanobis":
            assert stats.mannwhitneyu(strange[name], familiar[name]).statistic / 200**2 > 0.9
