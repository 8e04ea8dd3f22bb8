"""How well a score tells strange images from familiar ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uncertainty_loss.metrics._checks import Array, Counts, checked_counts, checked_scores
from uncertainty_loss.metrics._ranking import Ranking, column_dots
from uncertainty_loss.metrics.bootstrap import in_chunks, once


def ood_scores(familiar: ArrayLike, strange: ArrayLike) -> dict[str, float]:
    """How well a score tells strange images from familiar ones.

    Args:
        familiar: Scores of images of the training kind, shape (n,).
        strange: Scores of images of another kind, shape (m,); these should be higher.

    Returns:
        auroc: probability that a strange image scores higher than a familiar one, ties half.
        aupr_in, aupr_out: average precision with the familiar, the strange images as positives; both depend on
            n : m, so compare them only between scores of the same images.
        fpr95: share of familiar images at or above the first threshold that catches 95% of the strange ones
            (strange = positive).
        fpr95_in: share of strange images at or below the first threshold that keeps 95% of the familiar ones
            (familiar = positive, as OpenOOD and most papers have it).

    Raises:
        ValueError: Either is empty or has NaN.

    Example:
        >>> ood_scores([0.1, 0.2, 0.3], [0.8, 0.9])["auroc"]
        1.0
    """
    low, high = checked_scores("familiar scores", familiar), checked_scores("strange scores", strange)
    figures = ood_replicates(low, high, once(len(low)), once(len(high)))
    return {name: float(values[0]) for name, values in figures.items()}


def ood_replicates(
    familiar: ArrayLike, strange: ArrayLike, familiar_counts: Counts, strange_counts: Counts
) -> dict[str, Array]:
    """The figures above for many resamples at once; familiar and strange images are drawn separately.

    Args:
        familiar: Shape (n,).
        strange: Shape (m,).
        familiar_counts: From `resample_counts`, shape (n, R).
        strange_counts: The same, with a seed of its own, shape (m, R).

    Returns:
        auroc, aupr_in, aupr_out, fpr95, fpr95_in, each of shape (R,).

    Example:
        >>> from uncertainty_loss.metrics import interval, resample_counts
        >>> draws = resample_counts(3, seed=(0, 0)), resample_counts(2, seed=(0, 1))
        >>> interval(ood_replicates([0.1, 0.2, 0.3], [0.8, 0.9], *draws)["auroc"])
        Interval(value=1.0, low=1.0, high=1.0)
    """
    low, high = checked_scores("familiar scores", familiar), checked_scores("strange scores", strange)
    pair = _Pair(Ranking(low), Ranking(high))
    return in_chunks(pair.figures, checked_counts(familiar_counts, len(low)), checked_counts(strange_counts, len(high)))


class _Pair:
    """Where the values of one ranking lie among those of the other, which no resample changes."""

    def __init__(self, familiar: Ranking, strange: Ranking) -> None:
        self._familiar, self._strange = familiar, strange
        self._familiar_below = np.searchsorted(familiar.values, strange.values, "left")
        self._familiar_upto = np.searchsorted(familiar.values, strange.values, "right")
        self._strange_upto = np.searchsorted(strange.values, familiar.values, "right")

    def figures(self, familiar_counts: Counts, strange_counts: Counts) -> dict[str, Array]:
        n, m = len(familiar_counts), len(strange_counts)
        familiar = self._familiar.cumulate(familiar_counts)  # (G + 1, R): images below each value
        strange = self._strange.cumulate(strange_counts)
        spared = familiar[self._familiar_below]  # familiar images below each strange value
        caught = m - strange[:-1]  # strange images at or above it
        kept = familiar[1:]  # familiar images at or below each familiar value
        missed = strange[self._strange_upto]  # strange images at or below it
        here_familiar, here_strange = np.diff(familiar, axis=0), np.diff(strange, axis=0)
        return {
            "auroc": self._auroc(familiar, spared, here_strange) / (n * m),
            "aupr_in": _average_precision(here_familiar, kept, missed) / n,
            "aupr_out": _average_precision(here_strange, caught, n - spared) / m,
            # In whole numbers, 20 k >= 19 m, for 0.95 m is rarely exact.
            "fpr95": 1 - _row(spared, (20 * caught >= 19 * m).sum(0) - 1) / n,
            "fpr95_in": _row(missed, (20 * kept < 19 * n).sum(0)) / m,
        }

    def _auroc(self, familiar: Array, spared: Array, here_strange: Array) -> Array:
        wins = column_dots(here_strange, spared)
        shared = np.flatnonzero(self._familiar_upto != self._familiar_below)
        ties = familiar[self._familiar_upto[shared]] - spared[shared]
        return wins + column_dots(here_strange[shared], ties) / 2


def _average_precision(here: Array, hits: Array, alarms: Array) -> Array:
    """Sum over values of (positives here) x hits / (hits + alarms), with the images from here on taken for positive."""
    return column_dots(here, hits / np.maximum(hits + alarms, 1))


def _row(table: Array, rows: NDArray[np.intp]) -> Array:
    """From each column the entry in its own row."""
    entries: Array = table[rows, np.arange(table.shape[1])]
    return entries
