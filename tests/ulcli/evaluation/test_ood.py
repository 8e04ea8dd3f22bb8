"""What is computed for a set of images: from features drawn here, with scikit-learn and formulas beside it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_columns import SIGNS
from scipy.special import logsumexp
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

import uncertainty_loss as ul
from ulcli.evaluation.estimates import Estimate, Resamples
from ulcli.evaluation.ood import FAR, NEAR, OODResult, ScoredSet, feature_baselines, worst_auroc
from ulcli.model.baselines import FeatureBaselines, Neighbours
from ulcli.model.choices import EvidenceFrom
from ulcli.model.flags import Flags
from ulcli.model.head import Head
from ulcli.model.predictor import Predictor
from ulcli.network.features import LabelledFeatures
from ulcli.network.linear import Linear
from uncertainty_loss import metrics

SIZE, CLASSES = 6, 3


def features_of(per_class, seed, shift=0.0):
    """Clusters around three corners; a shift moves images away from all of them."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    values = 2.0 * torch.eye(CLASSES, SIZE)[labels] + torch.randn(len(labels), SIZE, generator=random)
    values[:, -1] += shift
    return LabelledFeatures(values, values[:, :4] + shift, labels=labels)


@pytest.fixture(scope="module", params=list(EvidenceFrom))
def predictor(request):
    train, val = features_of(60, 0), features_of(30, 1)
    moments = ul.Moments(CLASSES)
    moments.update(train.embedding, train.labels)
    baseline = Linear(torch.eye(CLASSES, SIZE), torch.tensor([0.1, 0.0, -0.1]))
    head = Head(Linear(1.5 * torch.eye(CLASSES, SIZE), torch.zeros(CLASSES)), "softplus", 1.0)
    return Predictor.fit(
        head, baseline, moments, val.values, val.embedding, val.labels, fading=0.05, evidence_from=request.param
    )


def scored(predictor, features, baselines=(), resamples=0, seed=(0, 0)):
    return ScoredSet.of(features, predictor, baselines, Resamples.of(len(features), resamples, seed))


def test_every_score_is_higher_for_ood_images(predictor):
    train = features_of(60, 0)
    baselines = feature_baselines(train, predictor.baseline, None)
    data = scored(predictor, features_of(40, 2), baselines)
    other = scored(predictor, features_of(20, 3, shift=6.0), baselines)
    assert list(data.ood_scores) == [
        *SIGNS,
        "head_vacuity",
        *("max_probability", "entropy", "energy", "mahalanobis", "relative_mahalanobis", "vim", "knn"),
    ]
    estimates, aurocs = other.told_from(data)
    outside = np.repeat([0, 1], [120, 60])
    for name, values in data.ood_scores.items():
        expected = roc_auc_score(outside, np.concatenate([values, other.ood_scores[name]]))
        assert estimates[name]["auroc"].value == pytest.approx(expected), name
        assert aurocs[name].tolist() == [estimates[name]["auroc"].value]
    for name in ("typicality", "mahalanobis", "vim", "knn"):
        assert estimates[name]["auroc"].value > 0.75, name
    np.testing.assert_array_equal(data.ood_scores["typicality"], -data.predictions.typicality)
    np.testing.assert_array_equal(data.ood_scores["vacuity"], data.predictions.vacuity)


def test_scores_of_the_logits_and_of_the_head(predictor):
    features = features_of(10, 4)
    data = scored(predictor, features)
    logits = features.values.double().numpy()[:, :CLASSES] + [0.1, 0.0, -0.1]
    np.testing.assert_allclose(data.logits, logits, rtol=1e-5)
    np.testing.assert_allclose(data.ood_scores["energy"], -logsumexp(logits, 1), rtol=1e-5)
    evidence = np.log1p(np.exp(1.5 * features.values.double().numpy()[:, :CLASSES]))  # before any temperature
    np.testing.assert_allclose(data.ood_scores["head_vacuity"], CLASSES / (evidence + 1).sum(1), rtol=1e-5)


def test_a_loss_without_a_prior_has_an_order_by_evidence_all_the_same(predictor):
    features = features_of(10, 4)
    data = scored(replace(predictor, head=replace(predictor.head, prior=0.0)), features)
    evidence = np.log1p(np.exp(1.5 * features.values.double().numpy()[:, :CLASSES]))
    np.testing.assert_allclose(data.ood_scores["head_vacuity"], CLASSES / evidence.sum(1), rtol=1e-5)


def test_metrics_of_the_model_and_of_the_classifier(predictor):
    features = features_of(40, 5)
    data, flags = scored(predictor, features, resamples=60, seed=(4, 2)), Flags(0.05, 0.3, 0.9, 0.4)
    p, y = (data.predictions.alpha / data.predictions.alpha.sum(1, keepdim=True)).numpy(), features.labels.numpy()
    found = data.metrics(flags, data.features.labels)
    assert found["accuracy"].value == accuracy_score(y, p.argmax(1))
    assert found["nll"].value == pytest.approx(log_loss(y, p))
    flagged = (data.predictions.vacuity.numpy() > 0.3) | (1 - p.max(1) > 0.4)
    assert 0 < flagged.mean() < 1
    expected = metrics.bootstrap_interval(np.mean, flagged, resamples=60, seed=(4, 2))
    assert (found["flag_rate"].value, found["flag_rate"].low, found["flag_rate"].high) == pytest.approx(expected)
    expected = metrics.bootstrap_interval(metrics.aurc, p.max(1), p.argmax(1) == y, resamples=60, seed=(4, 2))
    assert (found["aurc"].value, found["aurc"].low, found["aurc"].high) == pytest.approx(expected)
    logits = data.logits.double().numpy()
    p = np.exp(logits - logsumexp(logits, 1, keepdims=True))
    found = data.baseline_metrics(data.features.labels)
    assert found["nll"].value == pytest.approx(log_loss(y, p), rel=1e-5)
    assert found["nll"].low < found["nll"].value < found["nll"].high
    assert "flag_rate" not in found


def test_baselines_are_fitted_but_for_those_that_the_model_has(monkeypatch):
    train, classifier = features_of(60, 0), Linear(torch.eye(CLASSES, SIZE), torch.zeros(CLASSES))
    fitted, neighbours = feature_baselines(train, classifier, None)
    assert isinstance(fitted, FeatureBaselines)
    assert isinstance(neighbours, Neighbours)
    again = FeatureBaselines.fit(train.values, train.labels, classifier)
    test = features_of(5, 1).values
    for name, values in again.scores(test, classifier(test)).items():
        np.testing.assert_array_equal(fitted.scores(test, classifier(test))[name], values)
    distance = 2 - 2 * torch.nn.functional.normalize(test) @ torch.nn.functional.normalize(train.values).T
    expected = distance.sort(1).values[:, 49].sqrt()  # the 50th of 180
    np.testing.assert_allclose(neighbours.scores(test, classifier(test))["knn"], expected, rtol=1e-4)
    kept, _ = feature_baselines(features_of(60, 9), classifier, fitted)
    assert kept is fitted


def test_the_worst_set_counts():
    def result(kind, auroc, others):
        return OODResult(kind, 5, {"vacuity": {"auroc": Estimate(auroc)}, "energy": {"auroc": Estimate(others)}})

    sets = [result(FAR, 0.9, 0.2), result(NEAR, 0.6, 0.3), result(FAR, 0.8, 0.99)]
    assert worst_auroc(sets) == worst_auroc(iter(sets[::-1])) == 0.6
    assert math.isnan(worst_auroc([]))
