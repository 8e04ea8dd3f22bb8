"""The usual ways to preprocess, tried on a few images: with one of them a bad classifier may do far better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ulcli.data.imageset import LabelledSet, Subset, common_size
from ulcli.data.transform import NORMALIZATIONS, Transform
from ulcli.errors import UserError
from ulcli.network.classes import Order, is_far_better, match_rows, share
from ulcli.network.features import Extractor
from ulcli.network.linear import Linear
from ulcli.reporting import Reporter, Silent

_IMAGES = 64  # enough to see tens of points; a pass for each trial takes seconds on a CPU
_BATCH = 16  # a network for small images may fill the memory with large ones
_SIZES = (28, 32, 64, 96, 128, 224)  # that networks are trained with
_SMALL = 96  # up to this size a pass of a few images is cheap
_GRAY = (((0.1307,), (0.3081,)), ((0.5,), (0.5,)))  # MNIST's, and to [-1, 1]
_AT_LEAST = 0.1  # better, in accuracy


@dataclass(frozen=True)
class Better:
    """A preprocessing that fits far better, as options, and the accuracy with it."""

    options: str
    accuracy: float


def find_better_preprocessing(
    classifier: Linear, order: Order, extract: Extractor, images: LabelledSet, reporter: Reporter
) -> Better | None:
    """Try other sizes and normalizations, and give the best one if it is far better."""
    places = np.unique(np.linspace(0, len(images) - 1, min(_IMAGES, len(images))).round().astype(np.int64))
    trial = _Trial(classifier, order, extract, Subset(images, places, images.name))
    now = extract.transform
    right_now = trial(now)
    if right_now is None:
        return None
    best, best_right, tried = now, right_now, {now}
    sizes, normalizations = list(_other_sizes(now, trial.images)), [{}, *_other_normalizations(now)]
    small = [size for size in sizes if size["crop"] <= _SMALL]
    # Both may be wrong, and then neither helps without the other. Small images are cheap enough for every pair.
    candidates = chain(
        (replace(now, **size) for size in sizes),
        (replace(now, **each) for each in normalizations),
        (replace(now, **size, **each) for size in small for each in normalizations),
        (replace(best, **each) for each in normalizations),  # the best by then
    )
    total = len(sizes) + (2 + len(small)) * len(normalizations)
    with reporter.track("trying other preprocessing", total) as advance:
        for transform in candidates:
            if transform not in tried and share(best_right) <= 1 - _AT_LEAST:  # else none could be far better
                tried.add(transform)
                right = trial(transform)
                if right is not None and right.sum() > best_right.sum():
                    best, best_right = transform, right
            advance(1)
    if share(best_right) - share(right_now) < _AT_LEAST or not is_far_better(best_right, right_now):
        return None
    return Better(_options(now, best), share(best_right))


@dataclass(frozen=True)
class _Trial:
    """The classifier on a few images."""

    classifier: Linear
    order: Order
    extract: Extractor
    images: LabelledSet

    def __call__(self, transform: Transform) -> Tensor | None:
        """Tell which images are right with a preprocessing; None where the network does not take such images."""
        try:
            extract = replace(self.extract, transform=transform, cache=None, batch_size=_BATCH)
            features = extract(self.images, Silent())
            logits = self.classifier(features.values).float()
        except (UserError, RuntimeError, ValueError, AssertionError, IndexError):
            return None
        if len(logits) < len(self.images):
            return torch.zeros(len(self.images), dtype=torch.bool)
        # Both may be wrong at once: with other pixels another order of the classes may come to light.
        match = match_rows(logits, features.labels, len(self.images.classes), [self.order])
        return None if match is None else match.right


def _other_sizes(now: Transform, images: LabelledSet) -> Iterator[dict[str, Any]]:
    sizes = {*_SIZES, *([native] if (native := common_size(images)) is not None else [])}
    for size in sorted(sizes - ({now.crop} if now.resize == now.crop else set())):
        yield {"resize": size, "crop": size}


def _other_normalizations(now: Transform) -> Iterator[dict[str, Any]]:
    channels = now.channels
    values = _GRAY if now.grayscale else NORMALIZATIONS.values()
    for mean, std in (((0.0,) * channels, (1.0,) * channels), *values):
        if (mean, std) != (now.mean, now.std):
            yield {"mean": mean, "std": std}


def _options(now: Transform, best: Transform) -> str:
    options = [] if (now.resize, now.crop) == (best.resize, best.crop) else [f"--image-size {best.crop}"]
    if (now.mean, now.std) != (best.mean, best.std):
        name = next((name for name, values in NORMALIZATIONS.items() if values == (best.mean, best.std)), None)
        options += [f"--mean {name} --std {name}"] if name else [f"--mean {best.mean[0]:g} --std {best.std[0]:g}"]
    return " ".join(options)
