"""Guards shared by the figures: what was expected, and what came."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.integer]


def checked_predictions(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    """Probabilities (N, K) in double precision and labels (N,) in 0..K-1."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y):
        raise ValueError(f"expected probabilities (N, K) and labels (N,) with N >= 1, got {p.shape} and {y.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"expected integer labels, got {y.dtype}")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"expected labels in 0..{p.shape[1] - 1}, got {y.min()}..{y.max()}")
    return p, y.astype(np.int64)


def checked_scores(name: str, scores: ArrayLike) -> Array:
    """Scores (N,) in double precision, of at least one image and without NaN; infinities have a rank."""
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected {name} of shape (N,) with N >= 1, got {values.shape}")
    if np.isnan(values).any():
        raise ValueError(f"expected {name} without NaN")
    return values


def checked_flags(name: str, flags: ArrayLike, length: int) -> NDArray[np.bool_]:
    """Booleans (N,), also written as 0 and 1."""
    values = np.asarray(flags)
    if values.shape != (length,):
        raise ValueError(f"expected {name} of shape ({length},), got {values.shape}")
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise ValueError(f"expected {name} to be booleans, or 0 and 1")
    return values.astype(bool)


def checked_counts(counts: Counts, length: int) -> Counts:
    """Whole numbers (N, R), as `resample_counts` gives them."""
    if counts.ndim != 2 or len(counts) != length:
        raise ValueError(f"expected counts of shape ({length}, R), got {counts.shape}")
    if not np.issubdtype(counts.dtype, np.integer):
        raise TypeError(f"expected integer counts, got {counts.dtype}")
    return counts
