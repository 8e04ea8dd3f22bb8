"""The closing word of an evaluation: the model's own score beside the best baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ulcli.evaluation.estimates import Estimate
from ulcli.evaluation.ood import OWN
from ulcli.model.baselines import BASELINES

RIVALS = ("max_probability", "entropy", "energy", *BASELINES)


@dataclass(frozen=True)
class Verdict:
    """The model's own score beside the best baseline: mean AUROC over the OOD sets."""

    own: float
    baseline: str
    best: float
    difference: Estimate

    @classmethod
    def of(cls, aurocs: Sequence[Mapping[str, NDArray[np.float64]]]) -> Verdict | None:
        """Compare the mean AUROCs, from those of every score and resample for each OOD set; None without a set.

        The best baseline is the one with the highest mean. A baseline that could not be computed is no rival.
        """
        if not aurocs:
            return None
        means = {name: np.mean([of_set[name] for of_set in aurocs], axis=0) for name in aurocs[0]}
        rivals = [name for name in RIVALS if name in means]
        best = max(rivals, key=lambda name: float(means[name][0]))
        difference = Estimate.of(means[OWN] - means[best])
        return cls(float(means[OWN][0]), best, float(means[best][0]), difference)

    def __str__(self) -> str:
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            outcome, bounds = "better than" if self.difference.value > 0 else "no better than", ""
        else:
            outcome = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
            bounds = f" [{low:+.4f}, {high:+.4f}]"
        return (
            f"flags by vacuity are {outcome} the best baseline ({self.baseline}) on this data: mean AUROC "
            f"{self.own:.4f} to {self.best:.4f}, difference {self.difference.value:+.4f}{bounds}"
        )
