"""The figures by which classifiers are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def classification_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, NLL, Brier score and the calibration errors of predictions (N, K) for labels (N,)."""
    from uncertainty_loss import metrics

    p, y = probabilities.numpy(), labels.numpy()
    return {
        "accuracy": metrics.accuracy(p, y),
        "nll": metrics.negative_log_likelihood(p, y),
        "brier": metrics.brier_score(p, y),
        "ece": metrics.expected_calibration_error(p, y),
        "adaptive_ece": metrics.adaptive_calibration_error(p, y),
        "classwise_ece": metrics.classwise_calibration_error(p, y),
    }
