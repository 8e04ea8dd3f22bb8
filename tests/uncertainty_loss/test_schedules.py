"""Annealing of reg_factor."""

import json
import math

import pytest

import uncertainty_loss as ul


def values(schedule, n):
    return [schedule.value, *(schedule.step() for _ in range(n - 1))]


def test_constant():
    assert values(ul.ConstantSchedule(0.3), 3) == [0.3, 0.3, 0.3]


def test_linear():
    assert values(ul.LinearSchedule(1.0, steps=4, initial=0.5), 6) == [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]


def test_cosine():
    expected = [0.2 * (1 - math.cos(math.pi * k / 5)) / 2 for k in range(6)] + [0.2]
    assert values(ul.CosineSchedule(0.2, steps=5), 7) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [ul.LinearSchedule, ul.CosineSchedule])
def test_goes_on_from_a_checkpoint(kind):
    schedule = kind(1.0, steps=10)
    values(schedule, 4)
    state = json.loads(json.dumps(schedule.state_dict()))
    other = kind(9.0, steps=1)
    other.load_state_dict(state)
    assert values(other, 5) == values(schedule, 5)
    assert repr(other) == repr(schedule)


@pytest.mark.parametrize("other", [ul.ConstantSchedule(1.0), ul.CosineSchedule(1.0, steps=3)])
def test_state_of_another_kind(other):
    schedule = ul.LinearSchedule(1.0, steps=3)
    with pytest.raises(ValueError, match=r"expected a state of LinearSchedule with \['count', 'final', .*\], got \{'"):
        schedule.load_state_dict(other.state_dict())
    assert schedule.state_dict() == ul.LinearSchedule(1.0, steps=3).state_dict()


def test_steps_must_be_positive():
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        ul.LinearSchedule(1.0, steps=0)
