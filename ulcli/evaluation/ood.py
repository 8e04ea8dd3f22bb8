"""Sets of images with everything that is computed for them, and how well each score tells two sets apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import uncertainty_loss as ul
from ulcli.evaluation.estimates import Estimate, Resamples, against, classification, selective
from ulcli.model.baselines import FeatureBaselines, Neighbours, logit_scores
from ulcli.model.flags import Flags
from ulcli.model.measures import ood_scores
from ulcli.model.predictor import Predictions, Predictor
from ulcli.network.features import Features, LabelledFeatures
from ulcli.network.linear import Linear

OWN = "vacuity"  # the score that stands for the model where one number is asked for
HEAD_VACUITY = "head_vacuity"  # of the evidential head alone, whatever the evidence comes from
NEAR, FAR = "near", "far"  # near: classes that were held out from training; far: all other OOD sets

Scores = dict[str, dict[str, Estimate]]  # score -> metric -> estimate


@dataclass(frozen=True)
class OODResult:
    """How well each score tells one OOD set from the data."""

    kind: str  # NEAR or FAR
    n: int
    scores: Scores


@dataclass(frozen=True)
class ShiftResult:
    """What becomes of the predictions for corrupted copies of the data."""

    n: int
    metrics: dict[str, Estimate]
    scores: Scores


@dataclass(frozen=True)
class ScoredSet:
    """What the model and the baselines make of a set of images, and the resamples that its intervals come from."""

    features: Features
    predictions: Predictions
    logits: Tensor  # (n, K), of the cross-entropy classifier
    ood_scores: dict[str, NDArray[np.float64]]  # of measures and baselines, all higher for OOD images
    draws: Resamples

    @classmethod
    def of(
        cls,
        features: Features,
        predictor: Predictor,
        baselines: Sequence[FeatureBaselines | Neighbours],
        draws: Resamples,
    ) -> ScoredSet:
        """Compute predictions and scores, once for all figures."""
        predictions, logits = predictor(features.values, features.embedding), predictor.baseline(features.values)
        scores = ood_scores(predictions)
        # A loss without a prior has no vacuity, but no less an order by the amount of evidence.
        scores[HEAD_VACUITY] = ul.vacuity(predictions.head_alpha, prior=predictor.head.prior or 1.0).numpy()
        scores |= logit_scores(logits)
        for each in baselines:
            scores |= each.scores(features.values, logits)
        return cls(features, predictions, logits, scores, draws)

    def __len__(self) -> int:
        return len(self.features)

    def metrics(self, flags: Flags, labels: Tensor) -> dict[str, Estimate]:
        """Compute every metric of the model's predictions, given the labels (n,)."""
        reasons = flags.reasons(self.predictions.alpha, self.predictions.vacuity)
        flagged = np.array([reason is not None for reason in reasons], np.float64)
        return {
            **self._metrics_of(ul.expected_probability(self.predictions.alpha), labels),
            "flag_rate": Estimate.of(flagged @ self.draws.counts / len(flagged)),
        }

    def baseline_metrics(self, labels: Tensor) -> dict[str, Estimate]:
        """Compute the same for the cross-entropy classifier, with its maximum probability as confidence."""
        return self._metrics_of(self.logits.softmax(1), labels)

    def _metrics_of(self, probabilities: Tensor, labels: Tensor) -> dict[str, Estimate]:
        p, y = probabilities.numpy(), labels.numpy()
        return {**classification(p, y, self.draws), **selective(p, y, self.draws)}

    def told_from(self, other: ScoredSet) -> tuple[Scores, dict[str, NDArray[np.float64]]]:
        """Measure how well each score tells this set, which is out of distribution, from the other.

        Also returns the AUROC of each score for every resample, to compare scores by.
        """
        return against(other.ood_scores, self.ood_scores, other.draws, self.draws)


def feature_baselines(
    features: LabelledFeatures, classifier: Linear, fitted: FeatureBaselines | None
) -> list[FeatureBaselines | Neighbours]:
    """Fit the baselines that need features of the training images, but for those that the model file has."""
    if fitted is None:
        fitted = FeatureBaselines.fit(features.values, features.labels, classifier)
    return [fitted, Neighbours(features.values)]


def worst_auroc(results: Iterable[OODResult]) -> float:
    """Return the lowest AUROC of the model's own score over the OOD sets; NaN without a set."""
    return min((result.scores[OWN]["auroc"].value for result in results), default=math.nan)
