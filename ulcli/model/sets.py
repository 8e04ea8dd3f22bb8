"""Conformal prediction sets: the classes that cannot be excluded, at any coverage asked for later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ulcli.model.choices import SetMethod

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = 20_000  # validation scores kept at most


@dataclass(frozen=True)
class PredictionSets:
    """Validation scores of the right classes: a coverage turns them into a threshold."""

    lac: Tensor  # (n,)
    aps: Tensor  # (n,)

    @classmethod
    def fit(cls, probabilities: Tensor, labels: Tensor) -> PredictionSets:
        """From validation predictions (N, K) and labels (N,)."""
        import uncertainty_loss as ul

        # Evenly spaced rows: they come by class.
        rows = range(0, len(labels), -(-len(labels) // _KEPT))
        p, y = probabilities[rows], labels[rows]
        return cls(ul.lac_scores(p, y), ul.aps_scores(p, y))

    def classes(self, probabilities: Tensor, coverage: float, method: SetMethod) -> Tensor:
        """Which classes cannot be excluded, as a mask (N, K); all of them where the validation data are too few."""
        import uncertainty_loss as ul

        predict: Callable[[Tensor, float], Tensor] = ul.lac_sets if method is SetMethod.LAC else ul.aps_sets
        scores = self.lac if method is SetMethod.LAC else self.aps
        return predict(probabilities, ul.conformal_threshold(scores, 1 - coverage))

    def state_dict(self) -> dict[str, Tensor]:
        return {"lac": self.lac, "aps": self.aps}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> PredictionSets:
        return cls(state["lac"], state["aps"])
