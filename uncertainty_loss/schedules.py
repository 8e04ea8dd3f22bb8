"""Annealing of reg_factor: how much the regulariser counts at each step of training.

A schedule counts steps and can be saved with a checkpoint:

    schedule = LinearSchedule(1.0, steps=1000)
    for inputs, targets in batches:
        loss = evidential_loss(clamped_exp(network(inputs)), targets, schedule.value)
        ...
        schedule.step()

In a compiled graph pass torch.tensor(schedule.value): a plain number is compiled anew at its first changes.
"""

from __future__ import annotations

import math
from typing import Any


class ConstantSchedule:
    """The same factor at every step.

    Args:
        final: The factor.

    Example:
        >>> ConstantSchedule(0.1).value
        0.1
    """

    def __init__(self, final: float) -> None:
        self.final = final
        self.count = 0

    def factor(self, count: int) -> float:
        """The factor after count steps."""
        return self.final

    @property
    def value(self) -> float:
        """The factor now."""
        return self.factor(self.count)

    def step(self) -> float:
        """Count one step; returns the factor for the next."""
        self.count += 1
        return self.value

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on from here."""
        return {"schedule": type(self).__name__, **vars(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken, settings included.

        Raises:
            ValueError: The state is not one of this kind of schedule.
        """
        own = self.state_dict()
        if state.keys() != own.keys() or state["schedule"] != own["schedule"]:
            raise ValueError(f"expected a state of {own['schedule']} with {sorted(own)}, got {state}")
        vars(self).update({name: state[name] for name in vars(self)})

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__}({settings})"


class LinearSchedule(ConstantSchedule):
    """From initial to final in a straight line, then constant.

    Args:
        final: The factor from the last step on.
        steps: How many steps it takes, ≥ 1.
        initial: The factor at the start.

    Example:
        >>> schedule = LinearSchedule(1.0, steps=4)
        >>> [schedule.value] + [schedule.step() for _ in range(5)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, final: float, steps: int, initial: float = 0.0) -> None:
        if steps < 1:
            raise ValueError(f"steps must be >= 1, got {steps}")
        super().__init__(final)
        self.steps = steps
        self.initial = initial

    def factor(self, count: int) -> float:
        return self.initial + (self.final - self.initial) * self.progress(min(count / self.steps, 1.0))

    def progress(self, time: float) -> float:
        """Share of the way, for time in [0, 1]."""
        return time


class CosineSchedule(LinearSchedule):
    """From initial to final along half a cosine, gentle at both ends, then constant.

    Args:
        final: The factor from the last step on.
        steps: How many steps it takes, ≥ 1.
        initial: The factor at the start.

    Example:
        >>> schedule = CosineSchedule(1.0, steps=4)
        >>> [round(schedule.value, 3)] + [round(schedule.step(), 3) for _ in range(5)]
        [0.0, 0.146, 0.5, 0.854, 1.0, 1.0]
    """

    def progress(self, time: float) -> float:
        return (1 - math.cos(math.pi * time)) / 2
