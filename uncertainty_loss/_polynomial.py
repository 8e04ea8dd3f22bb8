"""Polynomials by Horner's rule: most of what the losses compute, and most of their time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from uncertainty_loss._blocks import temporary
from uncertainty_loss._checks import can_look


def polynomial(
    coefficients: Sequence[float | Tensor], t: Tensor, constant: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """Σ_k c_k t^k; with a constant, t Σ_k c_k t^k + constant.

    Args:
        coefficients: Two or more, lowest first: numbers, or tensors that broadcast to t's shape; the last may be a
            number with both.
        t: Any shape.
        constant: A tensor that broadcasts to t's shape.
        out: Where the result goes; by default a `temporary`.
    """
    last, *lower = reversed(coefficients)
    if torch.is_grad_enabled() or not can_look(t) or (isinstance(last, Tensor) and not can_look(last)):
        total = t * last
        for coefficient in lower[:-1]:
            total = (total + coefficient) * t
        total = total + lower[-1]
        return total if constant is None else total * t + constant
    # A processor is faster with one operation a step, in one place, and with numbers that are tensors already.
    first, *steps = _tensors(tuple(lower), t.dtype)
    place = temporary(t) if out is None else out
    if isinstance(last, Tensor):
        total = torch.mul(t, last, out=place).add_(first)
    else:
        total = torch.add(first, t, alpha=last, out=place)
    for step in steps if constant is None else (*steps, constant):
        torch.addcmul(step, total, t, out=total)
    return total


def _tensors(values: tuple[float | Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return values if isinstance(values[0], Tensor) else _constants(values, dtype)  # type: ignore[return-value]


@cache
def _constants(values: tuple[float | Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return torch.tensor(values, dtype=dtype, device="cpu").unbind()
