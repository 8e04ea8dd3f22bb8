"""The registry of metrics: their names, what they mean, and which direction is better.

`--require`, help, table headings and the documents take names from here. It imports no torch, so that help pages stay
quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class Family(Enum):
    """What a metric is computed from; one function gives all metrics of a family."""

    CLASSIFICATION = "the predicted probabilities"
    SELECTIVE = "the confidence that ranks right before wrong predictions"
    FLAGS = "the model's flags"
    OOD = "one score of one OOD set beside the data"
    OOD_OVERALL = "the model's own score over all OOD sets"


@dataclass(frozen=True)
class Metric:
    """One metric, as people and `--require` know it."""

    name: str
    family: Family
    better: Literal["higher", "lower"]
    meaning: str
    heading: str = ""  # of its column, where it has one
    lifted: bool = False  # whether chance lifts it, and a bootstrap lifts it once more


_CLASSIFICATION, _SELECTIVE, _OOD = Family.CLASSIFICATION, Family.SELECTIVE, Family.OOD

METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", _CLASSIFICATION, "higher", "share of correct predictions"),
        Metric("nll", _CLASSIFICATION, "lower", "negative log-likelihood of the true class, nats"),
        Metric("brier", _CLASSIFICATION, "lower", "Brier score, 0 to 2"),
        Metric("ece", _CLASSIFICATION, "lower", "expected calibration error, 15 equal-width bins", lifted=True),
        Metric("adaptive_ece", _CLASSIFICATION, "lower", "the same with equal-mass bins", lifted=True),
        Metric(
            "classwise_ece", _CLASSIFICATION, "lower", "the same for each class's probability, averaged", lifted=True
        ),
        Metric("aurc", _SELECTIVE, "lower", "area under the risk-coverage curve"),
        Metric("excess_aurc", _SELECTIVE, "lower", "AURC minus that of the best possible order"),
        Metric("augrc", _SELECTIVE, "lower", "area under the generalized risk-coverage curve"),
        Metric("accuracy_at_80", _SELECTIVE, "higher", "accuracy of the 80% most confident predictions"),
        Metric("accuracy_at_90", _SELECTIVE, "higher", "accuracy of the 90% most confident predictions"),
        Metric("accuracy_at_95", _SELECTIVE, "higher", "accuracy of the 95% most confident predictions"),
        Metric(
            "misclassification_auroc",
            _SELECTIVE,
            "higher",
            "probability that a wrong prediction is less confident than a right one",
        ),
        Metric("flag_rate", Family.FLAGS, "lower", "share of flagged images"),
        Metric("auroc", _OOD, "higher", "probability that an OOD image scores higher than one of the data", "AUROC"),
        Metric("aupr_in", _OOD, "higher", "average precision with the data as positives", "AUPR in"),
        Metric("aupr_out", _OOD, "higher", "average precision with the OOD images as positives", "AUPR out"),
        Metric(
            "fpr95",
            _OOD,
            "lower",
            "share of the data at or above the score that catches 95% of the OOD images",
            "FPR95",
        ),
        Metric(
            "fpr95_in",
            _OOD,
            "lower",
            "share of the OOD images at or below the score that keeps 95% of the data",
            "FPR95 in",
        ),
        Metric("ood_auroc", Family.OOD_OVERALL, "higher", "lowest AUROC of vacuity over the OOD sets"),
    )
}
# What is one number for a whole evaluation. The others are a number for each score and each set.
REQUIREMENTS = tuple(name for name, metric in METRICS.items() if metric.family is not Family.OOD)


def of_family(family: Family) -> list[Metric]:
    """Return the metrics of one family, in the order in which they are shown."""
    return [metric for metric in METRICS.values() if metric.family is family]
