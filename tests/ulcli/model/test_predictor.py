"""The head says which class, the density how much evidence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats
from sklearn.metrics import log_loss

import uncertainty_loss as ul
from ulcli.errors import UserError
from ulcli.model.choices import EvidenceFrom
from ulcli.model.head import Head
from ulcli.model.predictor import Predictor
from ulcli.network.linear import Linear

FADING = 0.05


def world(classes, n, seed, far=0.0):
    """Features of Gaussian classes, their embedding and labels; `far` shifts all of them away."""
    centres = 1.2 * torch.randn(classes, 6, generator=torch.Generator().manual_seed(99))
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=random)
    features = centres[labels] + torch.randn(n, 6, generator=random) + far
    return features, ul.embed([features]), labels, centres


def fit(classes=5, evidence_from=EvidenceFrom.DENSITY, validation=400, fading=FADING):
    _, embedding, labels, centres = world(classes, 2000, seed=0)
    moments = ul.Moments(classes)
    moments.update(embedding, labels)
    classifier = Linear(centres, -centres.square().sum(1) / 2)  # Bayes' rule for these classes
    # An evidential head as it may come out of a fit: the right classes, too much confidence.
    head = Head(Linear(2 * classifier.weight, 2 * classifier.bias + 6), "clamped_exp", 1.0)
    x, e, y, _ = world(classes, validation, seed=1)
    return Predictor.fit(head, classifier, moments, x, e, y, fading=fading, evidence_from=evidence_from)


@pytest.mark.parametrize(("classes", "fading"), [(2, FADING), (5, 0.3), (40, FADING)])
def test_evidence_is_a_count_of_comparable_images(classes, fading):
    predictor = fit(classes, fading=fading)
    features, embedding, _, _ = world(classes, 300, seed=2)
    got = predictor(features, embedding)
    t = got.typicality.numpy()
    m = np.maximum(2000 * t * np.minimum(t / fading, 1), 1e-9)
    outputs = predictor.head.linear(features).numpy() / predictor.head.temperature
    p = special.softmax(outputs, axis=1)
    assert got.alpha.dtype == torch.float64
    assert got.prior == 1
    np.testing.assert_allclose(got.alpha, 1 + classes * m[:, None] * p, rtol=1e-9)
    np.testing.assert_allclose(ul.vacuity(got.alpha), 1 / (1 + m), rtol=1e-12)


def test_the_signs_are_joined_as_the_density_and_the_classifier_give_them():
    predictor = fit()
    features, embedding, _, _ = world(5, 100, seed=2)
    distance, relative = predictor.density.score(embedding)
    energy = -np.logaddexp.reduce(predictor.baseline(features).numpy(), axis=1)
    score = predictor.familiarity.score(torch.stack([distance, relative, torch.tensor(energy)], 1))
    expected = predictor.familiarity.typicality(score)
    np.testing.assert_allclose(predictor(features, embedding).typicality, expected, rtol=1e-9)


def test_vacuity_ranks_as_the_typicality():
    predictor = fit()
    parts = [world(5, 200, seed=2, far=far)[:2] for far in (0.0, 1.0, 2.0)]
    got = predictor(torch.cat([x for x, _ in parts]), torch.cat([e for _, e in parts]))
    vacuity = ul.vacuity(got.alpha)
    order = got.typicality.argsort()
    falling = vacuity[order].diff()
    assert falling.max() <= 1e-15  # rounding apart
    assert vacuity.unique().numel() > 500
    assert stats.spearmanr(vacuity, got.typicality).statistic < -0.999


def test_familiar_input_keeps_the_probabilities_of_the_calibrated_head():
    predictor = fit()
    features, embedding, labels, _ = world(5, 2000, seed=3)
    got = predictor(features, embedding)
    p = got.alpha / got.alpha.sum(1, keepdim=True)
    head = predictor.head.shares(features)
    assert (p - head).abs().amax(1).le(ul.vacuity(got.alpha) + 1e-12).all()  # off by no more than 1 / (1 + m)
    familiar = got.typicality > 0.2
    assert (p - head)[familiar].abs().max() < 1 / (0.2 * 2000)
    assert torch.equal(p[familiar].argmax(1), head[familiar].argmax(1))

    def nll(head):
        alpha = replace(predictor, head=head)(features, embedding).alpha
        return -float(ul.expected_probability(alpha).gather(1, labels[:, None]).log().mean())

    assert nll(predictor.head) < nll(replace(predictor.head, temperature=1.0)) - 0.01


@pytest.mark.parametrize(("far", "longer"), [(60.0, 1), (0.0, 1e3), (0.0, 1e5), (0.0, 1e9)])
def test_far_input_goes_to_the_uniform_dirichlet(far, longer):
    predictor = fit()
    features = world(5, 100, seed=2, far=far)[0] * longer
    got = predictor(features, ul.embed([features]))
    np.testing.assert_allclose(got.alpha, 1, atol=1e-3)
    assert ul.vacuity(got.alpha).min() > 0.999
    assert ul.vacuity(got.head_alpha).max() < 0.5  # what the head alone believes


@pytest.mark.parametrize("source", EvidenceFrom)
def test_the_temperature_suits_the_confidence_that_is_shown(source):
    predictor = fit(evidence_from=source, validation=300)
    x, e, y, _ = world(5, 300, seed=1)
    right = (predictor.head.linear(x).argmax(1) == y).numpy()  # of evidence at the clamp no class is the largest

    def nll(log_temperature):
        head = replace(predictor.head, temperature=float(np.exp(log_temperature)))
        alpha = replace(predictor, head=head)(x, e).alpha.numpy()
        return log_loss(right, alpha.max(1) / alpha.sum(1))

    best = optimize.minimize_scalar(nll, bounds=(np.log(1 / 16), np.log(16)), method="bounded", options={"xatol": 1e-7})
    assert nll(np.log(predictor.head.temperature)) <= best.fun + 1e-8
    assert predictor.images == 2000


def test_a_fit_measures_distances_once(monkeypatch):
    calls, score = [], ul.FeatureDensity.score
    monkeypatch.setattr(ul.FeatureDensity, "score", lambda self, x: calls.append(len(x)) or score(self, x))
    fit(validation=400)
    assert calls == [400]


def test_evidence_from_the_head():
    density, head = fit(), fit(evidence_from=EvidenceFrom.HEAD)
    features, embedding, _, _ = world(5, 50, seed=2)
    one, other = density(features, embedding), head(features, embedding)
    raw = replace(density.head, temperature=1.0).alpha(features)
    assert head.head.temperature != 1.0
    assert torch.equal(other.alpha, head.head.alpha(features))
    assert torch.equal(other.head_alpha, raw)
    assert torch.equal(one.head_alpha, raw)
    assert torch.equal(one.typicality, other.typicality)
    assert other.prior == head.head.prior


def test_predictions_do_not_depend_on_the_batch():
    predictor = fit()
    features, embedding, _, _ = world(5, 40, seed=2, far=1.0)
    together = predictor(features, embedding)
    for row in range(40):
        alone = predictor(features[row : row + 1], embedding[row : row + 1])
        np.testing.assert_allclose(alone.alpha[0], together.alpha[row], rtol=1e-9)


def test_a_feature_that_is_not_finite_gives_no_number():
    predictor = fit()
    features, *_ = world(5, 3, seed=2)
    features[1, 0] = torch.nan
    got = predictor(features, ul.embed([features]))
    assert got.alpha.isfinite().all(1).tolist() == [True, False, True]


def test_too_few_validation_images():
    with pytest.raises(UserError, match="2 validation images are too few to calibrate anything"):
        fit(validation=2)
    assert fit(validation=3).images == 2000
