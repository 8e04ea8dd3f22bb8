"""The figures against loops written from their definitions, scikit-learn and torchmetrics; and their intervals."""

import doctest
import importlib
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve

from uncertainty_loss import metrics

RNG = np.random.default_rng


def predictions(n=300, classes=5, seed=0, decimals=None):
    """Probabilities that claim too much, and labels drawn from better ones."""
    random = RNG(seed)
    logits = random.normal(size=(n, classes)) * 2
    p = np.exp(1.5 * logits)
    p /= p.sum(1, keepdims=True)
    if decimals is not None:
        p = np.round(p, decimals)
        p[:, 0] += 1 - p.sum(1)
    honest = np.exp(logits)
    honest /= honest.sum(1, keepdims=True)
    labels = (honest.cumsum(1) > random.random((n, 1))).argmax(1)
    return p, labels


def scored(n=200, seed=0, decimals=None):
    """Confidences, and whether each prediction is right; with `decimals`, many tie."""
    random = RNG(seed)
    confidence = random.random(n)
    correct = random.random(n) < 0.4 + 0.6 * confidence
    return confidence if decimals is None else np.round(confidence, decimals), correct


def pair(n=150, m=90, seed=0, decimals=None):
    random = RNG(seed)
    familiar, strange = random.normal(size=n), random.normal(1.3, 1.5, size=m)
    return (familiar, strange) if decimals is None else (np.round(familiar, decimals), np.round(strange, decimals))


# ---- classification -------------------------------------------------------------------------------------------------


def test_accuracy_likelihood_and_brier_score():
    p, y = predictions()
    one_hot = np.eye(5)[y]
    assert metrics.accuracy(p, y) == np.mean([p[i].argmax() == y[i] for i in range(len(y))])
    assert metrics.negative_log_likelihood(p, y) == pytest.approx(log_loss(y, p, labels=range(5)), rel=1e-12)
    assert metrics.brier_score(p, y) == pytest.approx(np.mean(((p - one_hot) ** 2).sum(1)), rel=1e-12)
    two = p[:, :2] / p[:, :2].sum(1, keepdims=True)
    # scikit-learn's is that of one of two classes, half of ours.
    assert metrics.brier_score(two, y % 2) == pytest.approx(2 * brier_score_loss(y % 2, two[:, 1]), rel=1e-12)


def test_a_probability_of_zero_costs_much_but_not_everything():
    assert metrics.negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(708.396, abs=1e-3)


# ---- calibration error ----------------------------------------------------------------------------------------------


def naive_ece(p, y, bins):
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(len(y)) if b / bins < p[i].max() <= (b + 1) / bins]
        if inside:
            right = np.mean([p[i].argmax() == y[i] for i in inside])
            total += len(inside) * abs(right - np.mean([p[i].max() for i in inside]))
    return total / len(y)


def naive_classwise(p, y, bins):
    errors = []
    for k in range(p.shape[1]):
        total = 0.0
        for b in range(bins):
            low = b / bins if b else -1
            inside = [i for i in range(len(y)) if low < p[i, k] <= (b + 1) / bins]
            if inside:
                total += len(inside) * abs(np.mean(y[inside] == k) - np.mean(p[inside, k]))
        errors.append(total / len(y))
    return np.mean(errors)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_expected_calibration_error(bins):
    p, y = predictions()
    assert metrics.expected_calibration_error(p, y, bins) == pytest.approx(naive_ece(p, y, bins), rel=1e-10)


def test_expected_calibration_error_as_torchmetrics_has_it():
    functional = pytest.importorskip("torchmetrics.functional.classification")
    import torch

    p, y = predictions(2000)
    theirs = functional.multiclass_calibration_error(torch.tensor(p), torch.tensor(y), num_classes=5, n_bins=15)
    assert metrics.expected_calibration_error(p, y) == pytest.approx(float(theirs), rel=1e-5)


def test_certain_predictions_are_in_the_last_bin():
    assert metrics.expected_calibration_error([[1.0, 0.0]] * 4, [0, 0, 0, 1]) == 0.25
    assert metrics.classwise_calibration_error([[1.0, 0.0]] * 4, [0, 0, 0, 1]) == 0.25


@pytest.mark.parametrize("bins", [3, 15])
def test_adaptive_calibration_error_where_the_bins_come_out_even(bins):
    p, y = predictions(300)
    order = np.argsort(p.max(1))
    gaps = [(p[part].argmax(1) == y[part]) - p[part].max(1) for part in np.split(order, bins)]
    expected = sum(abs(gap.sum()) for gap in gaps) / len(y)
    assert metrics.adaptive_calibration_error(p, y, bins) == pytest.approx(expected, rel=1e-10)


def test_adaptive_calibration_error_divides_what_a_border_cuts():
    # Borders at 1.5: the middle image, right at .8, is half in either bin.
    p = [[0.6, 0.4], [0.8, 0.2], [0.9, 0.1]]
    expected = (abs((0 - 0.6) + 0.5 * (1 - 0.8)) + abs(0.5 * (1 - 0.8) + (1 - 0.9))) / 3
    assert metrics.adaptive_calibration_error(p, [1, 0, 0], bins=2) == pytest.approx(expected, rel=1e-12)


def test_adaptive_calibration_error_does_not_depend_on_the_order_of_ties():
    p, y = predictions(200, decimals=1)
    shuffled = RNG(3).permutation(200)
    one, other = (metrics.adaptive_calibration_error(p[i], y[i]) for i in (np.arange(200), shuffled))
    assert one == pytest.approx(other, rel=1e-10)


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("bins", [1, 7, 15])
def test_classwise_calibration_error(bins, decimals):
    p, y = predictions(decimals=decimals)
    p = p.clip(0)
    assert metrics.classwise_calibration_error(p, y, bins) == pytest.approx(naive_classwise(p, y, bins), rel=1e-10)


# ---- selective prediction -------------------------------------------------------------------------------------------


def over_orders(confidence, correct, figure, orders=None):
    """The mean of a figure over the orders that ties allow (all of them where few, else a sample)."""
    random = RNG(1)
    figures = []
    for _ in range(orders):
        order = np.lexsort((random.random(len(confidence)), -confidence))
        figures.append(figure(~correct[order]))
    return np.mean(figures)


def mean_selective_risk(wrong):
    return np.mean([wrong[: k + 1].sum() / (k + 1) for k in range(len(wrong))])


def mean_generalised_risk(wrong):
    risks = [wrong[:k].sum() / len(wrong) for k in range(len(wrong) + 1)]
    return np.mean([(a + b) / 2 for a, b in pairwise(risks)])


def test_aurc_and_its_excess():
    confidence, correct = scored()
    expected = over_orders(confidence, correct, mean_selective_risk, 1)
    best = mean_selective_risk(np.sort(~correct))
    assert metrics.aurc(confidence, correct) == pytest.approx(expected, rel=1e-12)
    assert metrics.excess_aurc(confidence, correct) == pytest.approx(expected - best, rel=1e-10)


def test_aurc_averages_over_the_orders_of_ties():
    confidence, correct = scored(40, decimals=1)
    assert metrics.aurc(confidence, correct) == pytest.approx(
        over_orders(confidence, correct, mean_selective_risk, 4000), abs=5e-4
    )
    # By hand: one certain and right, then two that tie, one of them wrong: risks 0, .25, 1/3.
    assert metrics.aurc([3, 2, 2], [True, True, False]) == pytest.approx((0 + 0.25 + 1 / 3) / 3, rel=1e-12)


@pytest.mark.parametrize("decimals", [None, 1])
def test_augrc_is_the_area_and_the_closed_form(decimals):
    confidence, correct = scored(decimals=decimals)
    accuracy = correct.mean()
    auroc = roc_auc_score(~correct, -confidence)
    closed = accuracy * (1 - accuracy) * (1 - auroc) + (1 - accuracy) ** 2 / 2
    assert metrics.augrc(confidence, correct) == pytest.approx(closed, rel=1e-12)
    if decimals is None:
        area = over_orders(confidence, correct, mean_generalised_risk, 1)
        assert metrics.augrc(confidence, correct) == pytest.approx(area, rel=1e-12)


def test_a_perfect_and_a_useless_order():
    correct = np.arange(100) < 90
    assert metrics.excess_aurc(-np.arange(100.0), correct) == 0
    assert metrics.augrc(-np.arange(100.0), correct) == pytest.approx(0.1**2 / 2)
    assert metrics.aurc(np.zeros(100), correct) == pytest.approx(0.1)
    assert metrics.augrc(np.zeros(100), correct) == pytest.approx(0.1 / 2)


@pytest.mark.parametrize("coverage", [0.01, 0.5, 0.7, 0.955, 1.0])
def test_accuracy_at_coverage(coverage):
    confidence, correct = scored()
    k = {0.01: 2, 0.5: 100, 0.7: 140, 0.955: 191, 1.0: 200}[coverage]
    expected = correct[np.argsort(-confidence)][:k].mean()
    assert metrics.accuracy_at_coverage(confidence, correct, coverage) == pytest.approx(expected, rel=1e-12)


def test_accuracy_at_coverage_takes_ties_in_even_shares():
    assert metrics.accuracy_at_coverage([1, 1, 1, 1], [1, 1, 1, 0], 0.5) == pytest.approx(0.75)
    assert metrics.accuracy_at_coverage(-np.arange(25.0), np.arange(25) < 7, 0.28) == 1  # 0.28 * 25 > 7 in doubles
    # An infinite confidence has a rank as well.
    assert metrics.accuracy_at_coverage([np.inf, 1, 1, 0], [1, 1, 0, 0], 0.5) == pytest.approx(0.75)


@pytest.mark.parametrize("decimals", [None, 1])
def test_misclassification_auroc(decimals):
    confidence, correct = scored(decimals=decimals)
    expected = roc_auc_score(~correct, -confidence)
    assert metrics.misclassification_auroc(-confidence, ~correct) == pytest.approx(expected, rel=1e-12)


def test_where_all_are_right_or_all_are_wrong():
    confidence = np.array([0.9, 0.8, 0.7])
    for correct, risk in (([1, 1, 1], 0.0), ([0, 0, 0], 1.0)):
        assert np.isnan(metrics.misclassification_auroc(-confidence, 1 - np.array(correct)))
        assert metrics.aurc(confidence, correct) == pytest.approx(risk)
        assert metrics.excess_aurc(confidence, correct) == pytest.approx(0, abs=1e-15)
        assert metrics.augrc(confidence, correct) == pytest.approx(risk / 2)
        assert metrics.accuracy_at_coverage(confidence, correct, 0.5) == 1 - risk


# ---- out of distribution --------------------------------------------------------------------------------------------


def naive_fpr95(familiar, strange):
    for threshold in np.unique(strange)[::-1]:
        if np.mean(strange >= threshold) >= 0.95:
            return np.mean(familiar >= threshold)
    raise AssertionError


def naive_fpr95_in(familiar, strange):
    for threshold in np.unique(familiar):
        if np.mean(familiar <= threshold) >= 0.95:
            return np.mean(strange <= threshold)
    raise AssertionError


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize(("n", "m"), [(150, 90), (100, 20), (1, 1), (1, 40), (40, 1)])
def test_ood_scores(n, m, decimals):
    familiar, strange = pair(n, m, decimals=decimals)
    labels, scores = np.r_[np.zeros(n), np.ones(m)], np.r_[familiar, strange]
    false_positive, true_positive, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = {
        "auroc": np.mean([(s > f) + 0.5 * (s == f) for f in familiar for s in strange]),
        "aupr_in": average_precision_score(1 - labels, -scores),
        "aupr_out": average_precision_score(labels, scores),
        "fpr95": naive_fpr95(familiar, strange),
        "fpr95_in": naive_fpr95_in(familiar, strange),
    }
    figures = metrics.ood_scores(familiar, strange)
    assert list(figures) == list(expected)
    assert figures == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert figures["auroc"] == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    assert figures["fpr95"] == pytest.approx(false_positive[np.argmax(true_positive >= 0.95)], rel=1e-12, abs=1e-15)


def test_ood_scores_as_torchmetrics_has_them():
    functional = pytest.importorskip("torchmetrics.functional.classification")
    import torch

    familiar, strange = pair()
    target = torch.tensor(np.r_[np.zeros(150), np.ones(90)]).long()
    preds = torch.tensor(np.r_[familiar, strange]).sigmoid()  # they expect probabilities
    figures = metrics.ood_scores(familiar, strange)
    assert figures["auroc"] == pytest.approx(float(functional.binary_auroc(preds, target)), rel=1e-5)
    assert figures["aupr_out"] == pytest.approx(float(functional.binary_average_precision(preds, target)), rel=1e-5)


def test_the_two_conventions_differ():
    familiar, strange = np.arange(100.0), np.r_[np.full(85, 1000.0), np.full(5, 94.5), np.full(10, 50.5)]
    figures = metrics.ood_scores(familiar, strange)
    assert figures["fpr95"] == pytest.approx(0.49)  # to catch 95 strange ones the limit must fall to 50.5
    assert figures["fpr95_in"] == pytest.approx(0.10)  # 95 familiar ones lie up to 94, and so do 10 strange ones


def test_infinite_scores_have_a_rank():
    assert metrics.ood_scores([-np.inf, 0.0], [1.0, np.inf])["auroc"] == 1
    assert metrics.ood_scores([0.0, np.inf], [np.inf])["auroc"] == 0.75


# ---- bootstrap ------------------------------------------------------------------------------------------------------


def test_counts_are_the_images_and_then_resamples_of_them():
    counts = metrics.resample_counts(50, resamples=4000, seed=1)
    assert counts.shape == (50, 4001)
    assert (counts[:, 0] == 1).all()
    assert (counts.sum(0) == 50).all()
    # Multinomial: each image is drawn once on average, with variance 1 - 1/n.
    assert counts[:, 1:].mean(1) == pytest.approx(np.ones(50), abs=0.08)
    assert counts[:, 1:].astype(float).var(1) == pytest.approx(np.full(50, 0.98), abs=0.15)
    assert (counts == metrics.resample_counts(50, resamples=4000, seed=1)).all()
    assert (counts != metrics.resample_counts(50, resamples=4000, seed=2)).any()
    assert (metrics.resample_counts(9, 3, (1, 2)) != metrics.resample_counts(9, 3, (1, 3))).any()


PLAIN = {
    "accuracy": metrics.accuracy,
    "nll": metrics.negative_log_likelihood,
    "brier": metrics.brier_score,
    "ece": metrics.expected_calibration_error,
    "adaptive_ece": metrics.adaptive_calibration_error,
    "classwise_ece": metrics.classwise_calibration_error,
    "aurc": metrics.aurc,
    "excess_aurc": metrics.excess_aurc,
    "augrc": metrics.augrc,
    "accuracy_at_80": lambda confidence, correct: metrics.accuracy_at_coverage(confidence, correct, 0.8),
    "accuracy_at_90": lambda confidence, correct: metrics.accuracy_at_coverage(confidence, correct, 0.9),
    "accuracy_at_95": lambda confidence, correct: metrics.accuracy_at_coverage(confidence, correct, 0.95),
    "misclassification_auroc": lambda confidence, correct: metrics.misclassification_auroc(-confidence, ~correct),
}


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("family", ["classification", "selective"])
def test_the_fast_way_gives_what_resampling_the_arrays_gives(family, decimals):
    if family == "classification":
        arrays = predictions(60, decimals=decimals)
        arrays = arrays[0].clip(0), arrays[1]
        replicates = metrics.classification_replicates
    else:
        arrays, replicates = scored(60, decimals=decimals), metrics.selective_replicates
    # An odd number of resamples, more than are worked on at a time at the least.
    counts = metrics.resample_counts(60, resamples=37, seed=5)
    figures = replicates(*arrays, counts)
    assert set(figures) <= set(PLAIN)
    for name, values in figures.items():
        slow = [PLAIN[name](*(np.repeat(array, column, axis=0) for array in arrays)) for column in counts.T]
        assert values == pytest.approx(np.array(slow), rel=1e-9, abs=1e-12), name
        generic = metrics.bootstrap_interval(PLAIN[name], *arrays, resamples=37, seed=5)
        assert metrics.interval(values) == pytest.approx(generic, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_fast_way_draws_familiar_and_strange_apart(decimals):
    familiar, strange = pair(70, 40, decimals=decimals)
    counts = metrics.resample_counts(70, 25, 1), metrics.resample_counts(40, 25, 2)
    figures = metrics.ood_replicates(familiar, strange, *counts)
    for column in range(26):
        drawn = np.repeat(familiar, counts[0][:, column]), np.repeat(strange, counts[1][:, column])
        expected = metrics.ood_scores(*drawn)
        assert {name: values[column] for name, values in figures.items()} == pytest.approx(expected, rel=1e-9)


def test_chunks_leave_no_seam(monkeypatch):
    familiar, strange = pair()
    counts = metrics.resample_counts(150, 100, 1), metrics.resample_counts(90, 100, 2)
    whole = metrics.ood_replicates(familiar, strange, *counts)
    monkeypatch.setattr("uncertainty_loss.metrics.bootstrap._CHUNK", 1)
    for name, values in metrics.ood_replicates(familiar, strange, *counts).items():
        np.testing.assert_array_equal(values, whole[name])


def test_a_mean_has_the_interval_of_its_standard_error():
    values = RNG(0).normal(size=400)
    value, low, high = metrics.bootstrap_interval(np.mean, values, resamples=4000)
    error = 1.96 * values.std() / 20
    assert (value, low, high) == pytest.approx((values.mean(), value - error, value + error), abs=0.01)


def test_intervals_hold_the_truth_as_often_as_they_say():
    # N(0, 1) against N(1, 1): AUROC = Phi(1 / sqrt 2) = .7602.
    random, held = RNG(0), 0
    counts = metrics.resample_counts(150, 200, 1), metrics.resample_counts(150, 200, 2)
    for _ in range(300):
        figures = metrics.ood_replicates(random.normal(size=150), random.normal(1, 1, size=150), *counts)
        _, low, high = metrics.interval(figures["auroc"])
        held += low <= 0.76025 <= high
    assert 0.91 <= held / 300 <= 0.98


def test_a_centred_interval_holds_the_mean_calibration_error_and_a_plain_one_does_not():
    def sample(random):
        p = random.dirichlet([0.5] * 3, 300)
        return p, (p.cumsum(1) > random.random((300, 1))).argmax(1)

    random = RNG(0)
    truth = np.mean([metrics.classwise_calibration_error(*sample(random)) for _ in range(1000)])
    counts, held = metrics.resample_counts(300, 200, 1), {True: 0, False: 0}
    for _ in range(200):
        figures = metrics.classification_replicates(*sample(random), counts)["classwise_ece"]
        for centred in held:
            value, low, high = metrics.interval(figures, centred=centred)
            held[centred] += low <= truth <= high
            assert not centred or low <= value <= high
    assert held[True] / 200 >= 0.88
    assert held[False] / 200 <= 0.2


def test_a_shared_draw_bounds_the_difference_of_two_scores_tightly():
    random = RNG(0)
    familiar, strange = pair(500, 500)
    near = familiar + 0.05 * random.normal(size=500), strange + 0.05 * random.normal(size=500)
    counts = metrics.resample_counts(500, 400, 1), metrics.resample_counts(500, 400, 2)
    one = metrics.ood_replicates(familiar, strange, *counts)["auroc"]
    other = metrics.ood_replicates(*near, *counts)["auroc"]
    widths = [high - low for _, low, high in (metrics.interval(one), metrics.interval(one - other))]
    assert widths[1] < widths[0] / 5


def test_undefined_figures():
    _, low, high = metrics.interval([1.0, np.nan, 0.5, 0.7], level=0.9)
    assert 0.5 <= low < high <= 0.7
    assert np.isnan(metrics.interval([1.0, np.nan])[1:]).all()
    assert np.isnan(metrics.interval([np.nan, 1.0, 1.0])).tolist() == [True, True, True]
    # One wrong prediction of five is absent from a third of the resamples.
    figures = metrics.selective_replicates(np.arange(5.0), [0, 1, 1, 1, 1], metrics.resample_counts(5, 500))
    assert 0.2 < np.isnan(figures["misclassification_auroc"]).mean() < 0.45
    assert not np.isnan(figures["aurc"]).any()
    assert metrics.interval(figures["misclassification_auroc"]) == (1.0, 1.0, 1.0)


# ---- misuse ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy([0.5, 0.5], [0]), r"probabilities \(N, K\)"),
        (lambda: metrics.accuracy(np.zeros((0, 2)), []), "N >= 1"),
        (lambda: metrics.accuracy([[0.5, 0.5]], [2]), r"labels in 0\.\.1, got 2\.\.2"),
        (lambda: metrics.expected_calibration_error([[1.0, 0.0]], [0], bins=0), "at least one bin, got 0"),
        (lambda: metrics.adaptive_calibration_error([[1.0, 0.0]], [0], bins=0), "at least one bin, got 0"),
        (lambda: metrics.aurc([], []), r"confidence of shape \(N,\) with N >= 1"),
        (lambda: metrics.aurc([1.0, np.nan], [0, 1]), "confidence without NaN"),
        (lambda: metrics.aurc([1.0, 2.0], [1]), r"correct of shape \(2,\), got \(1,\)"),
        (lambda: metrics.aurc([1.0, 2.0], [1, 2]), "booleans, or 0 and 1"),
        (lambda: metrics.accuracy_at_coverage([1.0], [1], 0), r"coverage in \(0, 1\], got 0"),
        (lambda: metrics.misclassification_auroc([np.nan], [1]), "uncertainty without NaN"),
        (lambda: metrics.ood_scores([], [1.0]), "familiar scores of shape"),
        (lambda: metrics.ood_scores([1.0], [np.nan]), "strange scores without NaN"),
        (lambda: metrics.ood_scores([[1.0]], [1.0]), r"got \(1, 1\)"),
        (lambda: metrics.selective_replicates([1.0], [1], metrics.resample_counts(2)), r"counts of shape \(1, R\)"),
        (
            lambda: metrics.ood_replicates([1.0], [1.0], metrics.resample_counts(1, 2), metrics.resample_counts(1, 3)),
            r"one number of resamples, got \[3, 4\]",
        ),
        (lambda: metrics.resample_counts(0), "at least one image and one resample, got 0 and 1000"),
        (lambda: metrics.bootstrap_interval(np.mean, [1.0], resamples=0), "at least one image and one resample"),
        (lambda: metrics.bootstrap_interval(np.mean, [1.0], [1.0, 2.0]), r"one length >= 1, got lengths \[1, 2\]"),
        (lambda: metrics.bootstrap_interval(np.mean, []), r"one length >= 1, got lengths \[0\]"),
        (lambda: metrics.interval([1.0, 1.0], level=95), r"level in \(0, 1\), got 95"),
        (lambda: metrics.interval([1.0]), r"at least one resample of it, got shape \(1,\)"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_labels_and_counts_are_whole_numbers():
    with pytest.raises(TypeError, match="integer labels, got float64"):
        metrics.accuracy([[0.5, 0.5]], [0.0])
    with pytest.raises(TypeError, match="integer counts, got float64"):
        metrics.selective_replicates([1.0], [1], np.ones((1, 2)))


def test_the_door():
    assert metrics.__all__ == sorted(set(metrics.__all__))
    assert all(getattr(metrics, name).__doc__ for name in metrics.__all__)


@pytest.mark.parametrize("module", ["bootstrap", "calibration_error", "classification", "ood", "selective"])
def test_examples_in_the_documentation(module):
    failures, examples = doctest.testmod(importlib.import_module(f"uncertainty_loss.metrics.{module}"))
    assert examples
    assert not failures
