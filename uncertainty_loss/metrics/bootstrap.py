"""How far a figure may be off because the images are a sample: percentile bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from uncertainty_loss.metrics._checks import Array, Counts

# Entries of the matrices (images x resamples) that are worked on at a time: 2 MB in double precision, near the cache.
_CHUNK = 1 << 18
# glibc hands blocks beyond a threshold back to the system when they are freed, and the next block of the size costs a
# page fault per 4 KB: four times as long as the arithmetic here. Freeing one block just below its 32 MiB limit raises
# the threshold for good; nothing is written to it, so it takes no memory.
_JUST_BELOW_LIMIT = 31 << 20


class Interval(NamedTuple):
    """A figure, and the bounds that it lies between with the confidence asked for; NaN where undefined."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    resamples: int = 1000,
    seed: int | Sequence[int] = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of any figure: rows are drawn with replacement, the same ones from every array.

    It calls `statistic` once a resample. The figures of this package have a way that is a hundred times faster, see
    `resample_counts`; from the same seed both draw the same resamples.

    Args:
        statistic: From arrays like the given ones to a number; may return NaN for a resample.
        arrays: Arrays of one length N along their first axis.
        resamples: How many times to draw N rows.
        seed: For NumPy's default generator.
        level: Confidence in (0, 1).

    Raises:
        ValueError: The arrays differ in length or are empty, or `resamples` or `level` is out of range.

    Example:
        >>> value, low, high = bootstrap_interval(np.mean, [0.0, 1.0] * 50)
        >>> value, bool(0.35 < low < 0.45), bool(0.55 < high < 0.65)
        (0.5, True, True)

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    given = [np.asarray(array) for array in arrays]
    lengths = {len(array) for array in given}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"expected arrays of one length >= 1, got lengths {sorted(lengths)}")
    draws = _draws(lengths.pop(), resamples, seed)
    figures = [statistic(*given), *(statistic(*(array[rows] for array in given)) for rows in draws)]
    return interval(np.array(figures, np.float64), level)


def resample_counts(n: int, resamples: int = 1000, seed: int | Sequence[int] = 0) -> Counts:
    """How often each of n images is drawn in each resample: what the fast bootstrap works on.

    Draw once per set of images and pass the same counts for every score of it: that saves time, and makes the scores
    comparable resample by resample. Give sets that are compared seeds of their own, such as `(seed, position)`.

    Returns:
        Counts of shape (n, 1 + resamples). The first column is 1 throughout: the images themselves, so that the first
        of the figures computed from the counts is the figure itself. The other columns sum to n.

    Raises:
        ValueError: n or resamples is less than 1.

    Example:
        >>> counts = resample_counts(4, resamples=2, seed=0)
        >>> counts.shape, counts.sum(0).tolist()
        ((4, 3), [4, 4, 4])
    """
    # One byte does: the chance that an image is drawn 256 times in n draws is below 1 / 256!.
    counts = np.ones((n, 1 + resamples), np.uint8)
    for column, rows in enumerate(_draws(n, resamples, seed), start=1):
        counts[:, column] = np.bincount(rows, minlength=n)
    return counts


def interval(figures: ArrayLike, level: float = 0.95, *, centred: bool = False) -> Interval:
    """The bounds between which the share `level` of the resampled figures lies, by percentiles.

    Args:
        figures: Shape (1 + resamples,), the figure itself first. Resamples without a figure (NaN) are left out.
        level: Confidence in (0, 1).
        centred: Shift the resampled figures so that their mean is the figure itself. For calibration errors: chance
            lifts them, and resampling does so a second time, so that the plain interval lies too high and may leave
            the figure out. The shifted one bounds what such an error is on average for samples of this size.

    Example:
        >>> interval([2.0, 1.0, 2.0, 3.0], level=0.5)
        Interval(value=2.0, low=1.5, high=2.5)
        >>> interval([2.0, 3.0, 4.0, 5.0], level=0.5, centred=True)
        Interval(value=2.0, low=1.5, high=2.5)
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a level in (0, 1), got {level}")
    values = np.asarray(figures, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"expected the figure and at least one resample of it, got shape {values.shape}")
    value, resampled = float(values[0]), values[1:]
    defined = resampled[~np.isnan(resampled)]
    if math.isnan(value) or not len(defined):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    if centred:
        shift = value - defined.mean()
        low, high = low + shift, high + shift
    return Interval(value, float(low), float(high))


def in_chunks(figures_of: Callable[..., dict[str, Array]], *counts: Counts) -> dict[str, Array]:
    """Call a function with a few columns of the counts at a time, and join the figures that it returns."""
    widths = {columns.shape[1] for columns in counts}
    if len(widths) != 1:
        raise ValueError(f"expected counts of one number of resamples, got {sorted(widths)}")
    width = widths.pop()
    np.empty(_JUST_BELOW_LIMIT, np.uint8)
    step = max(8, _CHUNK // max(len(columns) for columns in counts))
    parts = [figures_of(*(columns[:, start : start + step] for columns in counts)) for start in range(0, width, step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def once(n: int) -> Counts:
    """The counts of the images themselves, each there once."""
    return np.ones((n, 1), np.uint8)


def _draws(n: int, resamples: int, seed: int | Sequence[int]) -> Iterator[Counts]:
    if n < 1 or resamples < 1:
        raise ValueError(f"expected at least one image and one resample, got {n} and {resamples}")
    random = np.random.default_rng(seed)
    return (random.integers(n, size=n) for _ in range(resamples))
