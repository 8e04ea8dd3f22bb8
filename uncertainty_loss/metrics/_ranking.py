"""Scores sorted once; then every resample is a matter of counting."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uncertainty_loss.metrics._checks import Array


class Ranking:
    """The distinct values of a score in ascending order, and which images have them.

    Figures that depend on ranks alone (AUROC, average precision, AURC ...) need of a resample no more than how many of
    its images lie at or below each value: a cumulative sum along the order, for many resamples side by side.
    """

    def __init__(self, scores: Array) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = scores[self._order]
        first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        self.values = ordered[first]
        # Where each value's images begin in the order, and where the last one's end.
        self._steps = np.append(np.flatnonzero(first), len(ordered))
        self._has_ties = len(self.values) < len(ordered)

    def cumulate(self, amounts: NDArray[np.generic]) -> Array:
        """Sums over the images below each value, (G + 1, R) from amounts (N, R); the last row is over all images."""
        n, width = amounts.shape
        # Whole numbers are added up twice as fast as doubles; what follows divides, so doubles they become.
        dtype = np.float64 if np.issubdtype(amounts.dtype, np.floating) else np.int32
        sums = np.zeros((n + 1, width), dtype)
        sums[1:] = amounts[self._order]
        np.cumsum(sums[1:], axis=0, out=sums[1:])
        return (sums[self._steps] if self._has_ties else sums).astype(np.float64, copy=False)


def share_reached(position: Array, below: Array, amounts: Array) -> Array:
    """What the first images of each resample amount to, (P, R), those of one value being counted in even shares.

    Args:
        position: How many images are the first, shape (P,), fractions allowed.
        below: Images up to each value, shape (G + 1, R), from `Ranking.cumulate`.
        amounts: What these amount to, shape (G + 1, R).
    """
    columns = range(below.shape[1])
    return np.stack([np.interp(position, below[:, r], amounts[:, r]) for r in columns], axis=1)


def column_dots(a: Array, b: Array) -> Array:
    """The sum of products down each column, (R,)."""
    sums: Array = np.einsum("gr,gr->r", a, b)
    return sums
