"""Thresholds keep their promise on new data, by simulation."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import uncertainty_loss as ul


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n", [19, 50, 200])
def test_new_scores_exceed_the_threshold_as_often_as_promised(n, rate):
    random, repetitions = np.random.default_rng(0), 3000
    validation, new = random.exponential(size=(repetitions, n)), random.exponential(size=repetitions)
    thresholds = np.array([ul.conformal_threshold(torch.from_numpy(row), rate) for row in validation])
    exceeded = (new > thresholds).mean()
    noise = 4 * math.sqrt(rate * (1 - rate) / repetitions)
    assert exceeded <= rate + noise
    assert exceeded >= rate - 1 / (n + 1) - noise  # and not much less: the threshold is no higher than it must be


@given(st.integers(1, 400), st.integers(1, 999))
def test_the_rank_in_exact_arithmetic(n, per_mille):
    rate = Fraction(per_mille, 1000)
    rank = math.ceil((n + 1) * (1 - rate))
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(n)).double() + 1
    assert ul.conformal_threshold(shuffled, float(rate)) == (rank if rank <= n else math.inf)


@pytest.mark.parametrize(("n", "rate"), [(0, 0.5), (18, 0.05), (98, 0.01)])
def test_too_few_scores_flag_nothing_and_one_more_will_do(n, rate):
    assert ul.conformal_threshold(torch.arange(float(n)), rate) == math.inf
    assert ul.conformal_threshold(torch.arange(float(n + 1)), rate) == n


def test_ties_and_infinite_scores():
    assert ul.conformal_threshold(torch.ones(40), 0.1) == 1
    assert ul.conformal_threshold(torch.full((40,), math.inf), 0.1) == math.inf
    assert ul.conformal_threshold(torch.arange(40), 0.5) == 20


@pytest.mark.parametrize(
    ("scores", "rate", "message"),
    [
        (torch.ones(2, 2), 0.1, r"expected scores of shape \(n,\), got \(2, 2\)"),
        (torch.tensor(1.0), 0.1, r"got \(\)"),
        (torch.ones(2), 0.0, r"expected a rate in \(0, 1\), got 0.0"),
        (torch.ones(2), 1.0, r"expected a rate in \(0, 1\), got 1.0"),
        (torch.ones(2), math.nan, r"expected a rate in \(0, 1\), got nan"),
        (torch.tensor([1.0, math.nan]), 0.1, "expected scores without NaN"),
    ],
)
def test_arguments_that_do_not_fit(scores, rate, message):
    with pytest.raises(ValueError, match=message):
        ul.conformal_threshold(scores, rate)
