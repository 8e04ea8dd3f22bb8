"""Scoring on this machine: decode on threads, one pass through the network, a row an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ulcli.data.imageset import ImageSet
from ulcli.data.loader import batches
from ulcli.engine.batch import RowOptions, batch_rows
from ulcli.model.file import Model
from ulcli.network.anatomy.backbone import Backbone
from ulcli.reporting import Reporter
from ulcli.rows import Row, column_names


@dataclass(frozen=True)
class Scorer:
    """A model with its network on a device, and what its rows are to show."""

    model: Model
    backbone: Backbone
    options: RowOptions = field(default_factory=RowOptions)
    device: str = "cpu"
    batch_size: int = 64
    workers: int = 1

    def columns(self, *, labelled: bool) -> list[str]:
        """The names of a row's columns, in order."""
        return column_names(self.model.classes, replace(self.options, labels=labelled).extras)

    def rows(self, sets: Sequence[ImageSet], reporter: Reporter) -> Iterator[Row]:
        """One row an image, in input order; memory does not grow with their number."""
        self.backbone.network.to(self.device)
        options = replace(self.options, labels=is_labelled(sets))
        with reporter.track("scoring", sum(map(len, sets))) as advance:
            for images in sets:
                for batch in batches(images, self.model.transform, self.batch_size, self.workers):
                    yield from batch_rows(self.model, self.backbone, self.device, images, batch, options)
                    advance(len(batch.indices))


def is_labelled(sets: Sequence[ImageSet]) -> bool:
    """Tell whether any of the sets has labels: then every row has a column for them."""
    return any(images.labels is not None for images in sets)
