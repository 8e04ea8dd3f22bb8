"""Conformal prediction sets: the classes that cannot be excluded, at any coverage asked for later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import uncertainty_loss as ul
from ulcli.model.choices import SetMethod

_KEPT = 20_000  # validation scores kept at most


@dataclass(frozen=True)
class PredictionSets:
    """Validation scores of the right classes: a coverage turns them into a threshold."""

    lac: Tensor  # (n,)
    aps: Tensor  # (n,)

    @classmethod
    def fit(cls, probabilities: Tensor, labels: Tensor) -> PredictionSets:
        """Make one from validation predictions (N, K) and labels (N,)."""
        # Evenly spaced rows: they come by class.
        rows = range(0, len(labels), -(-len(labels) // _KEPT))
        p, y = probabilities[rows], labels[rows]
        return cls(ul.lac_scores(p, y), ul.aps_scores(p, y))

    def classes(self, probabilities: Tensor, coverage: float, method: SetMethod) -> Tensor:
        """Mark the classes that cannot be excluded: a mask (N, K); all where the validation data are too few."""
        predict: Callable[[Tensor, float], Tensor] = ul.lac_sets if method is SetMethod.LAC else ul.aps_sets
        scores = self.lac if method is SetMethod.LAC else self.aps
        return predict(probabilities, ul.conformal_threshold(scores, 1 - coverage))

    def state_dict(self) -> dict[str, Tensor]:
        return {"lac": self.lac, "aps": self.aps}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> PredictionSets:
        return cls(state["lac"], state["aps"])
