"""Polynomials by Horner's rule: most of what the losses compute, and most of their time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import zip_longest

import torch
from torch import Tensor

from uncertainty_loss._blocks import temporary
from uncertainty_loss._checks import can_look, compiling


def polynomial(coefficients: tuple[float, ...], t: Tensor, constant: Tensor | None = None) -> Tensor:
    """Σ_k c_k t^k; with a constant, a tensor that broadcasts to t's shape, t Σ_k c_k t^k + constant.

    Args:
        coefficients: Two or more, the lowest first.
    """
    last = () if constant is None else (constant,)
    if torch.is_grad_enabled() or not can_look(t):
        return _apart(coefficients[-1], (*coefficients[-2::-1], *last), t)
    # With numbers that are tensors already.
    second, *steps = constants(coefficients[-2::-1], t.dtype)
    return _in_place(torch.add(second, t, alpha=coefficients[-1], out=temporary(t)), (*steps, *last), t)


def polynomials(each: tuple[tuple[float, ...], ...], t: Tensor) -> Tensor:
    """`polynomial` of every tuple of coefficients, stacked, in the steps of the longest."""
    if not can_look(t):
        return torch.stack([polynomial(coefficients, t) for coefficients in each])
    last, second, *steps = _steps(each, t.dtype, t.ndim)
    return _in_place(torch.addcmul(second, last, t), steps, t)


@cache
def _steps(each: tuple[tuple[float, ...], ...], dtype: torch.dtype, ndim: int) -> tuple[Tensor, ...]:
    """Coefficients of all for each step, (len(each), 1, ..., 1), the highest first."""
    powers = zip_longest(*each, fillvalue=0.0)
    with torch.inference_mode(False):
        rows = [torch.tensor(row, dtype=dtype, device="cpu").view(-1, *[1] * ndim) for row in powers]
    return tuple(reversed(rows))


def whole_power(x: Tensor, p: int) -> Tensor:
    """x^p for p ≥ 1: torch has a fast one for the least p alone."""
    if p == 1:
        return x
    half = whole_power(x, p // 2)
    return half * half * x if p % 2 else half * half


def root(x: Tensor, p: int) -> Tensor:
    """x^(1/p) for p ≥ 1, by square roots as far as they go."""
    while p % 2 == 0:
        x, p = x.sqrt(), p // 2
    return x ** (1 / p) if p > 1 else x


def row_polynomial(
    coefficients: Sequence[Tensor], leading: Tensor | float, t: Tensor, out: Tensor | None = None
) -> Tensor:
    """Σ_k c_k t^k with a coefficient for each row.

    Args:
        coefficients: All but the last, tensors that broadcast to t's shape; one or more, the lowest first.
        leading: The last.
        t: Any shape.
        out: Where the result goes; by default a `temporary`.
    """
    second, *steps = reversed(worked_out(*coefficients))
    if torch.is_grad_enabled() or not can_look(t, second):
        return _apart(leading, (second, *steps), t)
    place = temporary(t) if out is None else out
    if isinstance(leading, Tensor):
        total = torch.mul(t, leading, out=place).add_(second)
    else:
        total = torch.add(second, t, alpha=leading, out=place)
    return _in_place(total, steps, t)


def _apart(leading: Tensor | float, steps: Iterable[Tensor | float], t: Tensor) -> Tensor:
    total = leading
    for step in steps:
        total = total * t + step
    assert isinstance(total, Tensor)
    return total


def _in_place(total: Tensor, steps: Iterable[Tensor], t: Tensor) -> Tensor:
    # A processor is faster with one operation a step, all of them in one place.
    for step in steps:
        torch.addcmul(step, total, t, out=total)
    return total


@cache
def constants(values: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Numbers as tensors, with which a processor computes faster; not for what is traced."""
    # Inference mode's tensors are of no use outside of it.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device="cpu").unbind()


def numbers(values: tuple[float, ...], like: Tensor) -> Sequence[float | Tensor]:
    """`constants` where they are fit for what is to be computed from the tensor."""
    return constants(values, like.dtype) if can_look(like) else values


def number(value: float, like: Tensor) -> float | Tensor:
    """One of `numbers`."""
    return numbers((value,), like)[0]


def worked_out(*rows: Tensor) -> Sequence[Tensor]:
    """The same tensors, one or more of one shape.

    Those of one number a row, (N, 1, ...), in one tensor where a compiler would make them for every element anew.
    """
    if not compiling(rows[0]) or rows[0].shape[1] > 1:
        return rows
    return torch.cat(rows, 1).chunk(len(rows), 1)
