"""How good predictions and their uncertainty are: figures for people, computed once, in NumPy.

Conventions: `probabilities` has shape (N, K) with rows that sum to one, `labels` (N,) with class indices. A higher
`confidence` and a lower `uncertainty` mean more trust. In out-of-distribution detection a higher score means stranger.
A figure that the data leave undefined, such as an AUROC without a single wrong prediction, is NaN.

Every figure is a plain function from arrays to a float. For intervals there is one function a family that gives all
its figures for many bootstrap resamples at once (`classification_replicates`, `selective_replicates`,
`ood_replicates`); `interval` turns what it returns into bounds:

    counts = resample_counts(len(labels), resamples=1000, seed=0)
    figures = selective_replicates(confidence, correct, counts)
    value, low, high = interval(figures["aurc"])

Scores that are given the same counts see the same resamples, so their difference may be bounded too:
`interval(figures["aurc"] - others["aurc"])` leaves zero out where one is better than the other beyond chance.
"""

from uncertainty_loss.metrics.bootstrap import Interval, bootstrap_interval, interval, resample_counts
from uncertainty_loss.metrics.calibration_error import (
    adaptive_calibration_error,
    classwise_calibration_error,
    expected_calibration_error,
)
from uncertainty_loss.metrics.classification import (
    accuracy,
    brier_score,
    classification_replicates,
    negative_log_likelihood,
)
from uncertainty_loss.metrics.ood import ood_replicates, ood_scores
from uncertainty_loss.metrics.selective import (
    accuracy_at_coverage,
    augrc,
    aurc,
    excess_aurc,
    misclassification_auroc,
    selective_replicates,
)

__all__ = [
    "Interval",
    "accuracy",
    "accuracy_at_coverage",
    "adaptive_calibration_error",
    "augrc",
    "aurc",
    "bootstrap_interval",
    "brier_score",
    "classification_replicates",
    "classwise_calibration_error",
    "excess_aurc",
    "expected_calibration_error",
    "interval",
    "misclassification_auroc",
    "negative_log_likelihood",
    "ood_replicates",
    "ood_scores",
    "resample_counts",
    "selective_replicates",
]
