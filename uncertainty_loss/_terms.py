"""Sums over the classes of a function of each class's evidence, with a slope that is known in closed form.

A term has `value(x, *rows)` and `slope(x, *rows)`, element-wise in x of shape (N, C, ...); rows are constants of shape
(N, 1, ...). Its slope is written in differentiable operations, so that second derivatives come for free.

Torch would run through the whole batch once an operation. Here a processor takes a few rows at a time through the
whole formula: they stay in its cache, and no temporary is ever as large as the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from uncertainty_loss._checks import can_look

# Elements that go through a formula together: several temporaries of this size fit into a core's cache.
_BLOCK = 1 << 16


class Term(Protocol):
    """A function of a class's evidence."""

    def value(self, x: Tensor, *rows: Tensor) -> Tensor: ...

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor: ...


class Square:
    """x²."""

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        return x * x

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        return 2 * x


def elementwise(term: Term, x: Tensor, *rows: Tensor) -> Tensor:
    """The term of every element, the shape of x; differentiable in x."""
    return apply(_Elementwise, term, x, *rows)


def summed(term: Term, x: Tensor, *rows: Tensor) -> Tensor:
    """The sum of the term over dimension 1, (N, 1, ...); differentiable in x."""
    return apply(_Summed, term, x, *rows)


def summed_without(index: Tensor, term: Term, x: Tensor, *rows: Tensor) -> Tensor:
    """The same with x = 0 at index, (N, 1, ...), and no derivative there."""
    return apply(_Summed, _Without(term), x, index, *rows)


class _Without:
    """A term of x with zero at index, its first row."""

    def __init__(self, term: Term) -> None:
        self.term = term

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        index, *rest = rows
        return self.term.value(put(x, index, 0.0), *rest)

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        index, *rest = rows
        return put(self.term.slope(put(x, index, 0.0), *rest), index, 0.0)


def put(x: Tensor, index: Tensor, value: Tensor | float) -> Tensor:
    """x with a value, or one a row, at index along dimension 1; index and values are (N, 1, ...)."""
    if torch.compiler.is_compiling():
        # A comparison fuses with what comes before and after; a scatter would be a kernel of its own.
        classes = torch.arange(x.shape[1], device=x.device).view(-1, *[1] * (x.ndim - 2))
        return torch.where(classes == index, value, x)
    # With a tensor of values, which has the faster kernel.
    values = value if isinstance(value, Tensor) else torch.full(index.shape, value, dtype=x.dtype, device=x.device)
    return x.scatter(1, index, values)


class _Elementwise(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(term: Term, x: Tensor, *rows: Tensor) -> Tensor:
        return term.value(x, *rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.term = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *rows = ctx.saved_tensors
        return None, grad * ctx.term.slope(x, *rows), *[None] * len(rows)


class _Summed(_Elementwise):
    @staticmethod
    def forward(term: Term, x: Tensor, *rows: Tensor) -> Tensor:
        return in_blocks(lambda x, *rows: term.value(x, *rows).sum(1, keepdim=True), x, *rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *rows = ctx.saved_tensors
        slopes = in_blocks(lambda x, grad, *rows: ctx.term.slope(x, *rows) * grad, x, grad, *rows)
        return None, slopes, *[None] * len(rows)


def in_blocks(function: Callable[..., Tensor], x: Tensor, *rows: Tensor) -> Tensor:
    """function(x, *rows), a block of rows at a time where that pays.

    Args:
        function: Treats every row by itself; result of shape (N, M, ...).
        x: (N, C, ...).
        rows: (N, 1, ...) or (N, C, ...) each.
    """
    dims = [dim for dim in (0, *range(2, x.ndim)) if x.shape[dim] > 1]
    if not dims or x.numel() <= 2 * _BLOCK or torch.is_grad_enabled() or not can_look(x):
        return function(x, *rows)
    # Along the first dimension that has a length; what is still too large is cut again.
    dim = dims[0]
    step = max(1, _BLOCK * x.shape[dim] // x.numel())
    result: Tensor | None = None
    for dim in (0, *range(2, x.ndim)):
        slice_size = x.numel() // x.shape[dim]
        if slice_size <= _BLOCK or dim == x.ndim - 1:
            break
        if x.shape[dim] > 1:
            break
    for start in range(0, x.shape[dim], step):
        length = min(step, x.shape[dim] - start)
        block = in_blocks(function, *(tensor.narrow(dim, start, length) for tensor in (x, *rows)))
        if result is None:
            same = block.shape[1] == x.shape[1]
            result = torch.empty_like(x) if same else x.new_empty(x.shape[0], block.shape[1], *x.shape[2:])
        result.narrow(dim, start, length).copy_(block)
    assert result is not None
    return result


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """function.apply, or its bare forward where nobody asks for a gradient (compilers trace that further)."""
    if torch.is_grad_enabled():
        result: Tensor = function.apply(*arguments)
    else:
        result = function.forward(*arguments)
    return result
