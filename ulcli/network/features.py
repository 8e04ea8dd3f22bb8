"""The one pass of every image through the frozen network."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from ulcli.data.imageset import ImageSet, LabelledSet, hash_parts
from ulcli.data.loader import batches
from ulcli.data.transform import Transform
from ulcli.errors import UserError, shorten
from ulcli.network.backbone import NOT_FINITE, Backbone
from ulcli.network.cache import FeatureCache
from ulcli.reporting import Reporter

if TYPE_CHECKING:
    from torch import Tensor

    from uncertainty_loss import Moments


@dataclass(frozen=True)
class Features:
    """Features of the readable images of a set, and what was wrong with the others."""

    values: Tensor  # (n, D), float32: what the classifier reads
    embedding: Tensor  # (n, E), float32: what the familiarity is read from; (n, 0) where only its moments are kept
    labels: Tensor | None  # (n,), int64
    errors: dict[str, str] = field(default_factory=dict)  # image -> why it could not be read
    moments: Moments | None = None  # of the embedding, for images that a density is fitted on

    def __len__(self) -> int:
        return len(self.values)


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
    def __call__(self, images: LabelledSet, reporter: Reporter, *, for_density: bool = ...) -> Features: ...
    @overload
    def __call__(self, images: ImageSet, reporter: Reporter, *, for_density: Literal[False] = ...) -> Features: ...
    def __call__(self, images: ImageSet, reporter: Reporter, *, for_density: bool = False) -> Features:
        """Features of a whole set, from the cache where the same network saw the same images before.

        With `for_density` the embeddings of labelled images are not kept but streamed into their moments: those of
        a million images would fill the memory.
        """
        import torch

        from uncertainty_loss import Moments

        key = self._key(images, for_density=for_density) if self.cache else ""
        entry = self.cache.get(key) if self.cache else None
        if entry is None:
            entry = self._pass(images, reporter, for_density=for_density)
            problem = self.cache.put(key, entry) if self.cache else None
            if problem:
                reporter.warn(problem)
        readable: Tensor = entry["readable"]
        if not len(readable):
            first = next(iter(entry["errors"].items()))
            raise UserError(f"none of the images in '{images.name}' can be read; the first, '{first[0]}': {first[1]}")
        labels = None if images.labels is None else torch.from_numpy(np.asarray(images.labels))[readable]
        moments = Moments.from_state_dict(entry["moments"]) if for_density else None
        return Features(entry["values"], entry["embedding"], labels, entry["errors"], moments)

    def _pass(self, images: ImageSet, reporter: Reporter, *, for_density: bool) -> dict[str, Any]:
        import torch

        from uncertainty_loss import Moments

        self.backbone.network.to(self.device)
        values: list[Tensor] = []
        embeddings: list[Tensor] = []
        readable: list[int] = []
        errors: dict[str, str] = {}
        moments = Moments(len(images.classes or ()))
        streamed = images.labels if for_density else None
        with reporter.track(f"features of {images.name}", len(images)) as advance:
            for batch in batches(images, self.transform, self.batch_size, self.workers):
                wrong = dict(batch.errors)
                if batch.readable:
                    activations = self.backbone(batch.images.to(self.device))
                    finite = activations.finite
                    kept = [index for index, fine in zip(batch.readable, finite.tolist(), strict=True) if fine]
                    wrong |= dict.fromkeys(set(batch.readable).difference(kept), NOT_FINITE)
                    values.append(activations.features[finite])
                    if streamed is not None:
                        moments.update(activations.embedding[finite], torch.from_numpy(streamed[kept]))
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
            "moments": moments.state_dict() if for_density else {},
            "readable": torch.tensor(readable, dtype=torch.int64),
            "errors": errors,
        }

    def _key(self, images: ImageSet, *, for_density: bool) -> str:
        return hash_parts(self._network_key, images.cache_key(), images.labels, str(for_density))

    @cached_property
    def _network_key(self) -> str:
        """What the features of an image depend on besides the image; hashed once, for weights may be a gigabyte."""
        import torch

        # The code of a network may change while its weights do not, so what it makes of one image counts too; in
        # half precision, for the last digits may depend on the number of threads.
        probe = torch.randn(1, *self.transform.shape, generator=torch.Generator().manual_seed(0))
        self.backbone.network.to(self.device)
        made_of_probe = self.backbone(probe.to(self.device)).features.half().numpy()
        return hash_parts("features 4", self.backbone.digest(), made_of_probe, repr(self.transform))


def warn_of_unreadable(features: Features, images: ImageSet, reporter: Reporter) -> None:
    """Say that images were left out, and which."""
    if features.errors:
        first, reason = next(iter(features.errors.items()))
        others = f" ({shorten(list(features.errors)[1:])} too)" if len(features.errors) > 1 else ""
        reporter.warn(
            f"{len(features.errors)} of {len(images)} images in '{images.name}' cannot be read and are left out: "
            f"'{first}': {reason}{others}"
        )
