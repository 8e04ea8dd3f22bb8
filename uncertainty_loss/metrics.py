"""How good predictions and their uncertainty are: figures for people, computed once, in NumPy.

Conventions: `probabilities` has shape (N, K) with rows that sum to one, `labels` (N,) with class indices. In
out-of-distribution detection the strange images are the positive class and a higher score means stranger.
scikit-learn is imported inside the functions that need it: it takes longer than the whole of this package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def accuracy(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Share of the images whose most probable class is the right one, in [0, 1].

    Example:
        >>> accuracy([[0.9, 0.1], [0.2, 0.8]], [0, 0])
        0.5
    """
    p, y = _checked(probabilities, labels)
    return float(np.mean(p.argmax(1) == y))


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of -log p of the right class, in nats; a probability of 0 counts as the smallest double.

    Example:
        >>> round(negative_log_likelihood([[0.5, 0.5]], [1]), 4)
        0.6931
    """
    p, y = _checked(probabilities, labels)
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], np.finfo(np.float64).tiny)).mean())


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean over images of sum_k (p_k - y_k)^2, in [0, 2] (Brier 1950, the form for several classes).

    Example:
        >>> brier_score([[1.0, 0.0], [1.0, 0.0]], [0, 1])
        1.0
    """
    p, y = _checked(probabilities, labels)
    return float((np.square(p).sum(1) - 2 * p[np.arange(len(y)), y] + 1).mean())


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean over images of |accuracy - confidence| of the bin that the image's confidence falls into, in [0, 1].

    Equal-width bins (a, b], the first closed at 0, so that confidence 1 is in the last one.

    Example:
        >>> round(expected_calibration_error([[0.8, 0.2]] * 10, [0] * 6 + [1] * 4), 4)
        0.2

    Source: Naeini et al. 2015; Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599.
    """
    p, y = _checked(probabilities, labels)
    confidence, right = p.max(1), p.argmax(1) == y
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(y))


def ood_scores(familiar: ArrayLike, strange: ArrayLike) -> dict[str, float]:
    """How well a score tells strange images from familiar ones.

    Args:
        familiar: Scores of images of the training kind, shape (n,).
        strange: Scores of images of another kind, shape (m,); these should be higher.

    Returns:
        auroc: probability that a strange image scores higher than a familiar one, ties half.
        aupr_in, aupr_out: average precision with the familiar, the strange images as positives; both depend on
            n : m, so compare them only between scores of the same images.
        fpr95: share of familiar images at or above the first threshold that catches 95% of the strange ones.

    Raises:
        ValueError: Either is empty or has NaN.

    Example:
        >>> ood_scores([0.1, 0.2, 0.3], [0.8, 0.9])["auroc"]
        1.0
    """
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    low, high = np.asarray(familiar, np.float64), np.asarray(strange, np.float64)
    if not (low.size and high.size and np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError("expected finite scores of at least one familiar and one strange image")
    is_strange = np.concatenate([np.zeros(len(low)), np.ones(len(high))])
    scores = np.concatenate([low, high])
    false_positive, true_positive, _ = roc_curve(is_strange, scores, drop_intermediate=False)
    return {
        "auroc": float(roc_auc_score(is_strange, scores)),
        "aupr_in": float(average_precision_score(1 - is_strange, -scores)),
        "aupr_out": float(average_precision_score(is_strange, scores)),
        "fpr95": float(false_positive[np.argmax(true_positive >= 0.95)]),
    }


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y):
        raise ValueError(f"expected probabilities (N, K) and labels (N,) with N >= 1, got {p.shape} and {y.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"expected integer labels, got {y.dtype}")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"expected labels in 0..{p.shape[1] - 1}, got {y.min()}..{y.max()}")
    return p, y.astype(np.int64)
