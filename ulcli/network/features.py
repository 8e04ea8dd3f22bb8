"""The one pass of every image through the frozen network."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import torch
from torch import Tensor

from ulcli.data.imageset import ImageSet, LabelledSet, hash_parts
from ulcli.data.loader import batches
from ulcli.data.transform import Transform
from ulcli.errors import UserError, shorten
from ulcli.network.anatomy.backbone import NOT_FINITE, Backbone
from ulcli.network.cache import FeatureCache
from ulcli.reporting import Reporter
from uncertainty_loss import Moments


@dataclass(frozen=True)
class Features:
    """Features of the readable images of a set, and what was wrong with the others."""

    values: Tensor  # (n, D), float32: what the classifier reads
    embedding: Tensor  # (n, E), float32: what the familiarity is read from; (n, 0) where only its moments are kept
    errors: dict[str, str] = field(default_factory=dict)  # image -> why it could not be read

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class LabelledFeatures(Features):
    """Features of labelled images."""

    labels: Tensor = field(kw_only=True)  # (n,), int64


@dataclass(frozen=True)
class TrainingFeatures(LabelledFeatures):
    """Features of images to fit on, with the moments of their embeddings in place of these."""

    moments: Moments = field(kw_only=True)


@dataclass(frozen=True)
class Extractor:
    """A backbone on its device, with everything that a pass over images needs; its weights are not to change."""

    backbone: Backbone
    transform: Transform
    device: str = "cpu"
    batch_size: int = 64
    workers: int = 1
    cache: FeatureCache | None = None

    @overload
    def __call__(self, images: LabelledSet, reporter: Reporter) -> LabelledFeatures: ...
    @overload
    def __call__(self, images: ImageSet, reporter: Reporter) -> Features: ...
    def __call__(self, images: ImageSet, reporter: Reporter) -> Features:
        """Give the features of a whole set, from the cache where the same network saw the same images before."""
        entry = self._entry(images, reporter, streamed=False)
        parts = entry["values"], entry["embedding"], entry["errors"]
        if isinstance(images, LabelledSet):
            return LabelledFeatures(*parts, labels=_labels(images, entry))
        return Features(*parts)

    def for_training(self, images: LabelledSet, reporter: Reporter) -> TrainingFeatures:
        """Give the same of images to fit on.

        Their embeddings are not kept but streamed into moments: those of a million images would fill the memory.
        """
        entry = self._entry(images, reporter, streamed=True)
        labels, moments = _labels(images, entry), Moments.from_state_dict(entry["moments"])
        return TrainingFeatures(entry["values"], entry["embedding"], entry["errors"], labels=labels, moments=moments)

    def _entry(self, images: ImageSet, reporter: Reporter, *, streamed: bool) -> dict[str, Any]:
        """Give what the cache holds of a set, or is to hold from now on."""
        key = self._key(images, streamed=streamed) if self.cache else ""
        entry = self.cache.get(key) if self.cache else None
        if entry is None:
            entry = self._pass(images, reporter, streamed=streamed)
            problem = self.cache.put(key, entry) if self.cache else None
            if problem:
                reporter.warn(problem)
        if not len(entry["readable"]):
            first = next(iter(entry["errors"].items()))
            raise UserError(f"none of the images in '{images.name}' can be read; the first, '{first[0]}': {first[1]}")
        return entry

    def _pass(self, images: ImageSet, reporter: Reporter, *, streamed: bool) -> dict[str, Any]:
        self.backbone.network.to(self.device)
        values: list[Tensor] = []
        embeddings: list[Tensor] = []
        readable: list[int] = []
        errors: dict[str, str] = {}
        moments = Moments(len(images.classes or ()))
        labels = images.labels if streamed else None
        with reporter.track(f"features of {images.name}", len(images)) as advance:
            for batch in batches(images, self.transform, self.batch_size, self.workers):
                wrong = dict(batch.errors)
                if batch.readable:
                    activations = self.backbone(batch.images.to(self.device))
                    finite = activations.finite
                    kept = [index for index, fine in zip(batch.readable, finite.tolist(), strict=True) if fine]
                    wrong |= dict.fromkeys(set(batch.readable).difference(kept), NOT_FINITE)
                    values.append(activations.features[finite])
                    if labels is not None:
                        moments.update(activations.embedding[finite], torch.from_numpy(labels[kept]))
                    else:
                        embeddings.append(activations.embedding[finite])
                    readable += kept
                errors |= {images.identify(index): wrong[index] for index in sorted(wrong)}
                advance(len(batch.indices))
        if not readable and NOT_FINITE in errors.values():
            raise UserError(
                f"the network gives features that are not finite (NaN or infinite) on '{images.name}'; "
                "check the checkpoint, --mean and --std"
            )
        return {
            "values": torch.cat(values) if values else torch.empty(0, 0),
            "embedding": torch.cat(embeddings) if embeddings else torch.empty(len(readable), 0),
            "moments": moments.state_dict() if streamed else {},
            "readable": torch.tensor(readable, dtype=torch.int64),
            "errors": errors,
        }

    def _key(self, images: ImageSet, *, streamed: bool) -> str:
        return hash_parts(self._network_key, images.cache_key(), images.labels, str(streamed))

    @cached_property
    def _network_key(self) -> str:
        """Hash all that the features of an image depend on besides it; once, for weights may be a gigabyte."""
        # The code of a network may change while its weights do not, so what it makes of one image counts too; in
        # half precision, for the last digits may depend on the number of threads.
        probe = torch.randn(1, *self.transform.shape, generator=torch.Generator().manual_seed(0))
        self.backbone.network.to(self.device)
        made_of_probe = self.backbone(probe.to(self.device)).features.half().numpy()
        return hash_parts("features 4", self.backbone.digest(), made_of_probe, repr(self.transform))


def _labels(images: LabelledSet, entry: dict[str, Any]) -> Tensor:
    """Give the labels of the images that could be read."""
    readable: Tensor = entry["readable"]
    return torch.from_numpy(images.labels)[readable]


def warn_of_unreadable(features: Features, images: ImageSet, reporter: Reporter) -> None:
    """Say that images were left out, and which."""
    if features.errors:
        first, reason = next(iter(features.errors.items()))
        others = f" ({shorten(list(features.errors)[1:])} too)" if len(features.errors) > 1 else ""
        reporter.warn(
            f"{len(features.errors)} of {len(images)} images in '{images.name}' cannot be read and are left out: "
            f"'{first}': {reason}{others}"
        )
