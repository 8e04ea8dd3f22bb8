"""Temperatures, thresholds and sets of classes that keep their promise on new data.

Everything here is fitted on validation data: of the training kind, and not used for fitting anything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_TEMPERATURES = [2.0**power for power in range(-4, 5)]
_MOST_STARTS = 10
_STEPS = 200


def fit_temperature(log_probability_at: Callable[[float], Tensor], labels: Tensor) -> float:
    """The temperature in [1/16, 16] whose probabilities have the smallest negative log-likelihood.

    One number divides all logits, or the logarithms of all evidence, so the order of the classes stays and the
    confidence gets the size that the validation accuracy bears out. The bounds matter where all validation
    predictions are right: then the likelihood grows without end as the temperature falls.

    Args:
        log_probability_at: From a temperature to log-probabilities of the validation samples, shape (N, K). With
            logits z: `lambda t: (z / t).log_softmax(1)`; with evidence exp(z) and prior 1:
            `lambda t: expected_probability(1 + (z / t).exp()).log()`. Double precision is advisable.
            To fit the confidence alone, whatever the other classes get: the columns "wrong" and "right", with
            labels 0 and 1 (arXiv 2411.02988).
        labels: Class indices, shape (N,).

    Returns:
        The temperature, to about four digits. Above 1: the predictions were too confident.

    Raises:
        ValueError: There are no samples, the shapes do not fit, or the likelihood is not finite at temperature 1.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0]] * 10)  # confidence .95, accuracy .8
        >>> labels = torch.tensor([0] * 8 + [1] * 2)
        >>> round(fit_temperature(lambda t: (logits / t).log_softmax(1), labels), 3)  # 3 / log(.8 / .2)
        2.164

    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    if labels.dim() != 1 or not len(labels):
        raise ValueError(f"expected labels of shape (N,) with N >= 1, got {tuple(labels.shape)}")

    def loss(log_temperature: float) -> float:
        log_p = log_probability_at(math.exp(log_temperature)).detach()
        if log_p.dim() != 2 or len(log_p) != len(labels):
            raise ValueError(f"expected log-probabilities ({len(labels)}, K), got {tuple(log_p.shape)}")
        value = -float(log_p.gather(1, labels[:, None]).double().mean())
        return math.inf if math.isnan(value) else value

    if not math.isfinite(loss(0.0)):
        raise ValueError("expected log-probabilities that are finite for the right classes at temperature 1")
    # The loss of a softmax has one minimum; that of evidence need not. A coarse scan first finds the right valley.
    places = [math.log(temperature) for temperature in _TEMPERATURES]
    losses = [loss(place) for place in places]
    best = min(range(len(places)), key=lambda i: (losses[i], abs(places[i])))
    around = places[max(best - 1, 0)], places[min(best + 1, len(places) - 1)]
    return math.exp(minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-5}).x)


def conformal_threshold(scores: Tensor, rate: float) -> float:
    """The threshold that at most a share `rate` of new scores exceeds, on average over validation sets.

    Split conformal prediction: of n validation scores, exchangeable with the new one and not used for fitting, the
    k-th smallest with k = ceil((n + 1) (1 - rate)). The + 1 counts the new score itself; without it small
    validation sets promise too much.

    Args:
        scores: Validation scores, shape (n,), higher is stranger.
        rate: Promised share in (0, 1).

    Returns:
        The threshold; flag what is greater. Infinity (nothing is flagged) where n < (1 - rate) / rate, which
        `conformal_sample_size` rounds up: then no threshold can keep the promise.

    Raises:
        ValueError: `scores` is not one-dimensional or has NaN, or `rate` lies outside (0, 1).

    Example:
        >>> import torch
        >>> conformal_threshold(torch.arange(1.0, 100.0), rate=0.05)
        95.0
        >>> conformal_threshold(torch.arange(10.0), rate=0.05)
        inf

    Source: Angelopoulos and Bates, "A Gentle Introduction to Conformal Prediction", arXiv 2107.07511, section 1.
    """
    if scores.dim() != 1:
        raise ValueError(f"expected scores of shape (n,), got {tuple(scores.shape)}")
    _check_share("a rate", rate)
    if scores.isnan().any():
        raise ValueError("expected scores without NaN")
    n = len(scores)
    k = _conformal_rank(n, rate)
    return math.inf if k > n else float(scores.sort().values[k - 1])


def conformal_sample_size(rate: float) -> int:
    """How many validation samples `conformal_threshold` needs before it can flag anything.

    Example:
        >>> conformal_sample_size(0.05), conformal_sample_size(0.01)
        (19, 99)
    """
    _check_share("a rate", rate)
    n = math.floor((1 - rate) / rate)
    # The quotient may be off by a hair; the rank itself decides.
    return next(size for size in range(max(n - 1, 1), n + 3) if _conformal_rank(size, rate) <= size)


def fit_lac(probabilities: Tensor, labels: Tensor, coverage: float) -> float:
    """The threshold of conformal prediction sets by least ambiguous classification (LAC).

    A class is in the set if its probability is high enough: of all sets with this coverage the smallest on
    average, but ambiguous images are covered less often than clear ones; see `fit_aps`.

    Args:
        probabilities: Of validation samples, shape (N, K).
        labels: Class indices, shape (N,).
        coverage: Share of new samples whose set shall hold their class, on average, in (0, 1).

    Returns:
        The threshold on 1 - p, for `lac_sets`; infinity (every class is in the set) where
        N < conformal_sample_size(1 - coverage).

    Raises:
        ValueError: The shapes do not fit, or `coverage` lies outside (0, 1).

    Example:
        >>> p = torch.tensor([[0.9, 0.1]] * 15 + [[0.6, 0.4]] * 4)
        >>> threshold = fit_lac(p, torch.zeros(19, dtype=torch.long), coverage=0.9)
        >>> lac_sets(torch.tensor([[0.95, 0.05], [0.55, 0.45]]), threshold).tolist()
        [[True, False], [True, False]]

    Source: Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers", arXiv 1609.00451.
    """
    _check_share("a coverage", coverage)
    return conformal_threshold(lac_scores(probabilities, labels), 1 - coverage)


def lac_scores(probabilities: Tensor, labels: Tensor) -> Tensor:
    """What `fit_lac` ranks: 1 - p of the right class, shape (N,). Kept, they give a threshold at any coverage."""
    _check_predictions(probabilities, labels)
    return 1 - _at(probabilities.double(), labels)


def lac_sets(probabilities: Tensor, threshold: float) -> Tensor:
    """The classes that `fit_lac` cannot exclude, as a mask (N, K).

    The most probable class is always in: a prediction is shown beside the set, and an empty set next to it would
    read as a defect. That can only add to the coverage. (Without it sets are empty where no probability reaches the
    threshold, which needs a coverage below the accuracy.)
    """
    return _with_most_probable(1 - probabilities.double() <= threshold, probabilities)


def fit_aps(probabilities: Tensor, labels: Tensor, coverage: float, seed: int | None = None) -> float:
    """The threshold of adaptive conformal prediction sets (APS).

    Classes join by falling probability as long as those before do not add up to enough: larger sets for ambiguous
    images than LAC's and smaller ones for clear images, so that the coverage is more even over both.

    Args:
        probabilities: Of validation samples, shape (N, K).
        labels: Class indices, shape (N,).
        coverage: Share of new samples whose set shall hold their class, on average, in (0, 1).
        seed: None: a class counts for those after it alone, and one image has always the same set. (Counted for
            itself as well, the right class of a clear image comes close to 1, as does the last class of any: the
            sets that cover both hold nearly every class.) A number: it counts for itself with a random part, as in
            the paper, drawn from this seed. `aps_sets` then needs a seed as well, another one.

    Returns:
        The threshold for `aps_sets`, in [-1, 0], or infinity as `fit_lac`.

    Raises:
        ValueError: As `fit_lac`.

    Example:
        >>> p = torch.tensor([[0.8, 0.15, 0.05]] * 19)
        >>> threshold = fit_aps(p, torch.tensor([0] * 16 + [1] * 3), coverage=0.9)
        >>> aps_sets(torch.tensor([[0.97, 0.02, 0.01], [0.5, 0.4, 0.1]]), threshold).tolist()
        [[True, False, False], [True, True, False]]

    Source: Romano, Sesia and Candès, "Classification with Valid and Adaptive Coverage", arXiv 2006.02544.
    """
    _check_share("a coverage", coverage)
    return conformal_threshold(aps_scores(probabilities, labels, seed), 1 - coverage)


def aps_scores(probabilities: Tensor, labels: Tensor, seed: int | None = None) -> Tensor:
    """What `fit_aps` ranks, shape (N,). Kept, they give a threshold at any coverage."""
    _check_predictions(probabilities, labels)
    return _at(_aps_scores(probabilities, seed), labels)


def aps_sets(probabilities: Tensor, threshold: float, seed: int | None = None) -> Tensor:
    """The classes that `fit_aps` cannot exclude, as a mask (N, K); the most probable class is always in.

    An image's set depends on `seed` and its position where a seed is given, and on neither where it is None.
    """
    return _with_most_probable(_aps_scores(probabilities, seed) <= threshold, probabilities)


def selective_threshold(
    uncertainty: Tensor, correct: Tensor, target_accuracy: float, confidence: float = 0.95
) -> float | None:
    """The threshold that flags as few predictions as it takes for the others to be accurate enough on new data.

    With probability `confidence` over validation sets, at least a share `target_accuracy` of the new predictions
    that are not flagged is right. It holds for any model and any score, and for this very threshold, though it was
    chosen among many: a binomial tail tests each candidate, and the error of all tests together is kept.

    The candidates are validation scores at ranks that depend on nothing but N, from few unflagged predictions to all
    of them. Up to ten of them, the starts, get an equal part of 1 - confidence as their level of significance. A
    candidate is tested at the level that reaches it: if it passes it hands the level on to the next one, if not
    the level is lost and the next start begins with its own (the fallback procedure).

    Args:
        uncertainty: Validation scores, shape (N,), higher is less certain.
        correct: Whether each prediction is right, shape (N,).
        target_accuracy: In (0, 1).
        confidence: In (0, 1).

    Returns:
        The threshold; flag what is greater. Infinity: nothing needs to be flagged. None: no threshold can be trusted
        to reach the target, be it for want of accuracy or of data (`selective_sample_size`).

    Raises:
        ValueError: The shapes differ, a score is NaN, or a share lies outside (0, 1).

    Example:
        >>> uncertainty = torch.arange(1000.0)
        >>> correct = uncertainty < 900  # all wrong ones are among the most uncertain tenth
        >>> 900 <= selective_threshold(uncertainty, correct, target_accuracy=0.98) <= 910
        True
        >>> selective_threshold(uncertainty[:100], correct[:100], target_accuracy=0.98) is None
        True

    Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", arXiv 1705.08500 (the task);
    Angelopoulos et al., "Learn then Test", arXiv 2110.01052 (thresholds as tests); Wiens and Dmitrienko, "The Fallback
    Procedure for Evaluating a Single Family of Hypotheses", 2005.
    """
    from scipy.special import bdtr

    if uncertainty.dim() != 1 or correct.shape != uncertainty.shape:
        raise ValueError(
            f"expected uncertainty and correct of one shape (N,), got {tuple(uncertainty.shape)} and "
            f"{tuple(correct.shape)}"
        )
    if uncertainty.isnan().any():
        raise ValueError("expected uncertainty without NaN")
    n = len(uncertainty)
    starts, ranks = _candidates(n, target_accuracy, confidence)
    if not ranks:
        return None
    scores, order = uncertainty.detach().cpu().sort()
    limits = scores[torch.tensor(ranks) - 1]
    let_in = torch.searchsorted(scores, limits, right=True)
    wrong = (~correct.bool()).cpu()[order].cumsum(0)[let_in - 1]
    # Given the score that sets the threshold, the others below it are an independent sample; it is not, so it does not
    # count as evidence (its error, if it is one, does). Where nothing is flagged, no score sets the threshold.
    tested = torch.cat([let_in[:-1] - 1, torch.tensor([n])])
    thresholds = [*limits[:-1].tolist(), math.inf]
    chances = bdtr(wrong.numpy(), tested.numpy(), 1 - target_accuracy)
    level, found = 0.0, None
    for rank, threshold, chance in zip(ranks, thresholds, chances, strict=True):
        if rank in starts:
            level += (1 - confidence) / len(starts)
        if chance <= level:
            found = threshold
        else:
            level = 0.0
    return found


def selective_sample_size(target_accuracy: float, confidence: float = 0.95) -> int:
    """How many validation samples `selective_threshold` needs at least, all of them right.

    The smallest n with target_accuracy^n <= 1 - confidence. With errors among the confident predictions, more.

    Example:
        >>> selective_sample_size(0.98), selective_sample_size(0.99, confidence=0.99)
        (149, 459)
    """
    _check_share("a target accuracy", target_accuracy)
    _check_share("a confidence", confidence)
    return math.ceil(math.log(1 - confidence) / math.log(target_accuracy))


def _conformal_rank(n: int, rate: float) -> int:
    # (1 - rate) may come out a hair above its true value, which would lift k by one: 10 (1 - 0.7) = 3.0000000000000004.
    return math.ceil((n + 1) * (1 - rate) - 1e-9)


def _aps_scores(probabilities: Tensor, seed: int | None) -> Tensor:
    """Minus the probability of each class and those after it, (N, K): the later a class joins, the higher.

    The paper sums the classes before; the sum of the others, from the smallest up, tells apart scores that would all
    round to 1.
    """
    p, order = probabilities.double().sort(dim=1, stable=True)
    left = p.cumsum(1)
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        left = left - p * torch.rand(len(p), 1, generator=generator, dtype=torch.float64).to(p.device)
    return torch.empty_like(p).scatter_(1, order, -left)


def _with_most_probable(sets: Tensor, probabilities: Tensor) -> Tensor:
    return sets.scatter(1, probabilities.argmax(1, keepdim=True), True)


def _at(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]


def _candidates(n: int, target_accuracy: float, confidence: float) -> tuple[set[int], list[int]]:
    """Ranks at which `selective_threshold` may begin, and all that it tests; they depend on no score and no label."""
    smallest = selective_sample_size(target_accuracy, confidence)
    if n < smallest:
        return set(), []
    count = min(n // smallest, _MOST_STARTS)
    # With its part of the level a start needs this many samples, all of them right, and the one at the threshold.
    first = min(selective_sample_size(target_accuracy, 1 - (1 - confidence) / count) + 1, n)
    starts = {first + (n - first) * i // count for i in range(count)}
    steps = {first + (n - first) * i // _STEPS for i in range(_STEPS + 1)}
    return starts, sorted(starts | steps)


def _check_predictions(probabilities: Tensor, labels: Tensor) -> None:
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"expected probabilities (N, K) and labels (N,), got {tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )


def _check_share(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"expected {name} in (0, 1), got {share}")
