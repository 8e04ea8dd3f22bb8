"""Polynomials by Horner's rule: most of what the losses compute, and most of their time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from uncertainty_loss._checks import can_look


def polynomial(coefficients: Sequence[float | Tensor], t: Tensor, constant: Tensor | None = None) -> Tensor:
    """Σ_k c_k t^k, in a new tensor; with a constant, t Σ_k c_k t^k + constant.

    Args:
        coefficients: Two or more, lowest first: numbers, or tensors that broadcast to t's shape; the last may be a
            number with both.
        t: Any shape.
        constant: A tensor that broadcasts to t's shape.
    """
    *lower, last = coefficients
    if torch.is_grad_enabled() or not can_look(t) or (isinstance(last, Tensor) and not can_look(last)):
        total = t * last
        for coefficient in reversed(lower[1:]):
            total = (total + coefficient) * t
        total = total + lower[0]
        return total if constant is None else total * t + constant
    # A processor is faster with one operation a step, in one place, and with numbers that are tensors already.
    steps = [*_tensors(tuple(lower), t.dtype)]
    first = steps.pop()
    total = (t * last).add_(first) if isinstance(last, Tensor) else torch.add(first, t, alpha=last)
    for step in (*reversed(steps), *([] if constant is None else [constant])):
        torch.addcmul(step, total, t, out=total)
    return total


def _tensors(values: tuple[float | Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return values if isinstance(values[0], Tensor) else _constants(values, dtype)  # type: ignore[return-value]


@cache
def _constants(values: tuple[float | Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return torch.tensor(values, dtype=dtype, device="cpu").unbind()
