"""The figures of a prediction, computed from its Dirichlet parameters: one function for each `Measure` of a row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

import uncertainty_loss as ul
from ulcli.model.predictor import Predictions
from ulcli.rows import MEASURES


def _confidence(predictions: Predictions) -> Tensor:
    alpha = predictions.alpha
    return (alpha / alpha.sum(1, keepdim=True)).amax(1)


# Name of the measure -> function from a batch to one value an image.
FUNCTIONS: dict[str, Callable[[Predictions], Tensor]] = {
    "confidence": _confidence,
    "vacuity": lambda batch: batch.vacuity,
    "dissonance": lambda batch: ul.dissonance(batch.alpha, prior=batch.prior),
    "predictive_entropy": lambda batch: ul.predictive_entropy(batch.alpha),
    "expected_entropy": lambda batch: ul.expected_entropy(batch.alpha),
    "mutual_information": lambda batch: ul.mutual_information(batch.alpha),
    "differential_entropy": lambda batch: ul.differential_entropy(batch.alpha),
    "typicality": lambda batch: batch.typicality,
}


def measure_all(predictions: Predictions) -> dict[str, np.ndarray]:
    """Every measure of a batch, each as a float64 array of shape (N,)."""
    return {name: _values(name, predictions) for name in MEASURES}


def ood_scores(predictions: Predictions) -> dict[str, np.ndarray]:
    """The measures that tell OOD images apart, turned so that higher means further out; float64, shape (N,)."""
    return {
        name: measure.ood_sign * _values(name, predictions)
        for name, measure in MEASURES.items()
        if measure.ood_sign is not None
    }


def _values(name: str, predictions: Predictions) -> np.ndarray:
    return FUNCTIONS[name](predictions).double().numpy()
