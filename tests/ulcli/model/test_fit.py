"""Fitting a linear layer on features."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch.nn import functional as F

import uncertainty_loss as ul
from ulcli.data.splits import stratified_parts
from ulcli.model.fit import (
    Recipe,
    Standardiser,
    best_affine_start,
    cross_entropy_objective,
    evidential_objective,
    fit_linear,
)
from ulcli.network.features import LabelledFeatures
from ulcli.network.linear import Linear
from ulcli.reporting import Silent


def features_of(values, labels):
    return LabelledFeatures(values, torch.empty(len(values), 0), labels=labels)


def clusters(n=1200, classes=3, size=5, spread=1.5, seed=0):
    """Overlapping Gaussian classes, each feature on a scale of its own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    centres = torch.randn(classes, size, generator=generator)
    values = centres[labels] + spread * torch.randn(n, size, generator=generator)
    return features_of(values * torch.logspace(-2, 2, size) + torch.linspace(-5, 50, size), labels)


def fit(features, objective=None, start=None, reporter=None, seed=0, **recipe):
    start = start or Linear.zeros(int(features.labels.max()) + 1, features.values.shape[1])
    objective = objective or cross_entropy_objective()
    reporter = reporter or Silent()
    return fit_linear(features, start, objective, seed=seed, reporter=reporter, what="fit", recipe=Recipe(**recipe))


def nll(linear, features):
    return float(F.cross_entropy(linear(features.values), features.labels))


def watched(features):
    """The tenth of the rows on which a fit decides which epoch to keep."""
    rows = stratified_parts(features.labels.numpy(), {"fit": 0.9, "watch": 0.1})["watch"]
    return features_of(features.values[rows], features.labels[rows])


def test_the_standardiser():
    x = clusters().values
    scale = Standardiser.of(x)
    np.testing.assert_allclose(scale(x).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scale(x).std(0, correction=0), 1, rtol=1e-5)


def test_a_feature_that_never_changes_keeps_its_scale():
    x = torch.cat([clusters().values, torch.full((1200, 1), 7.0)], 1)
    assert Standardiser.of(x).std[-1] == 1
    assert torch.isfinite(Standardiser.of(x)(x)).all()
    assert Standardiser.of(torch.zeros(1, 3)).std.tolist() == [1, 1, 1]


def test_absorb_means_the_same_and_restore_undoes_it():
    x, linear = clusters().values, Linear(torch.randn(3, 5), torch.randn(3))
    scale = Standardiser.of(x)
    absorbed = scale.absorb(linear)
    torch.testing.assert_close(absorbed(scale(x)), linear(x), rtol=1e-4, atol=1e-4)
    back = scale.restore(absorbed)
    torch.testing.assert_close(back.weight, linear.weight, rtol=1e-6, atol=0)
    torch.testing.assert_close(back.bias, linear.bias, rtol=1e-5, atol=1e-4)


def test_cross_entropy_comes_down_to_logistic_regression():
    features = clusters(4000)
    fitted = fit(features, weight_decay=0.0)
    x = Standardiser.of(features.values)(features.values).numpy()
    oracle = LogisticRegression(C=1e6, max_iter=2000).fit(x, features.labels)
    best = log_loss(features.labels, oracle.predict_proba(x))
    assert best < nll(fitted.linear, features) < best + 0.003


@pytest.mark.parametrize("name", ul.loss_names())
def test_an_evidential_head_predicts_as_well_as_logistic_regression(name):
    both = clusters(6000)
    features = features_of(both.values[:3000], both.labels[:3000])
    test = features_of(both.values[3000:], both.labels[3000:])
    fitted = fit(features, evidential_objective(ul.get_loss(name), 0.01))
    right = (fitted.linear(test.values).argmax(1) == test.labels).double().mean()
    scale = Standardiser.of(features.values)
    oracle = LogisticRegression().fit(scale(features.values), features.labels)
    assert right > oracle.score(scale(test.values), test.labels) - 0.01


def test_the_same_seed_gives_the_same_bits_whatever_went_before():
    features = clusters()
    objective = evidential_objective(ul.get_loss("maxnorm"), 0.01)
    first = fit(features, objective, epochs=8)
    torch.randn(17)
    second, third = fit(features, objective, epochs=8), fit(features, objective, epochs=8, seed=1)
    assert torch.equal(first.linear.weight, second.linear.weight)
    assert torch.equal(first.linear.bias, second.linear.bias)
    assert not torch.equal(first.linear.weight, third.linear.weight)


def test_the_features_and_the_start_are_left_as_they_were():
    features, start = clusters(200), Linear(torch.randn(3, 5), torch.randn(3))
    before = [each.clone() for each in (features.values, features.labels, start.weight, start.bias)]
    fit(features, start=start, epochs=2)
    after = (features.values, features.labels, start.weight, start.bias)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_features_straight_from_inference_mode():
    with torch.inference_mode():
        features = clusters(200)
    assert fit(features, epochs=2).epochs == 2


def test_a_perfect_start_is_kept_and_the_fit_stops_early():
    features = clusters(4000)
    done = fit(features, weight_decay=0.0, epochs=100)
    again = fit(features, start=done.linear, weight_decay=0.0, epochs=100, learning_rate=0.1)
    assert again.epochs < 100
    assert nll(again.linear, watched(features)) <= nll(done.linear, watched(features)) * (1 + 1e-4)


def test_the_kept_epoch_is_the_best_one_on_rows_that_took_no_step():
    # Labels without a pattern: whatever is learnt from them is wrong, so that the start is the best there is.
    random = torch.Generator().manual_seed(0)
    features = features_of(torch.randn(60, 40, generator=random), torch.randint(2, (60,), generator=random))
    fitted = fit(features, learning_rate=0.3)
    assert fitted.epochs < 60
    assert nll(fitted.linear, watched(features)) <= math.log(2) + 1e-6


def test_progress_is_complete_after_an_early_stop(recorder):
    fitted = fit(clusters(100), learning_rate=1.0, reporter=recorder)
    assert recorder.tracks == [("fit", 60)]
    assert fitted.epochs < 60
    assert recorder.steps == 60


def test_the_regulariser_grows_over_the_first_fifth():
    seen = []

    def objective(logits, target, progress):
        if logits.requires_grad:
            seen.append(progress)
        return F.cross_entropy(logits, target)

    fit(clusters(100), objective, epochs=20, anneal=0.2, patience=100)
    each_epoch = list(dict.fromkeys(seen))
    assert each_epoch == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 1], [0, 0, 0, 1, 2]])
def test_a_handful_of_images(labels):
    features = features_of(torch.randn(len(labels), 4), torch.tensor(labels))
    linear = fit(features).linear
    assert torch.isfinite(linear.weight).all()
    assert nll(linear, features) < 1.2


def test_not_a_number_ends_the_fit_and_the_last_good_layer_is_kept():
    def objective(logits, target, _):
        return F.cross_entropy(logits, target) * (math.nan if logits.abs().max() > 0.5 else 1.0)

    fitted = fit(clusters(), objective)
    assert 1 < fitted.epochs < 10
    assert torch.isfinite(fitted.linear.weight).all()


def test_evidential_objective():
    loss = ul.get_loss("evidential")
    logits, target = torch.randn(6, 3), torch.randint(3, (6,))
    got = evidential_objective(loss, 0.5)(logits, target, 0.4)
    torch.testing.assert_close(got, ul.evidential_loss(ul.clamped_exp(logits), target, 0.2))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_the_affine_start_beats_the_plain_one_and_ranks_alike(scale):
    features = clusters()
    fitted = fit(features, epochs=20).linear
    classifier = Linear(fitted.weight * scale, fitted.bias * scale + 12)
    objective = evidential_objective(ul.get_loss("maxnorm"), 0.0)
    start = best_affine_start(classifier, features, objective)

    def loss(linear):
        return float(objective(linear(features.values), features.labels, 1.0))

    assert loss(start) < loss(classifier)
    assert torch.equal(start(features.values).argmax(1), classifier(features.values).argmax(1))


def test_the_affine_start_of_nothing():
    features = clusters(50)
    start = best_affine_start(Linear.zeros(3, 5), features, evidential_objective(ul.get_loss("maxnorm"), 0.01))
    assert torch.isfinite(start.weight).all()
    assert torch.isfinite(start.bias).all()
