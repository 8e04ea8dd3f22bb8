"""What thresholds promise, kept over many simulated validation sets."""

import math

import numpy as np
import pytest
import torch

import uncertainty_loss as ul
from ulcli.model.flags import Flags, doubts
from ulcli.model.predictor import Predictions
from ulcli.reporting import Silent
from ulcli.rows import AMBIGUOUS, UNFAMILIAR


def predictions(random, n, classes=3, accuracy=0.9):
    """Predictions of an imperfect model that are right as often as their confidence says, and their labels."""
    concentration = np.full(classes, (1 - accuracy) * 3 / classes)
    p = random.dirichlet(concentration, n)
    labels = (p.cumsum(1) < random.random((n, 1))).sum(1).clip(max=classes - 1)
    evidence = random.gamma(2, 50, (n, 1))
    alpha = torch.tensor(1 + classes * evidence * p)
    return Predictions(alpha, 1.0, alpha, torch.ones(n)), torch.tensor(labels)


def fit(random, n, rate=0.05, target=None, reporter=None, **options):
    own, labels = predictions(random, n, **options)
    return Flags.fit(own, labels, rate=rate, target_accuracy=target, reporter=reporter or Silent())


def flagged(flags, own):
    return np.array(flags.reasons(own.alpha, ul.vacuity(own.alpha)))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n", [100, 477])
def test_no_more_than_the_promised_share_is_flagged(rate, n):
    random = np.random.default_rng(0)
    test, _ = predictions(random, 5000)
    shares = [np.mean(flagged(fit(random, n, rate), test) == UNFAMILIAR) for _ in range(400)]
    noise = 3 * np.std(shares) / 20 + 3 * (rate / 5000) ** 0.5
    assert np.mean(shares) <= rate + noise
    assert np.mean(shares) >= rate - 1 / (n + 1) - noise  # and hardly less


@pytest.mark.parametrize(("accuracy", "target"), [(0.9, 0.95), (0.8, 0.95), (0.95, 0.97)])
def test_the_rest_is_as_accurate_as_promised(accuracy, target):
    random = np.random.default_rng(1)
    test, labels = predictions(random, 40_000, accuracy=accuracy)
    right = (test.alpha.argmax(1) == labels).numpy()
    assert right.mean() < target
    reached, found = [], 0
    for _ in range(150):
        flags = fit(random, 800, target=target, accuracy=accuracy)
        if flags.doubt is None:
            continue
        found += 1
        kept = flagged(flags, test) == None  # noqa: E711
        reached.append(right[kept].mean() >= target)
    assert found >= 100
    assert np.mean(reached) >= 0.95 - 3 * (0.05 * 0.95 / found) ** 0.5


def test_a_model_that_is_accurate_enough_flags_nothing_as_ambiguous():
    random = np.random.default_rng(2)
    flags = fit(random, 2000, target=0.8, accuracy=0.97)
    assert flags.doubt == math.inf
    assert str(flags) == f"vacuity>{flags.vacuity:.4g}"
    assert AMBIGUOUS not in flagged(flags, predictions(random, 500)[0])


@pytest.mark.parametrize(("n", "rate"), [(18, 0.05), (98, 0.01)])
def test_too_few_images_for_the_rate(recorder, n, rate):
    random = np.random.default_rng(3)
    flags = fit(random, n, rate, reporter=recorder)
    assert flags.vacuity == math.inf
    assert recorder.warnings == [
        f"{n} validation images are too few for --flag-rate {rate:g}: nothing will be flagged; "
        f"give {n + 1} or more, or a higher rate"
    ]
    assert set(flagged(flags, predictions(random, 100)[0])) == {None}
    assert fit(random, n + 1, rate, reporter=recorder).vacuity < math.inf
    assert len(recorder.warnings) == 1


def test_an_accuracy_that_cannot_be_promised(recorder):
    random = np.random.default_rng(4)
    flags = fit(random, 200, target=0.999, reporter=recorder)
    assert flags.doubt is None
    assert flags.target_accuracy == 0.999
    (warning,) = recorder.warnings
    assert warning.startswith("--target-accuracy 0.999 cannot be promised: the validation images do not bear it out")
    assert f"({ul.selective_sample_size(0.999)} of them, all right, would be the least;" in warning
    assert "of 191 familiar ones are right)" in warning
    assert AMBIGUOUS not in flagged(flags, predictions(random, 100)[0])


def test_nothing_asked_nothing_promised(recorder):
    flags = fit(np.random.default_rng(5), 200, reporter=recorder)
    assert flags.target_accuracy is flags.doubt is None
    assert recorder.warnings == []


def test_unfamiliar_goes_before_ambiguous():
    flags = Flags(0.05, vacuity=0.5, target_accuracy=0.9, doubt=0.2)
    alpha = torch.tensor([[9.0, 1], [9.0, 9], [1.2, 1.2], [2.9, 1], [8.0, 2]], dtype=torch.float64)
    vacuity = ul.vacuity(alpha)
    assert flags.reasons(alpha, vacuity) == [None, AMBIGUOUS, UNFAMILIAR, UNFAMILIAR, None]
    assert flags.reasons(alpha, torch.full((5,), 0.5)) == [None, AMBIGUOUS, AMBIGUOUS, AMBIGUOUS, None]  # not above
    assert Flags(0.05, 0.5).reasons(alpha, vacuity) == [None, None, UNFAMILIAR, UNFAMILIAR, None]
    assert str(flags) == "vacuity>0.5 or confidence<0.8"
    assert str(Flags(0.05, 0.123456)) == "vacuity>0.1235"


def test_doubts():
    alpha = torch.tensor([[1.0, 3, 4], [1e18, 1, 2], [5, 5, 5]], dtype=torch.float64)
    np.testing.assert_allclose(doubts(alpha), [0.5, 3e-18, 2 / 3], rtol=1e-12)


def test_rounding_does_not_flag_the_image_that_set_the_threshold():
    flags = Flags(0.05, vacuity=0.25)
    vacuity = torch.tensor([0.25, 0.25 * (1 + 1e-12), 0.25 * (1 + 1e-5)], dtype=torch.float64)
    assert flags.unfamiliar(vacuity).tolist() == [False, False, True]
