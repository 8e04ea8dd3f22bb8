"""How compilers see a loss: as one operation of the graph, into which torch.compile looks only to generate code."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

_P = ParamSpec("_P")
_T = TypeVar("_T")

_operations: dict[str, Callable[..., Any]] = {}


def in_graph(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """The function, which Dynamo writes into its graph as it stands.

    Otherwise it would go through all of the Python behind it, with a check for each name there at every later call
    (370 of them, 30 µs), and make inputs of all constants where sizes are dynamic. Needs tensors, numbers, strings and
    None as arguments.
    """
    name = function.__name__
    _operations[name] = function

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        if torch.compiler.is_compiling():
            _allow_in_graph()
            # By name: Dynamo of torch 2.6 looks at what a closure holds before the line above has run.
            result: _T = _operations[name](*args, **kwargs)
            return result
        return function(*args, **kwargs)

    return call


def _allow_in_graph() -> None:
    """Registers all at the first trace: to register imports Dynamo."""
    for function in _operations.values():
        torch.compiler.allow_in_graph(function)  # type: ignore[no-untyped-call]


# As torch.compiler.assume_constant_result does, but without importing Dynamo, which takes nearly as long as torch. It
# then calls the function when it gets there, rather than to look into it. The attribute is torch's own business; that
# it still works, tests of the graph's operations see.
_allow_in_graph._dynamo_marked_constant = True  # type: ignore[attr-defined]
