"""Distances against scikit-learn and explicit inverses in double; streams against batches; what may be singular."""

import doctest

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import OAS, empirical_covariance

from uncertainty_loss import FeatureDensity, Moments, density, embed, pool_map


def clusters(n=600, classes=4, size=12, apart=3.0, seed=0):
    """Features (n, size) of Gaussian classes with one correlated covariance, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=n)
    mix = random.normal(size=(size, size)) / size**0.5 + np.eye(size)
    x = apart * random.normal(size=(classes, size))[labels] + random.normal(size=(n, size)) @ mix
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels)


def moments_of(features, labels, classes=4, batch=10**6):
    moments = Moments(classes)
    for start in range(0, len(features), batch):
        moments.update(features[start : start + batch], labels[start : start + batch])
    return moments


def fit(features, labels, classes=4, batch=10**6):
    return FeatureDensity.fit(moments_of(features, labels, classes, batch))


def chen(covariance, n):
    """Oracle-approximating shrinkage, eq. 23 of arXiv 0907.4698, as it is written there."""
    p = len(covariance)
    power, trace = np.trace(covariance @ covariance), np.trace(covariance)
    rho = ((1 - 2 / p) * power + trace**2) / ((n + 1 - 2 / p) * (power - trace**2 / p))
    rho = min(rho, 1.0)
    return (1 - rho) * covariance + rho * trace / p * np.eye(p)


def explicit(features, labels, test):
    """Both distances in double, by inverses of W and of W + B."""
    x, y, t = features.double().numpy(), labels.numpy(), test.double().numpy()
    seen = np.unique(y)
    means = np.stack([x[y == k].mean(0) for k in seen])
    centred = x - means[np.searchsorted(seen, y)]
    within = chen(centred.T @ centred / len(x), len(x))
    centre = x.mean(0)
    between = sum((y == k).mean() * np.outer(m - centre, m - centre) for k, m in zip(seen, means, strict=True))

    def squared(difference, covariance):
        return np.einsum("nd,nd->n", difference @ np.linalg.inv(covariance), difference)

    distance = np.min([squared(t - mean, within) for mean in means], axis=0)
    return distance, distance - squared(t - centre, within + between)


def assert_scores(got, expected, rtol=2e-5):
    for each, reference in zip(got, expected, strict=True):
        assert each.dtype == torch.float64
        reference = np.asarray(reference)
        np.testing.assert_allclose(each, reference, rtol=rtol, atol=rtol * np.abs(reference).max())


def test_both_distances_against_explicit_inverses():
    (features, labels), test = clusters(), clusters(seed=1)[0]
    assert_scores(fit(features, labels).score(test), explicit(features, labels, test))


def test_the_covariance_against_scikit_learn():
    features, labels = clusters(apart=0.0)
    x = features.double().numpy()
    centred = x - np.stack([x[labels == k].mean(0) for k in range(4)])[labels]
    whiten = fit(features, labels).whiten.double().numpy()
    within = np.linalg.inv(whiten @ whiten.T)
    np.testing.assert_allclose(within, chen(empirical_covariance(centred, assume_centered=True), 600), atol=2e-5)
    # scikit-learn leaves out the terms with 2 / p of the published rule: close, but not the same.
    np.testing.assert_allclose(within, OAS(assume_centered=True).fit(centred).covariance_, atol=2e-3)


@pytest.mark.parametrize("n", [7, 30, 500])
@pytest.mark.parametrize("size", [2, 5, 40])
def test_shrinkage(n, size):
    x = np.random.default_rng(n).normal(size=(n, size)) * np.linspace(1, 3, size)
    covariance = empirical_covariance(x)
    got = density._shrink(torch.tensor(covariance), n)
    np.testing.assert_allclose(got, chen(covariance, n), rtol=1e-12)


@pytest.mark.parametrize("apart", [1e2, 1e4])
def test_classes_far_apart_leave_digits_for_what_is_within_them(apart):
    features, labels = clusters(apart=apart)
    distance, relative = fit(features, labels).score(features)
    expected, expected_relative = explicit(features, labels, features)
    tolerance = 5e-6 * apart  # what float32 coordinates of that size resolve
    np.testing.assert_allclose(distance, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(relative, expected_relative, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_a_stream_is_the_batch(batch):
    features, labels = clusters(200)
    whole, parts = fit(features, labels), fit(features, labels, batch=batch)
    for name, tensor in whole.state_dict().items():
        if name != "axes":  # their signs are free
            torch.testing.assert_close(parts.state_dict()[name].abs(), tensor.abs(), rtol=1e-4, atol=1e-4)
    assert_scores(parts.score(features), whole.score(features))


@given(st.permutations(range(60)), st.lists(st.integers(0, 60), max_size=6))
def test_any_order_and_any_cuts(order, cuts):
    features, labels = clusters(60, size=5)
    moments = Moments(4)
    for rows in np.split(np.array(order), sorted(cuts)):
        moments.update(features[rows], labels[rows])
    assert moments.counts.tolist() == torch.bincount(labels, minlength=4).tolist()
    assert_scores(FeatureDensity.fit(moments).score(features), fit(features, labels).score(features), rtol=1e-4)


def test_the_names_of_the_classes_do_not_matter():
    features, labels = clusters()
    renamed = torch.tensor([2, 0, 3, 1])[labels]
    assert_scores(fit(features, renamed).score(features), fit(features, labels).score(features))


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_units_and_origin_do_not_matter(shift):
    features, labels = clusters()
    moved = 50 * features + shift
    assert_scores(fit(moved, labels).score(moved), fit(features, labels).score(features), rtol=1e-3)


def test_a_class_without_images_changes_nothing():
    features, labels = clusters()
    assert_scores(fit(features, labels * 2, classes=9).score(features), fit(features, labels).score(features))


def test_one_class_only():
    features, labels = clusters(classes=1)
    distance, relative = fit(features, labels, classes=3).score(features)
    expected, _ = explicit(features, labels, features)
    np.testing.assert_allclose(distance, expected, rtol=1e-4)
    assert relative.abs().max() == 0  # nearer to its class than to images at large: there is no difference


def test_fewer_images_than_features():
    features, labels = clusters(20, size=60)
    test = clusters(20, size=60, seed=1)[0]
    assert_scores(fit(features, labels).score(test), explicit(features, labels, test))


def test_features_that_never_change():
    features, labels = clusters()
    constant = torch.cat([features, torch.full((600, 3), 7.0)], 1)
    test = torch.cat([features, torch.full((600, 3), 7.0)], 1)
    assert_scores(fit(constant, labels).score(test), explicit(constant, labels, test))
    odd = test.clone()
    odd[:, -1] = 8.0
    assert (fit(constant, labels).score(odd)[0] > fit(constant, labels).score(test)[0]).all()


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_images_that_are_all_alike_within_their_class(n, scale):
    labels = torch.arange(3).repeat_interleave(n)
    features = scale * torch.randn(3, 50)[labels]
    fitted = fit(features, labels, 3)
    seen, strange = fitted.score(features)[0], fitted.score(features + 0.1 * scale)[0]
    assert strange.isfinite().all()
    assert (seen >= 0).all()
    assert strange.min() > 1e6 * seen.max()


def test_a_covariance_that_rounding_left_indefinite():
    covariance = torch.diag(torch.tensor([1.0, 0.5, -1e-6], dtype=torch.float64))
    factor = density._cholesky(covariance)
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-4)


def test_nothing_to_fit():
    with pytest.raises(ValueError, match="moments of at least one batch"):
        FeatureDensity.fit(Moments(3))
    moments = Moments(3)
    moments.update(torch.empty(0, 5), torch.empty(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="moments of at least one batch"):
        FeatureDensity.fit(moments)


def test_what_does_not_fit():
    moments = moments_of(*clusters())
    with pytest.raises(ValueError, match="expected 12 features as in the batches before, got 11"):
        moments.update(torch.zeros(2, 11), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"expected features \(N, D\) and labels \(N,\), got \(2, 12\) and \(3,\)"):
        moments.update(torch.zeros(2, 12), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"expected features \(N, 12\), got \(2, 11\)"):
        FeatureDensity.fit(moments).score(torch.zeros(2, 11))
    moments.update(torch.full((1, 12), torch.nan), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="expected finite features"):
        FeatureDensity.fit(moments)


def test_state_dicts_restore_to_the_bit():
    features, labels = clusters()
    moments = moments_of(features[:300], labels[:300])
    again = Moments.from_state_dict(moments.state_dict())
    again.update(features[300:], labels[300:])
    assert again.num_classes == 4
    assert_scores(FeatureDensity.fit(again).score(features), fit(features, labels).score(features))
    fitted = FeatureDensity.fit(moments)
    restored = FeatureDensity.from_state_dict(fitted.state_dict())
    assert all(torch.equal(*pair) for pair in zip(fitted.score(features), restored.score(features), strict=True))
    with pytest.raises(ValueError, match="expected tensors that fit 12 features and 3 axes"):
        FeatureDensity.from_state_dict({**fitted.state_dict(), "centre": torch.zeros(11)})


def test_scores_of_no_images():
    distance, relative = fit(*clusters()).score(torch.empty(0, 12))
    assert distance.shape == relative.shape == (0,)


@pytest.mark.parametrize("chunk", [1, 12 * 7, 12 * 600])
def test_a_set_is_scored_in_parts(monkeypatch, chunk):
    features, labels = clusters()
    fitted, test = fit(features, labels), clusters(seed=1)[0].requires_grad_()
    most = []
    cdist = torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda x, *rest, **options: most.append(len(x)) or cdist(x, *rest, **options))
    monkeypatch.setattr(density, "_CHUNK", chunk)
    distance, relative = fitted.score(test)
    assert max(most) == max(1, chunk // 12)  # rows in double at a time
    assert_scores([distance.detach(), relative.detach()], explicit(features, labels, test.detach()))
    (gradient,) = torch.autograd.grad(distance.sum() + relative.sum(), test)
    (alone,) = torch.autograd.grad(fitted.score(test[5:6])[0].sum() + fitted.score(test[5:6])[1].sum(), test)
    assert gradient.norm(dim=1).min() > 0
    torch.testing.assert_close(gradient[5], alone[5])


def test_a_direction_has_no_unit_and_a_length_only_shifts():
    block = torch.randn(9, 7)
    one, other = embed([block]), embed([1000 * block])
    torch.testing.assert_close(one[:, :7], other[:, :7])
    torch.testing.assert_close(one[:, 7] + np.log(1000), other[:, 7])
    np.testing.assert_allclose(one[:, :7].norm(dim=1), 1, rtol=1e-6)
    np.testing.assert_allclose(one[:, 7], np.log(np.linalg.norm(block, axis=1)), rtol=1e-5)


def test_blocks_stand_side_by_side():
    a, b = torch.randn(5, 3), torch.randn(5, 20)
    assert torch.equal(embed([a, b], 8), torch.cat([embed([a], 8), embed([b], 8)], 1))
    assert embed([a, b], 8).shape == (5, 3 + 1 + 8 + 1)
    assert embed([a.half(), b.double()]).dtype == torch.float32


def test_features_of_length_zero():
    assert embed([torch.zeros(2, 4)]).isfinite().all()


@pytest.mark.parametrize(("size", "limit"), [(600, 512), (1024, 512), (1536, 512), (3072, 512), (25088, 1024)])
@pytest.mark.parametrize("positive", [False, True])
def test_a_sketch_keeps_inner_products_on_average(size, limit, positive):
    x = torch.randn(300, size)
    x = x.abs() if positive else x  # features after a ReLU all point into one corner
    x = x / x.norm(dim=1, keepdim=True)
    errors = (embed([x], limit)[:, :limit] @ embed([x], limit)[:, :limit].T - x @ x.T).tril()
    # A sketch with random signs is off by about sqrt(2 / limit) times the product of the lengths.
    assert errors.square().mean().sqrt() < 1.5 * (2 / limit) ** 0.5
    assert errors.sum().abs() / (300 * 301 / 2) < (2 / limit) ** 0.5


def test_a_sketch_is_the_same_for_every_image_and_every_run():
    x = torch.randn(6, 40)
    assert torch.equal(embed([x], 16)[2:4], embed([x[2:4]], 16))
    columns = density._sketch(torch.eye(40), 16)
    assert (columns != 0).sum(1).tolist() == [1] * 40  # every column goes into one group, with a sign
    assert set((columns != 0).sum(0).tolist()) == {2, 3}  # and the groups are as even as can be
    # Model files hold sketched features: these values may never change.
    assert columns.sum(1).tolist()[:12] == [1, 1, 1, 1, 1, -1, 1, -1, 1, 1, 1, 1]
    assert columns.abs().argmax(1).tolist()[:12] == [0, 13, 5, 14, 7, 15, 12, 5, 11, 6, 2, 4]


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (3, 2, 7, 5), (2, 4, 1, 6), (1, 1, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_pooled_maps(shape, dtype):
    n, c, h, w = shape
    activation = (300 * torch.randn(shape)).to(dtype)
    got = pool_map(activation)
    assert got.dtype == dtype
    assert got.shape == (n, 6 * c)
    a = activation.double().numpy()
    # A middle row or column belongs to both sides.
    rows, columns = (slice((h + 1) // 2), slice(h // 2, None)), (slice((w + 1) // 2), slice(w // 2, None))
    quadrants = np.stack([a[:, :, i, j].mean((2, 3)) for i in rows for j in columns], 2).reshape(n, -1)
    expected = np.concatenate([quadrants, a.std((2, 3)), a.max((2, 3))], 1)
    precision = max(torch.finfo(dtype).eps, 1e-7)
    np.testing.assert_allclose(got.double(), expected, rtol=10 * precision, atol=1000 * precision)


def test_the_deviation_of_a_flat_map():
    assert pool_map(torch.full((1, 2, 9, 9), 0.1))[0, 8:10].max() < 1e-4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_embeddings_on_a_gpu():
    activation = torch.randn(4, 200, 6, 6)
    expected = embed([pool_map(activation)], 512)
    torch.testing.assert_close(embed([pool_map(activation.cuda())], 512).cpu(), expected, rtol=1e-4, atol=1e-4)


def test_examples():
    failures, examples = doctest.testmod(density)
    assert failures == 0
    assert examples > 0
