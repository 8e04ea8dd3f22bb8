"""The figures that a row shows, from Dirichlet parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ulcli.model.predictor import Predictions

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Measure:
    """One figure of a prediction: what it is called, what it means, and which way it points."""

    name: str
    meaning: str
    compute: Callable[[Predictions], Tensor]  # one value an image
    reason: str  # why an image is flagged when this figure is what flags it
    sign: int = 1  # -1 where a higher value means more trust


def _library(function: str, *, prior: bool = False) -> Callable[[Predictions], Tensor]:
    """A measure of `uncertainty_loss`, which is imported when it is first used."""

    def compute(predictions: Predictions) -> Tensor:
        import uncertainty_loss as ul

        options = {"prior": predictions.prior} if prior else {}
        result: Tensor = getattr(ul, function)(predictions.alpha, **options)
        return result

    return compute


def _confidence(predictions: Predictions) -> Tensor:
    alpha = predictions.alpha
    return (alpha / alpha.sum(1, keepdim=True)).amax(1)


def _typicality(predictions: Predictions) -> Tensor:
    return predictions.typicality


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("confidence", "probability of the predicted class", _confidence, "ambiguous", sign=-1),
        Measure("vacuity", "lack of evidence, 1 = none", _library("vacuity", prior=True), "unfamiliar"),
        Measure("dissonance", "conflict in the evidence", _library("dissonance", prior=True), "ambiguous"),
        Measure("predictive_entropy", "total uncertainty, nats", _library("predictive_entropy"), "ambiguous"),
        Measure("expected_entropy", "uncertainty in the data, nats", _library("expected_entropy"), "ambiguous"),
        Measure(
            "mutual_information",
            "uncertainty of the model, nats",
            _library("mutual_information"),
            "unfamiliar",
        ),
        Measure(
            "differential_entropy",
            "spread of the Dirichlet, nats",
            _library("differential_entropy"),
            "unfamiliar",
        ),
        Measure("typicality", "share of familiar images at least as strange", _typicality, "unfamiliar", sign=-1),
    )
}


def measure_all(predictions: Predictions) -> dict[str, np.ndarray]:
    """Every measure of a batch, each as a float64 array of shape (N,)."""
    return {name: measure.compute(predictions).double().numpy() for name, measure in MEASURES.items()}
