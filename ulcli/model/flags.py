"""Which predictions not to trust, and why: thresholds from validation data, with what they promise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

import uncertainty_loss as ul
from ulcli.model.predictor import Predictions
from ulcli.reporting import Reporter
from ulcli.rows import AMBIGUOUS, UNFAMILIAR

# A threshold is the value of one validation image; scored in another batch it may come out a hair higher.
_SLACK = 1 + 1e-6


@dataclass(frozen=True)
class Flags:
    """Thresholds of a model; an image above one is flagged."""

    rate: float  # share of familiar images that may be flagged as unfamiliar
    vacuity: float  # infinite where the validation data are too few for the promise
    target_accuracy: float | None = None  # what the predictions without a flag are to reach
    doubt: float | None = None  # threshold of 1 - confidence; None where nothing was asked or nothing can be promised

    @classmethod
    def fit(
        cls,
        predictions: Predictions,
        labels: Tensor,
        *,
        rate: float,
        target_accuracy: float | None,
        reporter: Reporter,
    ) -> Flags:
        """Choose thresholds that keep their promise on new data of the validation kind; warn where they cannot."""
        vacuity = predictions.vacuity
        threshold = ul.conformal_threshold(vacuity, rate)
        if math.isinf(threshold):
            reporter.warn(
                f"{len(labels)} validation images are too few for --flag-rate {rate:g}: nothing will be flagged; "
                f"give {ul.conformal_sample_size(rate)} or more, or a higher rate"
            )
        if target_accuracy is None:
            return cls(rate, threshold)
        familiar = vacuity <= threshold
        doubt, right = doubts(predictions.alpha)[familiar], (predictions.alpha.argmax(1) == labels)[familiar]
        bound = ul.selective_threshold(doubt, right, target_accuracy)
        if bound is None:
            reporter.warn(
                f"--target-accuracy {target_accuracy:g} cannot be promised: the validation images do not bear it out "
                f"with 95% confidence ({ul.selective_sample_size(target_accuracy)} of them, all right, would be the "
                f"least; {int(right.sum()):,} of {len(right):,} familiar ones are right)"
            )
        return cls(rate, threshold, target_accuracy, bound)

    def reasons(self, alpha: Tensor, vacuity: Tensor) -> list[str | None]:
        """Say why each image is flagged, or None; unfamiliar goes before ambiguous."""
        unfamiliar = self.unfamiliar(vacuity).tolist()
        bound = math.inf if self.doubt is None else self.doubt
        ambiguous = (doubts(alpha) > bound * _SLACK).tolist()
        return [
            UNFAMILIAR if strange else AMBIGUOUS if unclear else None
            for strange, unclear in zip(unfamiliar, ambiguous, strict=True)
        ]

    def unfamiliar(self, vacuity: Tensor) -> Tensor:
        """Mark the images that are too unlike the training images: a mask (N,)."""
        return vacuity > self.vacuity * _SLACK

    def __str__(self) -> str:
        parts = [f"vacuity>{self.vacuity:.4g}"] if math.isfinite(self.vacuity) else []
        if self.doubt is not None and math.isfinite(self.doubt):
            parts.append(f"confidence<{1 - self.doubt:.4g}")
        return " or ".join(parts) or "no threshold"


def doubts(alpha: Tensor) -> Tensor:
    """1 - confidence, summed from the other classes: near certainty the difference would lose its digits."""
    top = alpha.amax(1, keepdim=True)
    rest = alpha.sort(1).values[:, :-1].sum(1)
    return rest / (rest + top[:, 0])
