"""Find the logits in whatever a network gives: a tensor, a tuple, a dictionary, an object."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from ulcli.errors import UserError

_DEEPEST = 3  # levels of nesting that are looked into


def first_tensor(value: Any) -> Tensor | None:
    """The tensor itself, or the first entry of a tuple or list, where many layers put their result."""
    if isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def matrices(output: Any, images: int, arch: str) -> list[Tensor]:
    """Return every tensor (N, K) of a network's output, the likelier logits first.

    What is named `logits` counts alone. Dimensions of size 1 are dropped; a vector (N,) is one logit an image, and
    comes after wider entries.

    Raises:
        UserError: There is none.
    """
    found = [matrix for tensor in _tensors(output) if (matrix := _as_matrix(tensor, images)) is not None]
    if not found:
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(f"'{arch}' is no image classifier: it gives {given}, expected a tensor (batch, classes)")
    return sorted(found, key=lambda matrix: matrix.shape[1] == 1)


def choose_matrix(found: list[Tensor], widths: Iterable[int]) -> int:
    """The position of the entry as wide as a classifier, the first of `widths` that fits one; else 0."""
    for width in widths:
        for position, matrix in enumerate(found):
            if matrix.shape[1] == width:
                return position
    return 0


def _tensors(output: Any, depth: int = 0) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
        return
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor):
        yield logits
    elif depth < _DEEPEST:
        for part in _parts(output):
            yield from _tensors(part, depth + 1)


def _parts(output: Any) -> Iterable[Any]:
    if isinstance(output, Mapping):
        return list(output.values())
    if isinstance(output, tuple | list):
        return output
    if dataclasses.is_dataclass(output):
        return [getattr(output, field.name) for field in dataclasses.fields(output)]
    return list(getattr(output, "__dict__", {}).values())


def _as_matrix(tensor: Tensor, images: int) -> Tensor | None:
    if not tensor.is_floating_point() or not tensor.dim() or len(tensor) != images or not tensor.numel():
        return None
    if sum(size > 1 for size in tensor.shape[1:]) > 1:
        return None
    return tensor.reshape(images, -1)
