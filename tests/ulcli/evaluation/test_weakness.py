"""Warnings where the method is weak, and only there."""

from types import SimpleNamespace

import pytest
import torch

from ulcli.evaluation.weakness import warn_of_weakness
from ulcli.model.choices import EvidenceFrom
from ulcli.model.head import Head
from ulcli.network.features import LabelledFeatures
from ulcli.network.linear import Linear

NAMES = ("ant", "bee", "cat")


def features_of(values, counts):
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return LabelledFeatures(values[: len(labels)], torch.empty(len(labels), 0), labels=labels)


def warnings(recorder, features, bias=0.0, source=EvidenceFrom.DENSITY, evidence="clamped_exp", temperature=1.0):
    size, classes = features.values.shape[1], int(features.labels.max()) + 1
    linear = Linear(torch.zeros(classes, size), torch.full((classes,), bias))
    predictor = SimpleNamespace(head=Head(linear, evidence, 1.0, temperature), evidence_from=source)
    warn_of_weakness(predictor, features, NAMES[:classes], recorder)
    return recorder.warnings


def test_nothing_weak_nothing_said(recorder):
    assert warnings(recorder, features_of(torch.randn(60, 8), [20, 20, 20])) == []


@pytest.mark.parametrize(
    ("counts", "few"),
    [([10, 10, 10], None), ([9, 10, 11], "'ant'"), ([9, 30, 1], "'ant', 'cat'"), ([0, 30, 30], "'ant'")],
)
def test_classes_with_few_images(recorder, counts, few):
    said = warnings(recorder, features_of(torch.randn(60, 8), counts))
    expected = [f"fewer than 10 images of class {few}: how familiar others are to it is a guess"] if few else []
    assert said == expected


@pytest.mark.parametrize(("others", "collapsed"), [(0.0, True), (0.2, True), (1.0, False)])
def test_collapsed_features(recorder, others, collapsed):
    values = torch.randn(60, 8) * torch.tensor([1.0] + [others] * 7)
    said = warnings(recorder, features_of(values, [20, 20, 20]))
    assert [text.startswith("the features vary along one direction only, for 3 classes") for text in said] == (
        [True] if collapsed else []
    )


def test_features_that_never_change_are_collapsed(recorder):
    assert len(warnings(recorder, features_of(torch.ones(60, 8), [20, 20, 20]))) == 1


def test_two_classes_need_one_direction_only(recorder):
    values = torch.randn(60, 1) * torch.ones(1, 8)
    assert warnings(recorder, features_of(values, [30, 30])) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"bias": 11.0}, True),
        ({"bias": 10.0}, True),
        ({"bias": 9.9}, False),
        ({"bias": 11.0, "temperature": 2.0}, False),
        ({"bias": 21.0, "temperature": 2.0}, True),
        ({"bias": 11.0, "evidence": "softplus"}, False),
        ({"bias": 11.0, "source": EvidenceFrom.DENSITY}, False),
    ],
)
def test_evidence_at_the_clamp(recorder, options, told):
    features = features_of(torch.randn(60, 8), [20, 20, 20])
    said = warnings(recorder, features, **{"source": EvidenceFrom.HEAD, **options})
    assert said == (
        [
            "the evidence of 100% of the training images is at its upper bound, where vacuity tells nothing apart; "
            "use --evidence-from density"
        ]
        if told
        else []
    )


@pytest.mark.parametrize(("share", "told"), [(0.05, False), (0.2, True)])
def test_a_few_images_at_the_clamp_are_fine(recorder, share, told):
    values = torch.randn(200, 4)
    values[:, 0] = torch.where(torch.arange(200) < 200 * share, 20.0, -3 * torch.rand(200))
    features = features_of(values, [70, 70, 60])
    linear = Linear(torch.eye(4)[[0, 0, 0]], torch.zeros(3))
    predictor = SimpleNamespace(head=Head(linear, "clamped_exp", 1.0), evidence_from=EvidenceFrom.HEAD)
    warn_of_weakness(predictor, features, NAMES, recorder)
    assert ["20% of the training images" in text for text in recorder.warnings if "bound" in text] == [True] * told
