"""Decoding on several threads, batches in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ulcli.data.images import ImageError
from ulcli.data.imageset import ImageSet
from ulcli.data.transform import Transform

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Consecutive images of a set: the tensors of those that could be read, the errors of the others."""

    indices: range
    images: Tensor  # (number of readable images, channels, height, width), float32
    readable: list[int]  # which of `indices` the rows of `images` are
    errors: dict[int, str]


def default_workers() -> int:
    """One decoding thread a core that this process may use; decoding releases the interpreter's lock."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batches(images: ImageSet, transform: Transform, batch_size: int, workers: int) -> Iterator[Batch]:
    """Every image of the set, decoded and transformed, in order; at most three batches are held at a time."""
    import torch

    spans = (range(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size))
    pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="decode")
    try:
        waiting: deque[tuple[range, list[Future[Tensor | str]]]] = deque()

        def start(count: int) -> None:
            for span in islice(spans, count):
                waiting.append((span, [pool.submit(_read, images, transform, index) for index in span]))

        start(2)
        while waiting:
            span, futures = waiting.popleft()
            results = {index: future.result() for index, future in zip(span, futures, strict=True)}
            start(1)
            errors = {index: result for index, result in results.items() if isinstance(result, str)}
            tensors = [result for result in results.values() if not isinstance(result, str)]
            stacked = torch.stack(tensors) if tensors else torch.empty(0, *transform.shape)
            yield Batch(span, stacked, [index for index in span if index not in errors], errors)
    finally:
        # Ctrl-C, or a consumer that stops early: drop what has not started.
        pool.shutdown(wait=True, cancel_futures=True)


def _read(images: ImageSet, transform: Transform, index: int) -> Tensor | str:
    try:
        return transform(images.load(index))
    except ImageError as error:
        return str(error)
