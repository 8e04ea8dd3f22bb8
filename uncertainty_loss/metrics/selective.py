"""Whether the wrong predictions are the uncertain ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uncertainty_loss.metrics._checks import Array, Counts, checked_counts, checked_flags, checked_scores
from uncertainty_loss.metrics._ranking import Ranking, column_dots, share_reached
from uncertainty_loss.metrics.bootstrap import in_chunks, once


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve: mean over k of the error rate among the k most confident, in [0, 1].

    Lower is better; it falls with fewer errors as well as with a better order. Predictions of one confidence
    count as if averaged over their orders.

    Args:
        confidence: Any score that is higher for predictions to be trusted more, shape (N,).
        correct: Whether each prediction is right, shape (N,).

    Raises:
        ValueError: The shapes differ or are empty, or `confidence` has NaN.

    Example:
        >>> round(aurc([0.9, 0.8, 0.7], [True, True, False]), 4)
        0.1111

    Source: Geifman et al., "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", arXiv 1805.08206.
    """
    return float(_curve(confidence, correct).aurc()[0])


def excess_aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """AURC less that of the best order, which puts every wrong prediction last; 0 is perfect.

    Example:
        >>> excess_aurc([0.9, 0.8, 0.7], [True, True, False])
        0.0

    Source: Geifman et al., arXiv 1805.08206.
    """
    return float(_curve(confidence, correct).excess_aurc()[0])


def augrc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the generalised risk-coverage curve, in [0, 0.5]: the mean risk of an error that is let through.

    The generalised risk at coverage k / N is (errors among the k most confident) / N; AURC divides by k
    and so lets the few most confident predictions weigh most. With acc the accuracy and AUROC that of
    `misclassification_auroc`, it is acc (1 - acc) (1 - AUROC) + (1 - acc)^2 / 2.

    Example:
        >>> round(augrc([0.9, 0.8, 0.7], [True, True, False]), 4)
        0.0556

    Source: Traub et al., "Overcoming Common Flaws in the Evaluation of Selective Classification Systems", arXiv
    2407.01032.
    """
    return float(_curve(confidence, correct).augrc()[0])


def accuracy_at_coverage(confidence: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Accuracy of the most confident predictions, the share `coverage` of all, rounded up to a whole number.

    Args:
        confidence: Shape (N,).
        correct: Shape (N,).
        coverage: In (0, 1].

    Example:
        >>> accuracy_at_coverage([0.9, 0.8, 0.7, 0.6], [True, True, True, False], 0.75)
        1.0
    """
    return float(_curve(confidence, correct).accuracy_at(coverage)[0])


def misclassification_auroc(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Probability that a wrong prediction is more uncertain than a right one, ties half; NaN without one of either.

    Args:
        uncertainty: Any score that is higher for predictions to be trusted less, shape (N,).
        wrong: Whether each prediction is wrong, shape (N,).

    Example:
        >>> misclassification_auroc([0.1, 0.2, 0.9], [False, False, True])
        1.0

    Source: Hendrycks and Gimpel, arXiv 1610.02136.
    """
    u = checked_scores("uncertainty", uncertainty)
    return float(_RiskCoverage(Ranking(u), checked_flags("wrong", wrong, len(u)), once(len(u))).auroc()[0])


def selective_replicates(
    confidence: ArrayLike, correct: ArrayLike, counts: Counts, coverages: Sequence[float] = (0.8, 0.9, 0.95)
) -> dict[str, Array]:
    """The figures above for many resamples at once.

    Args:
        confidence: Shape (N,).
        correct: Shape (N,).
        counts: From `resample_counts`, shape (N, R).
        coverages: At which to take the accuracy.

    Returns:
        aurc, excess_aurc, augrc, misclassification_auroc and one accuracy_at_<percent> a coverage, each of shape (R,).

    Example:
        >>> from uncertainty_loss.metrics import resample_counts
        >>> figures = selective_replicates([0.9, 0.8, 0.7], [1, 1, 0], resample_counts(3, resamples=10))
        >>> round(figures["aurc"][0].item(), 4), figures["accuracy_at_80"].shape
        (0.1111, (11,))
    """
    c = checked_scores("confidence", confidence)
    wrong, ranking = ~checked_flags("correct", correct, len(c)), Ranking(-c)

    def figures(drawn: Counts) -> dict[str, Array]:
        curve = _RiskCoverage(ranking, wrong, drawn)
        return {
            "aurc": curve.aurc(),
            "excess_aurc": curve.excess_aurc(),
            "augrc": curve.augrc(),
            "misclassification_auroc": curve.auroc(),
            **{f"accuracy_at_{100 * coverage:g}": curve.accuracy_at(coverage) for coverage in coverages},
        }

    return in_chunks(figures, checked_counts(counts, len(c)))


class _RiskCoverage:
    """How many predictions, and how many wrong ones, are let in as the bar is lowered; one column a resample."""

    def __init__(self, uncertainty: Ranking, wrong: NDArray[np.bool_], counts: Counts) -> None:
        self.n = len(wrong)
        self.covered = uncertainty.cumulate(counts)  # (G + 1, R)
        self.errors = uncertainty.cumulate(counts * wrong[:, None])
        self.gained, self.missed = np.diff(self.covered, axis=0), np.diff(self.errors, axis=0)

    def aurc(self) -> Array:
        # Within a step the expected errors grow by r = missed / gained per prediction, so that its k's add up to
        # sum_k (errors + (k - covered) r) / k = missed + (errors - covered r) (H(covered + gained) - H(covered)).
        harmonic = _harmonic(self.n)
        reciprocals = np.diff(harmonic[self.covered.astype(np.intp)], axis=0)
        offset = self.errors[:-1] - self.covered[:-1] * self.missed / np.maximum(self.gained, 1)
        area: Array = (self.errors[-1] + column_dots(offset, reciprocals)) / self.n
        return area

    def excess_aurc(self) -> Array:
        harmonic = _harmonic(self.n)
        wrong = self.errors[-1]
        right = self.n - wrong
        best: Array = (wrong - right * (harmonic[self.n] - harmonic[right.astype(np.intp)])) / self.n
        # The best order is met only to rounding; an excess of -1e-17 would look like a defect.
        excess: Array = np.maximum(self.aurc() - best, 0)
        return excess

    def augrc(self) -> Array:
        midway = (self.errors[:-1] + self.errors[1:]) / 2
        return column_dots(self.gained, midway) / self.n**2

    def accuracy_at(self, coverage: float) -> Array:
        if not 0 < coverage <= 1:
            raise ValueError(f"expected a coverage in (0, 1], got {coverage}")
        k = np.ceil(coverage * self.n - 1e-9)  # 0.28 * 25 is a hair above 7
        accuracies: Array = 1 - share_reached(np.array([k]), self.covered, self.errors)[0] / k
        return accuracies

    def auroc(self) -> Array:
        right = self.covered - self.errors
        pairs = column_dots(self.missed, (right[:-1] + right[1:]) / 2)
        possible = self.errors[-1] * right[-1]
        share: Array = np.divide(pairs, possible, out=np.full_like(pairs, np.nan), where=possible > 0)
        return share


def _harmonic(n: int) -> Array:
    """H(0) = 0 to H(n)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])


def _curve(confidence: ArrayLike, correct: ArrayLike) -> _RiskCoverage:
    c = checked_scores("confidence", confidence)
    return _RiskCoverage(Ranking(-c), ~checked_flags("correct", correct, len(c)), once(len(c)))
