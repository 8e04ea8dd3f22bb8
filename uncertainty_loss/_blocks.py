"""A few rows of a batch at a time, with memory for temporaries that is kept.

Torch would run the whole batch through one operation after the other. Here a processor takes a few rows at a time
through all of a loss: they stay in its cache, and no temporary is ever as large as the batch. What temporaries there
are live in memory that each thread keeps. Freed memory of some MiB would go back to the system, and page faults, when
it is asked for again, take longer than the loss.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

import torch
from torch import Tensor

from uncertainty_loss._checks import can_look, looked

# Elements that go through together: the temporaries of one block, 2 MiB each, fit into a processor's cache, and what a
# block costs beside them (a hundred small operations, for which the threads wait on each other) is little.
_BLOCK = 1 << 19

# What is smaller comes from memory that the process keeps anyway.
_SMALLEST = 1 << 14

# Up to here a number of the row meets the classes faster one class after the other, see `temporary`.
_FEW_CLASSES = 16

# Batches differ in size; each size has a view of its own.
_MOST_VIEWS = 256


def in_blocks(
    function: Callable[..., tuple[Tensor, ...]], x: Tensor, *rows: Tensor, temporaries: bool = True
) -> tuple[Tensor, ...]:
    """function(x, *rows), a block of rows at a time where that pays.

    Args:
        function: Treats every row by itself; results of shape (N, M, ...), with a few numbers a row.
        x: (N, C, ...).
        rows: The same with other sizes of dimension 1.
        temporaries: Whether there may be temporaries; not where a graph is built in the function.
    """
    return _served(function, x, *rows, temporaries=temporaries) if _serves(x, *rows) else function(x, *rows)


def filled_in_blocks(function: Callable[..., Tensor], x: Tensor, *rows: Tensor) -> Tensor:
    """function(x, *rows, out=out), likewise, for one result of x's shape, in out unless that is None."""
    if not _serves(x, *rows):
        return function(x, *rows, out=None)

    def fill(x: Tensor, out: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        function(x, *rows, out=out)
        return ()

    result = torch.empty_like(x)
    _served(fill, x, result, *rows)
    return result


def _serves(*tensors: Tensor) -> bool:
    return not torch.is_grad_enabled() and can_look(*tensors)


def _served(
    function: Callable[..., tuple[Tensor, ...]], x: Tensor, *rows: Tensor, temporaries: bool = True
) -> tuple[Tensor, ...]:
    before = _memory.used, looked.already
    # Not by Temporaries: an interrupt may come as its methods begin, and then temporaries would be kept forever.
    try:
        _memory.used = (_memory.used or 0) if temporaries else None
        looked.already = True
        return _joined(function, x, *rows)
    finally:
        _memory.used, looked.already = before


def _joined(function: Callable[..., tuple[Tensor, ...]], x: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    dims = [dim for dim in (0, *range(2, x.ndim)) if x.shape[dim] > 1] if x.numel() > _BLOCK else []
    if not dims:
        return function(x, *rows)
    # Along the first dimension that has a length; what is still too large is cut again.
    dim = dims[0]
    step = max(1, _BLOCK * x.shape[dim] // x.numel())
    if step > 64:
        step -= step % 16  # blocks that do not start with a cache line are slow
    results = []
    for start in range(0, x.shape[dim], step):
        length = min(step, x.shape[dim] - start)
        with Temporaries():
            results.append(_joined(function, *(tensor.narrow(dim, start, length) for tensor in (x, *rows))))
    return tuple(torch.cat(parts, dim) for parts in zip(*results, strict=True))


class _Memory(threading.local):
    """What a thread keeps.

    Attributes:
        used: How many temporaries there are now; None outside of blocks.
        slots: Room for the largest so far, by number and dtype.
        views: Of the slots, by number, dtype, shape and strides.
    """

    def __init__(self) -> None:
        self.used: int | None = None
        self.slots: dict[tuple[int, torch.dtype], Tensor] = {}
        self.views: dict[tuple[object, ...], Tensor] = {}


_memory = _Memory()


class Temporaries:
    """A `with` block at whose end the temporaries that were made in it are free."""

    def __enter__(self) -> None:
        if not torch.compiler.is_compiling():
            self._before = _memory.used

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not torch.compiler.is_compiling():
            _memory.used = self._before


def temporary(like: Tensor, by_class: bool = False) -> Tensor | None:
    """A place for a result of the tensor's shape, for torch's argument out; None, for a new one, where none is kept.

    Args:
        like: (N, C, ...).
        by_class: Keep few classes of many rows each in one piece, so that what there is one of for a row comes in
            pieces as long: torch needs three times as long to have a number meet ten others.
    """
    if torch.compiler.is_compiling() or _memory.used is None or not _SMALLEST <= like.numel() <= _BLOCK:
        return None
    slot = _memory.used, like.dtype
    key = *slot, by_class, like.shape, like.stride()
    view = _memory.views.get(key)
    if view is None:
        view = _memory.views[key] = _view(slot, like, by_class)
    _memory.used += 1
    return view


def _view(slot: tuple[int, torch.dtype], like: Tensor, by_class: bool) -> Tensor:
    # Inference mode's tensors are of no use outside of it.
    with torch.inference_mode(False):
        room = _memory.slots.get(slot)
        if room is None or room.numel() < like.numel():
            # Views are what keeps the smaller one.
            _memory.views.clear()
            _memory.slots[slot] = room = torch.empty(like.numel(), dtype=slot[1], device="cpu")
        if len(_memory.views) >= _MOST_VIEWS:
            _memory.views.clear()
        if by_class and like.ndim == 2 and like.shape[1] <= _FEW_CLASSES:
            return room.as_strided(like.shape, (1, like.shape[0]))
        # Strides as torch itself would choose them.
        return room.as_strided(like.shape, torch.empty_like(like, device="meta").stride())
