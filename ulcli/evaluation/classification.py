"""Metrics of a classifier's probabilities as plain numbers, for tables without intervals."""

from __future__ import annotations

from torch import Tensor

from ulcli.evaluation.estimates import Resamples, classification


def classification_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Compute accuracy, NLL, Brier score and the calibration errors of predictions (N, K) for labels (N,)."""
    only_itself = Resamples.of(len(labels), 0, ())
    estimates = classification(probabilities.numpy(), labels.numpy(), only_itself)
    return {name: estimate.value for name, estimate in estimates.items()}
