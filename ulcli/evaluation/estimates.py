"""Figures with the intervals that they lie in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ulcli.evaluation.figures import METRICS
from uncertainty_loss import metrics


@dataclass(frozen=True)
class Estimate:
    """A figure, and the interval that it lies in with 95% confidence where that was asked for and is defined."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, replicates: NDArray[np.float64], *, centred: bool = False) -> Estimate:
        """Estimate from a figure for the images themselves, and for each resample of them if there are any."""
        if len(replicates) == 1:
            return cls(float(replicates[0]))
        value, low, high = metrics.interval(replicates, centred=centred)
        return cls(value, None if np.isnan(low) else low, None if np.isnan(high) else high)


@dataclass(frozen=True)
class Resamples:
    """How often each image of a set is drawn in each resample; the first column is the set itself."""

    counts: NDArray[np.integer[Any]]  # (n, 1 + resamples)

    @classmethod
    def of(cls, n: int, resamples: int, seed: Sequence[int]) -> Resamples:
        """Draw for a set of n images; none but the set itself where no resamples are asked for."""
        if not resamples:
            return cls(np.ones((n, 1), np.uint8))
        return cls(metrics.resample_counts(n, resamples, seed))


def classification(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], draws: Resamples
) -> dict[str, Estimate]:
    """Estimate accuracy, NLL, Brier score and the calibration errors of predictions (N, K)."""
    replicates = metrics.classification_replicates(probabilities, labels, draws.counts)
    return {name: _of_lifted(each) if METRICS[name].lifted else Estimate.of(each) for name, each in replicates.items()}


def _of_lifted(replicates: NDArray[np.float64]) -> Estimate:
    """Estimate what chance lifts and a bootstrap lifts once more, and what is never below 0."""
    estimate = Estimate.of(replicates, centred=True)
    return estimate if estimate.low is None else replace(estimate, low=max(estimate.low, 0.0))


def selective(probabilities: NDArray[np.float64], labels: NDArray[np.int64], draws: Resamples) -> dict[str, Estimate]:
    """Estimate how well the confidence ranks right before wrong predictions."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    replicates = metrics.selective_replicates(confidence, right, draws.counts)
    return {name: Estimate.of(each) for name, each in replicates.items()}


def against(
    familiar: Mapping[str, NDArray[np.float64]],
    strange: Mapping[str, NDArray[np.float64]],
    familiar_draws: Resamples,
    strange_draws: Resamples,
) -> tuple[dict[str, dict[str, Estimate]], dict[str, NDArray[np.float64]]]:
    """Estimate how well each score tells two sets apart; also return its AUROC for every resample."""
    estimates: dict[str, dict[str, Estimate]] = {}
    aurocs: dict[str, NDArray[np.float64]] = {}
    for name, values in familiar.items():
        replicates = metrics.ood_replicates(values, strange[name], familiar_draws.counts, strange_draws.counts)
        estimates[name] = {figure: Estimate.of(each) for figure, each in replicates.items()}
        aurocs[name] = replicates["auroc"]
    return estimates, aurocs
