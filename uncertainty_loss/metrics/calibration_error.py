"""Whether predictions that claim 80% are right in 80% of the cases.

Each error groups the images into bins and adds up |sum of (right - claimed)| over them. A class here holds the
bins of one set of predictions; `error` takes how often each image is drawn, (N, R), and gives the error of every
resample, (R,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uncertainty_loss.metrics._checks import Array, checked_predictions
from uncertainty_loss.metrics._ranking import Ranking, share_reached


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean over images of |accuracy - confidence| of the bin that the image's confidence falls into, in [0, 1].

    Equal-width bins (a, b], the first closed at 0, so that confidence 1 is in the last one.

    Example:
        >>> round(expected_calibration_error([[0.8, 0.2]] * 10, [0] * 6 + [1] * 4), 4)
        0.2

    Source: Naeini et al. 2015; Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599.
    """
    p, y = checked_predictions(probabilities, labels)
    return _of_the_images(ConfidenceBins(p, y, bins), len(y))


def adaptive_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """The expected calibration error over bins of equal mass: each holds N / bins images, by rising confidence.

    Equal-width bins say little about a good classifier, most of whose confidences share the last one. A bin's border
    may divide an image, or several of one confidence, between two bins: each gets its share, so that the error does
    not depend on the order of the images.

    Example:
        >>> p = [[0.6, 0.4]] * 2 + [[0.9, 0.1]] * 2
        >>> round(adaptive_calibration_error(p, [0, 1, 0, 0], bins=2), 4)
        0.1

    Source: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural language processing
    models", arXiv 1508.05154 (equal-mass bins); Mukhoti et al., arXiv 2002.09437 (under this name, for confidences).
    """
    p, y = checked_predictions(probabilities, labels)
    return _of_the_images(AdaptiveBins(p, y, bins), len(y))


def classwise_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """The calibration error of each class's probability, in equal-width bins, averaged over the K classes.

    It sees what the top class's confidence hides, such as a class that is always predicted too cautiously. With many
    classes it is small by its nature (most probabilities are near 0), so compare it only between models for one K.

    Example:
        >>> round(classwise_calibration_error([[0.8, 0.2]] * 10, [0] * 6 + [1] * 4), 4)
        0.2

    Source: Nixon et al., "Measuring Calibration in Deep Learning", arXiv 1904.01685 (static calibration error).
    """
    p, y = checked_predictions(probabilities, labels)
    return _of_the_images(ClasswiseBins(p, y, bins), len(y))


class ConfidenceBins:
    """Equal-width bins of the most probable class's probability."""

    def __init__(self, p: Array, y: NDArray[np.int64], bins: int = 15) -> None:
        confidence = p.max(1)
        gap = (p.argmax(1) == y) - confidence
        self._gaps = np.zeros((bins, len(y)))  # an image's gap stands in its bin's row
        self._gaps[_place(confidence, bins), np.arange(len(y))] = gap

    def error(self, weights: Array) -> Array:
        return _mean_size(self._gaps @ weights, len(weights))


class AdaptiveBins:
    """Equal-mass bins of the most probable class's probability, cut anew in each resample."""

    def __init__(self, p: Array, y: NDArray[np.int64], bins: int = 15) -> None:
        confidence = p.max(1)
        self._ranking = Ranking(confidence)
        self._gap = ((p.argmax(1) == y) - confidence)[:, None]
        self._borders = np.linspace(0, len(y), _checked_bins(bins) + 1)

    def error(self, weights: Array) -> Array:
        below, gaps = self._ranking.cumulate(weights), self._ranking.cumulate(self._gap * weights)
        return _mean_size(np.diff(share_reached(self._borders, below, gaps), axis=0), len(weights))


class ClasswiseBins:
    """Equal-width bins of every class's probability.

    Nearly all of N K probabilities lie in the first bins when K is large; their sums are found as the rest that
    the other bins, visited one probability at a time, leave of the class's total.
    """

    def __init__(self, p: Array, y: NDArray[np.int64], bins: int = 15) -> None:
        self._gap = np.eye(p.shape[1])[y] - p
        place = _place(p, bins)
        image, k = np.nonzero(place)
        order = np.argsort(k * bins + place[image, k], kind="stable")
        self._image, k = image[order], k[order]
        bin_of = k * bins + place[self._image, k]
        self._starts = np.flatnonzero(np.diff(bin_of, prepend=-1))
        self._class_of_bin = k[self._starts]
        self._upper_gap = self._gap[self._image, k][:, None]

    def error(self, weights: Array) -> Array:
        first = self._gap.T @ weights
        pairs = len(weights) * len(first)
        if not len(self._starts):
            return _mean_size(first, pairs)
        upper = np.add.reduceat(self._upper_gap * weights[self._image], self._starts, axis=0)
        np.subtract.at(first, self._class_of_bin, upper)
        return _mean_size(first, pairs) + _mean_size(upper, pairs)


def _mean_size(gaps: Array, n: int) -> Array:
    sizes: Array = np.abs(gaps).sum(0) / n
    return sizes


def _place(probability: Array, bins: int) -> NDArray[np.int64]:
    """The equal-width bin (a, b] of each probability; 0 is in the first."""
    return np.clip(np.ceil(probability * _checked_bins(bins)).astype(np.int64) - 1, 0, bins - 1)


def _checked_bins(bins: int) -> int:
    if bins < 1:
        raise ValueError(f"expected at least one bin, got {bins}")
    return bins


def _of_the_images(bins: ConfidenceBins | AdaptiveBins | ClasswiseBins, n: int) -> float:
    return float(bins.error(np.ones((n, 1)))[0])
