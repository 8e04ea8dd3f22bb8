"""How good the predicted probabilities are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from uncertainty_loss.metrics._checks import Array, Counts, checked_counts, checked_predictions
from uncertainty_loss.metrics.bootstrap import in_chunks
from uncertainty_loss.metrics.calibration_error import AdaptiveBins, ClasswiseBins, ConfidenceBins


def accuracy(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Share of the images whose most probable class is the right one, in [0, 1].

    Example:
        >>> accuracy([[0.9, 0.1], [0.2, 0.8]], [0, 0])
        0.5
    """
    p, y = checked_predictions(probabilities, labels)
    return float(np.mean(p.argmax(1) == y))


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log p of the right class, in nats; a probability of 0 counts as the smallest double.

    Example:
        >>> round(negative_log_likelihood([[0.5, 0.5]], [1]), 4)
        0.6931
    """
    return float(_surprise(*checked_predictions(probabilities, labels)).mean())


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean over images of sum_k (p_k - y_k)^2, in [0, 2] (Brier 1950, the form for several classes).

    Example:
        >>> brier_score([[1.0, 0.0], [1.0, 0.0]], [0, 1])
        1.0
    """
    return float(_squared_error(*checked_predictions(probabilities, labels)).mean())


def classification_replicates(probabilities: ArrayLike, labels: ArrayLike, counts: Counts) -> dict[str, Array]:
    """The figures above and the calibration errors for many resamples at once.

    Args:
        probabilities: Shape (N, K).
        labels: Shape (N,).
        counts: From `resample_counts`, shape (N, R).

    Returns:
        accuracy, nll, brier, ece, adaptive_ece, classwise_ece, each of shape (R,).

    Example:
        >>> from uncertainty_loss.metrics import interval, resample_counts
        >>> figures = classification_replicates([[0.9, 0.1], [0.2, 0.8]], [0, 0], resample_counts(2))
        >>> interval(figures["accuracy"])
        Interval(value=0.5, low=0.0, high=1.0)
    """
    p, y = checked_predictions(probabilities, labels)
    means = np.stack([p.argmax(1) == y, _surprise(p, y), _squared_error(p, y)])
    confidence, adaptive, classwise = ConfidenceBins(p, y), AdaptiveBins(p, y), ClasswiseBins(p, y)

    def figures(drawn: Counts) -> dict[str, Array]:
        weights = drawn.astype(np.float64)
        right, nll, brier = means @ weights / len(y)
        return {
            "accuracy": right,
            "nll": nll,
            "brier": brier,
            "ece": confidence.error(weights),
            "adaptive_ece": adaptive.error(weights),
            "classwise_ece": classwise.error(weights),
        }

    return in_chunks(figures, checked_counts(counts, len(y)))


def _surprise(p: Array, y: np.ndarray) -> Array:
    surprise: Array = -np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).tiny))
    return surprise


def _squared_error(p: Array, y: np.ndarray) -> Array:
    error: Array = np.square(p).sum(1) - 2 * p[np.arange(len(y)), y] + 1
    return error
