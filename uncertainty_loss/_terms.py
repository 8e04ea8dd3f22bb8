"""Sums over the classes of functions of each class's evidence, with slopes in closed form."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, ParamSpec, TypeVar

import torch
from torch import Tensor

from uncertainty_loss._blocks import Temporaries, filled_in_blocks, in_blocks, temporary
from uncertainty_loss._checks import can_look, compiling
from uncertainty_loss._polynomial import constants, worked_out

_P = ParamSpec("_P")
_T = TypeVar("_T")


def with_signature(forward: Callable[_P, _T]) -> Callable[_P, _T]:
    """Note a forward's signature, which torch otherwise works out at every call."""
    forward.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    return forward


class Term:
    """A function of a class's evidence, element-wise; or several that have steps in common.

    Attributes:
        count: How many.
    """

    count: ClassVar[int] = 1

    @property
    def absent(self) -> float | None:
        """The evidence at which it is zero, to leave a class out of its sum; None where there is none such."""
        return 0.0

    def rows(self, classes: int, rest: Tensor, least: Tensor) -> tuple[Tensor, ...]:
        """What the function takes of a row as a whole, (N, 1, ...) each.

        Args:
            classes: How many the row has.
            rest: Evidence of all classes but the candidate; of many candidates the largest.
            least: The same; of many candidates the least, at least half the largest.
        """
        return ()

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        """The function, (N, C, ...)."""
        raise NotImplementedError

    def values(self, x: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        """All functions."""
        return (self.value(x, *rows),)

    def sums(self, x: Tensor, *rows: Tensor) -> list[Tensor]:
        """Their sums over the classes, (N, 1, ...) each."""
        return [value.sum(1, keepdim=True) for value in self.values(x, *rows)]

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        """Its derivative in x, in a new tensor; rows count as constants.

        Written in differentiable operations, so that second derivatives come for free.
        """
        raise NotImplementedError

    def add_slopes(
        self, total: Tensor, grads: Sequence[Tensor], x: Tensor, *rows: Tensor, out: Tensor | None = None
    ) -> Tensor:
        """total + the sum of grad · slope; all of them broadcast to x's shape, which the result has.

        For terms that get there in fewer steps than one after the other.

        Args:
            grads: One for each function.
            out: Where the result goes, unless None; total may be the same.
        """
        (grad,) = grads
        return torch.add(times(self.slope(x, *rows), grad), total, out=out)


def times(slope: Tensor, grad: Tensor) -> Tensor:
    """slope · grad, for a slope that nobody else has."""
    # Many gradients may come for one slope, as they do for a Jacobian: then there is no place for them in it.
    return slope.mul_(grad) if can_look(grad) else slope * grad


class Square(Term):
    """x²."""

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        return torch.mul(x, x, out=temporary(x))

    def add_slopes(
        self, total: Tensor, grads: Sequence[Tensor], x: Tensor, *rows: Tensor, out: Tensor | None = None
    ) -> Tensor:
        twice = grads[0] + grads[0]
        # In one step where torch has a fast one: not with two tensors that broadcast.
        if total.shape == x.shape:
            return torch.addcmul(total, x, twice, out=out)
        return torch.mul(x, twice, out=out).add_(total)


def elementwise(term: Term, x: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """The term's functions of every element, (N, C, ...) each; differentiable in x."""
    results: tuple[Tensor, ...] = apply(_Elementwise, term, x, rows)
    return results


class _Elementwise(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(term: Term, x: Tensor, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Not *rows: where no gradient is asked for, compilers tell by the number of arguments whether one is ctx.
        return term.values(x, *rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.term, x, rows = inputs
        ctx.save_for_backward(x, *rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        x, *rows = ctx.saved_tensors
        return None, ctx.term.add_slopes(x.new_zeros(()), grads, x, *rows), None


def sums(terms: tuple[Term, ...], x: Tensor, index: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """x at index, the sum of x elsewhere, and the sum elsewhere of every function of the terms: (N, 1, ...) each.

    Elsewhere is summed by itself: taking x at index off a total leaves no digits where it is nearly all.

    Args:
        terms: Functions to sum.
        x: (N, C, ...).
        index: (N, 1, ...), along dimension 1.
        dtype: Of the results; x's unless given. A wider one is that of the sum of x, too, from which rows are then
            made; the functions stay in x's.
    """
    results: tuple[Tensor, ...] = apply(_Sums, terms, x, index, dtype or x.dtype)
    return results


class _Sums(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(terms: tuple[Term, ...], x: Tensor, index: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
        def block(x: Tensor, index: Tensor) -> tuple[Tensor, ...]:
            others = put(x, index, 0.0, out=temporary(x, by_class=True))
            rest = others.sum(1, keepdim=True, dtype=dtype)
            results = [x.gather(1, index), rest]
            # Terms take it as a constant, and who differentiates a trace has to, too.
            fixed = rest if can_look(rest) else rest.detach()
            for term in terms:
                rows = _rows(term, x, fixed)
                with Temporaries():
                    totals = term.sums(_without(term, x, others, index), *rows)
                if term.absent is None:
                    excess = term.values(torch.zeros_like(rest, dtype=x.dtype), *rows)
                    totals = [total - more for total, more in zip(totals, excess, strict=True)]
                results += totals
            return tuple(results) if dtype == x.dtype else tuple(result.to(dtype) for result in results)

        return in_blocks(block, x, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.terms, x, index, _ = inputs
        ctx.save_for_backward(x, index, output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None]:
        x, index, rest = ctx.saved_tensors
        mine = [grad.to(x.dtype) for grad in grads]
        return None, pull_back(ctx.terms, x, index, rest.detach(), mine), None, None


def pull_back(terms: tuple[Term, ...], x: Tensor, index: Tensor, rest: Tensor, grads: Sequence[Tensor]) -> Tensor:
    """The gradient of x from those of its `sums`.

    Args:
        terms, x, index: As in `sums`.
        rest: The sum of x elsewhere, (N, 1, ...), a constant, as `sums` gave it.
        grads: One for each sum, (N, 1, ...).
    """

    def block(
        x: Tensor, index: Tensor, rest: Tensor, grad_own: Tensor, total: Tensor, *grads: Tensor, out: Tensor | None
    ) -> Tensor:
        # What comes out at index is written over. A second derivative must not pass there all the same.
        others = put(x, index, 0.0) if torch.is_grad_enabled() else x
        for term in terms:
            mine, grads = grads[: term.count], grads[term.count :]
            elsewhere = _without(term, x, others, index) if torch.is_grad_enabled() else x
            rows = _rows(term, x, rest)
            with Temporaries():
                total = term.add_slopes(total, mine, elsewhere, *rows, out=out)
        return put_(total, index, grad_own) if terms else put(total.expand_as(x), index, grad_own, out)

    return filled_in_blocks(block, x, index, rest, *worked_out(*grads))


def _rows(term: Term, x: Tensor, rest: Tensor) -> tuple[Tensor, ...]:
    # What a term decides by the sum, a formula may decide again by the same: cast is only what came of it.
    rows = term.rows(x.shape[1], rest, rest)
    return rows if rest.dtype == x.dtype else tuple(row.to(x.dtype) for row in rows)


def sums_for_each(terms: tuple[Term, ...], x: Tensor, most: Tensor) -> tuple[Tensor, ...]:
    """`sums` for every class as the one that is left out, but for the class with most evidence: (N, C, ...) each.

    That class may have nearly all evidence. All other sums have it in them, so that no two of a kind differ much: they
    are the total less one of the smaller parts, and one constant of the row suits the terms of all. In its own place
    stands something finite without a derivative.

    Args:
        terms: Functions to sum.
        x: (N, C, ...), C ≥ 2.
        most: Where x is largest, (N, 1, ...), along dimension 1.
    """
    rest = leave_one_out(x)
    with torch.no_grad():
        second = put(x, most, 0.0).amax(1, keepdim=True)
        least, largest = put(rest, most, math.inf).amin(1, keepdim=True), put(rest, most, 0.0).amax(1, keepdim=True)
    results = [put(x, most, second), put(rest, most, least)]
    for term in terms:
        values = elementwise(term, x, *term.rows(x.shape[1], largest, least))
        results += [leave_one_out(value) for value in values]
    return tuple(results)


def first_largest(x: Tensor) -> Tensor:
    """Index of the largest entry along dimension 1, the first of equal ones, (N, 1, ...); any where one is NaN."""
    if not can_look(x):
        return x.argmax(1, keepdim=True)
    # Torch's own takes as long as a loss. Here the least k - C of the entries that are largest, or else 0.
    classes = x.shape[1]
    largest = torch.eq(x, x.amax(1, keepdim=True), out=torch.empty_like(x))
    rank = torch.arange(classes, dtype=x.dtype, device=x.device).view(-1, *[1] * (x.ndim - 2))
    return torch.sub(rank, largest, alpha=classes).amin(1, keepdim=True).remainder_(classes).long()


def _without(term: Term, x: Tensor, others: Tensor, index: Tensor) -> Tensor:
    """x with the term's `absent` at index; others is x with zero there."""
    return put(x, index, term.absent) if term.absent else others


def put(x: Tensor, index: Tensor, value: Tensor | float, out: Tensor | None = None) -> Tensor:
    """x with a value, or one a row, at index along dimension 1; index and values are (N, 1, ...)."""
    if compiling(x):
        # A comparison fuses with what comes before and after; a scatter would be a kernel of its own.
        # Numbers of the size of x's, for a vector to hold as many.
        classes = torch.arange(x.shape[1], device=x.device, dtype=torch.int32).view(-1, *[1] * (x.ndim - 2))
        return torch.where(classes == index.int(), value, x)
    # With a tensor of values, which has the faster kernel.
    values = value if isinstance(value, Tensor) else _filled(index, value, x)
    return torch.scatter(x, 1, index, values, out=temporary(x) if out is None else out)


def _filled(index: Tensor, value: float, x: Tensor) -> Tensor:
    if can_look(x):
        return constants((value,), x.dtype)[0].expand(index.shape)
    return torch.full(index.shape, value, dtype=x.dtype, device=x.device)


def put_(x: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """`put` for a tensor that nobody else has: in place where that is cheaper."""
    return x.scatter_(1, index, values) if can_look(x) else put(x, index, values)


def leave_one_out(x: Tensor) -> Tensor:
    """Σ_{j≠k} x_j for every k of dimension 1, precise even where x_k is nearly the whole sum.

    Example:
        >>> leave_one_out(torch.tensor([[1e9, 1.0, 2.0]]))
        tensor([[3.0000e+00, 1.0000e+09, 1.0000e+09]])
    """
    result: Tensor = apply(_LeaveOneOut, x)
    return result


class _LeaveOneOut(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(x: Tensor) -> Tensor:
        if x.dtype == torch.float32 and x.device.type != "mps":
            # The total with twice the digits. The first difference is exact for an x_k that is nearly all of it.
            total = x.sum(1, keepdim=True, dtype=torch.float64)
            high = total.float()
            low = (total - high).float()
        else:
            # The largest, and the total without it: what is left where x_k is the largest is a sum of all others.
            where = first_largest(x.abs())
            high, low = x.gather(1, where), put(x, where, 0.0).sum(1, keepdim=True)
        return (high - x).add_(low)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # It is its own transpose; automatic derivatives would lose digits where gradients differ in size.
        return leave_one_out(grad)


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """function.apply, or its bare forward where nobody asks for a gradient (compilers trace that further)."""
    tracing = not torch.compiler.is_compiling() and torch._C._is_tracing()
    return function.apply(*arguments) if torch.is_grad_enabled() and not tracing else function.forward(*arguments)
