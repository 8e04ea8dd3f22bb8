"""Thresholds that keep their promise on new data."""

from __future__ import annotations

import math

from torch import Tensor


def conformal_threshold(scores: Tensor, rate: float) -> float:
    """The threshold that at most a share `rate` of new scores exceeds, on average over validation sets.

    Split conformal prediction: of n validation scores, exchangeable with the new one and not used for fitting, the
    k-th smallest with k = ceil((n + 1) (1 - rate)). The + 1 counts the new score itself; without it small
    validation sets promise too much.

    Args:
        scores: Validation scores, shape (n,), higher is stranger.
        rate: Promised share in (0, 1).

    Returns:
        The threshold; flag what is greater. Infinity (nothing is flagged) where n < (1 - rate) / rate: then no
        threshold can keep the promise.

    Raises:
        ValueError: `scores` is not one-dimensional or has NaN, or `rate` lies outside (0, 1).

    Example:
        >>> import torch
        >>> conformal_threshold(torch.arange(1.0, 100.0), rate=0.05)
        95.0
        >>> conformal_threshold(torch.arange(10.0), rate=0.05)
        inf

    Source: Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction", arXiv 2107.07511, section 1.
    """
    if scores.dim() != 1:
        raise ValueError(f"expected scores of shape (n,), got {tuple(scores.shape)}")
    if not 0 < rate < 1:
        raise ValueError(f"expected a rate in (0, 1), got {rate}")
    if scores.isnan().any():
        raise ValueError("expected scores without NaN")
    n = len(scores)
    # (1 - rate) may come out a hair above its true value, which would lift k by one: 0.7 * 10 = 7.000000000000001.
    k = math.ceil((n + 1) * (1 - rate) - 1e-9)
    return math.inf if k > n else float(scores.sort().values[k - 1])
