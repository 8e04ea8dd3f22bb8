"""Temperatures against scipy, and every promise against simulated new data."""

import doctest
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import binom

import uncertainty_loss as ul
from uncertainty_loss import calibration
from uncertainty_loss.calibration import (
    aps_sets,
    conformal_sample_size,
    conformal_threshold,
    fit_aps,
    fit_lac,
    fit_temperature,
    lac_sets,
    selective_sample_size,
    selective_threshold,
)


def predictions(n, classes=6, sharpness=1.0, seed=0):
    """Logits, and labels drawn from their softmax at a temperature of `sharpness`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((logits / sharpness).softmax(1), 1, generator=generator)[:, 0]
    return logits, labels


# ---- temperature ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_temperature_of_logits(sharpness):
    logits, labels = predictions(3000, sharpness=sharpness)

    def loss(t):
        z = logits.numpy() / t
        z = z - z.max(1, keepdims=True)
        return -(z[np.arange(len(z)), labels.numpy()] - np.log(np.exp(z).sum(1))).mean()

    expected = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8}).x
    found = fit_temperature(lambda t: (logits / t).log_softmax(1), labels)
    assert found == pytest.approx(expected, rel=1e-4)
    assert found == pytest.approx(sharpness, rel=0.1)


def test_temperature_of_log_evidence():
    logits, labels = predictions(2000)

    def log_probability(t):
        return ul.expected_probability(1 + (logits / t).exp()).log()

    def loss(t):
        return -log_probability(t).gather(1, labels[:, None]).mean().item()

    grid = np.geomspace(1 / 16, 16, 4001)
    expected = grid[np.argmin([loss(t) for t in grid])]
    assert fit_temperature(log_probability, labels) == pytest.approx(expected, rel=2e-3)


def test_temperature_finds_the_lower_of_two_valleys():
    labels = torch.zeros(1, dtype=torch.long)

    def valleys(t):
        x = math.log(t)
        loss = min((x + 1.6) ** 2 + 0.3, (x - 1.9) ** 2)
        return torch.tensor([[-loss, 0.0]], dtype=torch.float64)

    assert math.log(fit_temperature(valleys, labels)) == pytest.approx(1.9, abs=1e-3)


def test_temperature_stays_within_its_bounds():
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    right, wrong = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert fit_temperature(lambda t: (logits / t).log_softmax(1), right) <= 1 / 4
    assert fit_temperature(lambda t: (logits / t).log_softmax(1), wrong) == pytest.approx(16, rel=1e-3)


def test_temperature_of_extreme_logits():
    # At low temperatures the log-probabilities run to minus infinity; that is a bad temperature, not an error.
    logits = torch.tensor([[3e4, 0.0]] * 99 + [[0.0, 3e4]])
    found = fit_temperature(
        lambda t: ((logits / t).softmax(1)).log() if t < 1 else (logits / t).log_softmax(1),
        torch.zeros(100, dtype=torch.long),
    )
    assert found == pytest.approx(16, rel=1e-3)


def test_temperature_needs_samples_and_finite_likelihoods():
    none, one = torch.zeros(0, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    with pytest.raises(ValueError, match="N >= 1"):
        fit_temperature(lambda t: torch.zeros(0, 2), none)
    with pytest.raises(ValueError, match=r"log-probabilities \(1, K\), got \(2, 2\)"):
        fit_temperature(lambda t: torch.zeros(2, 2), one)
    with pytest.raises(ValueError, match="finite for the right classes"):
        fit_temperature(lambda t: torch.full((1, 2), math.nan), one)


# ---- conformal thresholds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 9, 10, 19, 20, 57, 200])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.3, 0.5])
def test_new_scores_are_flagged_at_most_as_often_as_promised(n, rate):
    # Of uniform scores the k-th smallest of n lies at k / (n + 1) on average; so much is not flagged.
    generator = torch.Generator().manual_seed(n)
    repetitions = 1500
    flagged = [1 - min(conformal_threshold(torch.rand(n, generator=generator), rate), 1.0) for _ in range(repetitions)]
    error = 3 * np.std(flagged) / math.sqrt(repetitions) + 1e-12
    assert np.mean(flagged) <= rate + error
    # And not much more rarely, where there is data enough.
    assert n < conformal_sample_size(rate) or np.mean(flagged) >= rate - 1 / (n + 1) - error


def test_the_sample_size_is_the_first_that_gives_a_threshold():
    rates = [*np.arange(1, 100) / 100, 0.001, 0.0005, 1 / 3, 2 / 3, 1 / 7, 0.999]
    for rate in map(float, rates):
        n = conformal_sample_size(rate)
        assert n == max(1, math.ceil(round((1 - rate) / rate, 9)))
        assert math.isfinite(conformal_threshold(torch.rand(n), rate))
        assert n == 1 or conformal_threshold(torch.rand(n - 1), rate) == math.inf


def test_conformal_thresholds_by_hand():
    scores = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 9.0, 8.0, 7.0])
    assert conformal_threshold(scores, 0.3) == 7
    assert conformal_threshold(scores, 0.7) == 3  # (9 + 1) (1 - 0.7) is a hair above 3 in doubles
    assert conformal_threshold(scores, 0.1) == 9
    assert conformal_threshold(scores, 0.09) == math.inf
    assert conformal_threshold(torch.zeros(0), 0.5) == math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal_threshold(torch.zeros(2, 2), 0.1), r"shape \(n,\), got \(2, 2\)"),
        (lambda: conformal_threshold(torch.zeros(2), 0.0), r"rate in \(0, 1\), got 0.0"),
        (lambda: conformal_threshold(torch.tensor([math.nan]), 0.1), "without NaN"),
        (lambda: conformal_sample_size(1.0), r"rate in \(0, 1\), got 1.0"),
        (lambda: fit_lac(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long), 0.9), r"got \(3, 2\) and \(2,\)"),
        (lambda: fit_lac(torch.zeros(2, 2), torch.zeros(2, dtype=torch.long), 90), r"coverage in \(0, 1\), got 90"),
        (lambda: fit_aps(torch.zeros(2), torch.zeros(2, dtype=torch.long), 0.9), r"got \(2,\) and \(2,\)"),
        (lambda: selective_threshold(torch.zeros(3), torch.zeros(2), 0.9), r"got \(3,\) and \(2,\)"),
        (lambda: selective_threshold(torch.tensor([math.nan]), torch.ones(1), 0.9), "without NaN"),
        (lambda: selective_threshold(torch.zeros(3), torch.ones(3), 98), r"target accuracy in \(0, 1\), got 98"),
        (lambda: selective_sample_size(0.9, 1.0), r"confidence in \(0, 1\), got 1.0"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- prediction sets ------------------------------------------------------------------------------------------------


def lac(p, y, coverage, repetition):
    return lambda new: lac_sets(new, fit_lac(p, y, coverage))


def aps(p, y, coverage, repetition):
    return lambda new: aps_sets(new, fit_aps(p, y, coverage))


def random_aps(p, y, coverage, repetition):
    return lambda new: aps_sets(new, fit_aps(p, y, coverage, seed=2 * repetition), seed=2 * repetition + 1)


@pytest.mark.parametrize("method", [lac, aps, random_aps])
@pytest.mark.parametrize("n", [5, 30, 400])
@pytest.mark.parametrize("coverage", [0.7, 0.9, 0.95])
@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_sets_hold_the_class_as_often_as_promised(method, n, coverage, sharpness):
    # The model is wrong about its confidence in both directions: the promise must not depend on that.
    repetitions = 150
    logits, labels = predictions(repetitions * (n + 100), sharpness=sharpness, seed=n)
    p = logits.softmax(1).view(repetitions, n + 100, -1)
    y = labels.view(repetitions, n + 100)
    held, sizes = [], []
    for r in range(repetitions):
        sets = method(p[r, :n], y[r, :n], coverage, r)(p[r, n:])
        held.append(sets.gather(1, y[r, n:, None]).double().mean().item())
        sizes.append(sets.sum(1).double().mean().item())
        assert sets.any(1).all()
    error = 3 * np.std(held) / math.sqrt(repetitions) + 1e-12
    assert np.mean(held) >= coverage - error
    # Where few sets would be empty, the promise is not overdone either.
    if n == 400 and sharpness == 3.0:
        assert np.mean(held) <= coverage + 1 / (n + 1) + error + 0.02
        assert np.mean(sizes) < 6


def test_sets_hold_every_class_where_validation_data_is_too_little():
    logits, labels = predictions(18)
    p = logits.softmax(1)
    for fit, sets in ((fit_lac, lac_sets), (fit_aps, aps_sets)):
        assert fit(p, labels, 0.95) == math.inf
        assert sets(p, math.inf).all()
        assert math.isfinite(fit(torch.cat([p, p[:1]]), torch.cat([labels, labels[:1]]), 0.95))


def test_the_most_probable_class_is_always_in():
    p = torch.tensor([[0.5, 0.3, 0.2]])
    assert lac_sets(p, 0.1).tolist() == [[True, False, False]]
    assert aps_sets(p, -0.9).tolist() == [[True, False, False]]


@pytest.mark.parametrize("fit_sets", [(fit_lac, lac_sets), (fit_aps, aps_sets)])
def test_probabilities_that_tie_are_covered(fit_sets):
    # All validation images score the same: excluding a class at the threshold itself would exclude every right one.
    fit, sets = fit_sets
    p = torch.tensor([[0.5, 0.3, 0.2]] * 40)
    labels = torch.ones(40, dtype=torch.long)  # never the most probable class, which is always in
    mask = sets(p, fit(p, labels, 0.9))
    assert mask[:, 1].all()
    assert not mask[:, 2].any()


def test_a_class_at_the_threshold_is_in():
    p = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    assert lac_sets(p, 0.75).tolist() == [[True, True, True]]
    assert lac_sets(p, 0.75 - 1e-9).tolist() == [[True, False, False]]


def test_aps_scores_are_the_classes_before_one():
    p, labels = predictions(50)[0].softmax(1), torch.arange(50) % 6
    before = [sum(q for q in row.tolist() if q > row[k]) for row, k in zip(p, labels.tolist(), strict=True)]
    rank = math.ceil(51 * 0.8)
    assert 1 + fit_aps(p, labels, 0.8) == pytest.approx(sorted(before)[rank - 1], abs=1e-6)
    threshold = fit_aps(p, labels, 0.8)
    for row, mask in zip(p.tolist(), aps_sets(p, threshold).tolist(), strict=True):
        assert mask == [sum(q for q in row if q > own) - 1 <= threshold + 1e-6 for own in row]


def test_aps_of_clear_images_names_one_class():
    # What is not covered are contested images; it shall not cost clear ones, where the first class comes close to 1.
    clear, contested = [0.999, 0.0007, 0.0003], [0.5, 0.4, 0.1]
    p = torch.tensor([clear] * 950 + [contested] * 50)
    labels = torch.tensor([0] * 950 + [0, 1] * 10 + [2] * 30)
    sets = aps_sets(torch.tensor([clear, contested]), fit_aps(p, labels, coverage=0.98))
    assert sets.tolist() == [[True, False, False], [True, True, True]]


def test_aps_tells_certain_predictions_apart():
    # The sum of the probabilities before the third class rounds to 1 in both images.
    p = torch.tensor([[0.7, 0.3, 1e-18], [0.7, 0.3, 1e-20]], dtype=torch.float64)
    assert aps_sets(p, -1e-19).tolist() == [[True, True, True], [True, True, False]]


def test_a_class_joins_with_a_random_part_of_its_probability():
    p = torch.tensor([[0.6, 0.3, 0.1]], dtype=torch.float64).expand(4000, 3)
    shares = aps_sets(p, -0.25, seed=0).double().mean(0)
    # 0.1 + 0.3 V reaches .25 for half of the V in [0, 1]; 0.1 V never does, and 0.4 + 0.6 V always.
    assert shares.tolist() == pytest.approx([1, 0.5, 0], abs=0.03)


def test_random_parts_come_from_the_seed():
    p = predictions(200)[0].softmax(1)
    assert torch.equal(aps_sets(p, -0.1, seed=1), aps_sets(p, -0.1, seed=1))
    assert not torch.equal(aps_sets(p, -0.1, seed=1), aps_sets(p, -0.1, seed=2))


# ---- selective accuracy ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize("case", ["nowhere", "up to a point", "ties"])
def test_the_accuracy_bound_fails_as_rarely_as_promised(case, n, confidence):
    # `risk_upto(t)` is the true error rate of predictions with uncertainty <= t, which is uniform in [0, 1].
    target, repetitions, random = 0.95, 1500, np.random.default_rng(n)
    failures = 0
    for _ in range(repetitions):
        u = random.random(n)
        if case == "nowhere":  # every threshold just fails the target: the hardest case
            wrong = random.random(n) < 0.0501
        else:
            if case == "ties":
                u = np.ceil(u * 10) / 10
            wrong = random.random(n) < 0.2 * u**2
        found = selective_threshold(torch.tensor(u), torch.tensor(~wrong), target, confidence)
        if found is None:
            continue
        if case == "nowhere":
            true_risk = 0.0501
        elif case == "ties":
            levels = np.arange(1, 11) / 10
            true_risk = 0.2 * (levels[levels <= found + 1e-9] ** 2).mean()
        else:
            true_risk = 0.2 * min(found, 1.0) ** 2 / 3
        failures += true_risk > 1 - target
    assert failures <= binom.ppf(0.999, repetitions, 1 - confidence)


def test_the_accuracy_bound_flags_little_more_than_it_must():
    # Risk up to t is .08 t^4: for 98% all beyond (.02 / .08)^(1/4) = .707 have to go.
    random = np.random.default_rng(0)
    found = []
    for _ in range(50):
        u = random.random(5000)
        right = random.random(5000) > 0.4 * u**4
        found.append(selective_threshold(torch.tensor(u), torch.tensor(right), 0.98))
    assert 0.63 < np.mean(found) < 0.707


def test_the_accuracy_bound_where_nothing_or_too_much_would_be_flagged():
    u = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert selective_threshold(u, torch.ones(1000, dtype=torch.bool), 0.98) == math.inf
    assert selective_threshold(u, torch.zeros(1000, dtype=torch.bool), 0.98) is None
    assert selective_threshold(u[:0], torch.zeros(0, dtype=torch.bool), 0.98) is None
    # The confident ones are the wrong ones: no threshold helps.
    assert selective_threshold(u, u > 0.2, 0.98) is None


@pytest.mark.parametrize(("target", "confidence"), [(0.98, 0.95), (0.9, 0.99), (0.995, 0.8), (0.5, 0.5)])
def test_the_sample_size_is_the_first_that_can_keep_the_promise(target, confidence):
    n = selective_sample_size(target, confidence)
    assert target**n <= 1 - confidence < target ** (n - 1)
    right = torch.ones(n, dtype=torch.bool)
    assert selective_threshold(torch.rand(n), right, target, confidence) == math.inf
    assert selective_threshold(torch.rand(n - 1), right[1:], target, confidence) is None


def test_the_score_that_sets_the_threshold_does_not_count_as_evidence():
    # With one error 236 predictions bear out .98, 235 do not. The first error is at rank 236, more follow.
    assert binom.cdf(1, 236, 0.02) <= 0.05 < binom.cdf(1, 235, 0.02)
    u = torch.arange(297.0)
    assert selective_threshold(u, u < 235, 0.98) == 234


def test_a_threshold_among_ties_counts_all_of_them():
    # 300 right at 0, then 300 that tie, half of them wrong: the tie is let in whole or not at all.
    u = torch.cat([torch.zeros(300), torch.ones(300)])
    correct = torch.cat([torch.ones(300), torch.arange(300) % 2]).bool()
    assert selective_threshold(u, correct, 0.98) == 0


def test_examples_in_the_documentation():
    failures, examples = doctest.testmod(calibration)
    assert examples
    assert not failures
