"""The one pass of every image through the frozen network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ulcli.data.imageset import ImageSet, hash_parts
from ulcli.data.loader import batches
from ulcli.data.transform import Transform
from ulcli.errors import UserError, shorten
from ulcli.model.backbone import Backbone
from ulcli.model.cache import FeatureCache
from ulcli.reporting import Reporter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Features of the readable images of a set, and what was wrong with the others."""

    values: Tensor  # (n, D), float32
    labels: Tensor | None  # (n,), int64
    errors: dict[str, str] = field(default_factory=dict)  # image -> why it could not be read

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Extractor:
    """A backbone on its device, with everything that a pass over images needs."""

    backbone: Backbone
    transform: Transform
    device: str = "cpu"
    batch_size: int = 64
    workers: int = 1
    cache: FeatureCache | None = None

    def __call__(self, images: ImageSet, reporter: Reporter) -> Features:
        """Features of a whole set, from the cache where the same network saw the same images before."""
        import torch

        key = self._key(images) if self.cache else ""
        entry = self.cache.get(key) if self.cache else None
        if entry is None:
            entry = self._pass(images, reporter)
            problem = self.cache.put(key, entry) if self.cache else None
            if problem:
                reporter.warn(problem)
        readable: Tensor = entry["readable"]
        if not len(readable):
            first = next(iter(entry["errors"].items()))
            raise UserError(f"none of the images in '{images.name}' can be read; the first, '{first[0]}': {first[1]}")
        labels = None if images.labels is None else torch.from_numpy(np.asarray(images.labels))[readable]
        return Features(entry["values"], labels, entry["errors"])

    def _pass(self, images: ImageSet, reporter: Reporter) -> dict[str, Any]:
        import torch

        self.backbone.network.to(self.device)
        values: list[Tensor] = []
        readable: list[int] = []
        errors: dict[str, str] = {}
        with reporter.track(f"features of {images.name}", len(images)) as advance:
            for batch in batches(images, self.transform, self.batch_size, self.workers):
                if batch.readable:
                    values.append(self.backbone.features(batch.images.to(self.device)))
                readable += batch.readable
                errors |= {images.identify(index): error for index, error in batch.errors.items()}
                advance(len(batch.indices))
        stacked = torch.cat(values) if values else torch.empty(0, 0)
        if not stacked.isfinite().all():
            raise UserError(
                f"the network gives features that are not finite (NaN or infinite) on '{images.name}'; "
                "check the checkpoint, --mean and --std"
            )
        return {"values": stacked, "readable": torch.tensor(readable, dtype=torch.int64), "errors": errors}

    def _key(self, images: ImageSet) -> str:
        return hash_parts("features 1", self.backbone.digest(), repr(self.transform), images.digest())


def warn_of_unreadable(features: Features, images: ImageSet, reporter: Reporter) -> None:
    """Say that images were left out, and which."""
    if features.errors:
        first, reason = next(iter(features.errors.items()))
        others = f" ({shorten(list(features.errors)[1:])} too)" if len(features.errors) > 1 else ""
        reporter.warn(
            f"{len(features.errors)} of {len(images)} images in '{images.name}' cannot be read and are left out: "
            f"'{first}': {reason}{others}"
        )
