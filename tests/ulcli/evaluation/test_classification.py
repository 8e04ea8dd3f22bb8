"""Figures of a classifier from tensors."""

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from ulcli.evaluation.classification import classification_metrics


def test_against_scikit_learn():
    p = torch.rand(200, 3, dtype=torch.float64).softmax(1)
    y = torch.randint(3, (200,))
    figures = classification_metrics(p, y)
    assert list(figures) == ["accuracy", "nll", "brier", "ece", "adaptive_ece", "classwise_ece"]
    assert figures["accuracy"] == accuracy_score(y, p.argmax(1))
    assert figures["nll"] == pytest.approx(log_loss(y, p.numpy()))
    one_hot = torch.eye(3)[y]
    assert figures["brier"] == pytest.approx(((p - one_hot) ** 2).sum(1).mean().item())


def test_the_calibration_errors_of_one_confidence():
    # Everything in one bin: .8 is claimed, .6 is right; the other class .2 and .4.
    figures = classification_metrics(torch.tensor([[0.8, 0.2]] * 10), torch.tensor([0] * 6 + [1] * 4))
    for name in ("ece", "adaptive_ece", "classwise_ece"):
        assert figures[name] == pytest.approx(0.2)
