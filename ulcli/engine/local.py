"""Scoring on this machine: decode on threads, one pass through the network, a row an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ulcli.data.imageset import ImageSet
from ulcli.data.loader import Batch, batches
from ulcli.expressions import Condition
from ulcli.model.backbone import Backbone
from ulcli.model.file import Model
from ulcli.model.measures import MEASURES, measure_all
from ulcli.reporting import Reporter

Row = dict[str, Any]  # column -> text, number, truth value, or None for an empty cell


@dataclass(frozen=True)
class Scorer:
    """A model with its network on a device, and what it flags."""

    model: Model
    backbone: Backbone
    flag_on: Condition
    device: str = "cpu"
    batch_size: int = 64
    workers: int = 1
    probs: bool = False
    alpha: bool = False

    def columns(self, *, labelled: bool) -> list[str]:
        """The names of a row's columns, in order."""
        return list(self._row("", None if not labelled else ("",), error=""))

    def rows(self, sets: Sequence[ImageSet], reporter: Reporter) -> Iterator[Row]:
        """One row an image, in input order; memory does not grow with their number."""
        self.backbone.network.to(self.device)
        labelled = is_labelled(sets)
        with reporter.track("scoring", sum(map(len, sets))) as advance:
            for images in sets:
                for batch in batches(images, self.model.transform, self.batch_size, self.workers):
                    yield from self._batch_rows(images, batch, labelled=labelled)
                    advance(len(batch.indices))

    def _batch_rows(self, images: ImageSet, batch: Batch, *, labelled: bool) -> Iterator[Row]:
        figures: dict[int, tuple[list[float], dict[str, float]]] = {}
        errors = dict(batch.errors)
        if batch.readable:
            alpha = self.model.head.alpha(self.backbone.features(batch.images.to(self.device)))
            measures = measure_all(alpha, self.model.head.prior)
            finite = alpha.isfinite().all(1).tolist()
            for row, index in enumerate(batch.readable):
                if finite[row]:
                    figures[index] = alpha[row].tolist(), {name: float(each[row]) for name, each in measures.items()}
                else:
                    errors[index] = "the network's output is not finite"
        for index in batch.indices:
            label = (images.label_name(index),) if labelled else None
            yield self._row(images.identify(index), label, *figures.get(index, ()), error=errors.get(index))

    def _row(
        self,
        path: str,
        label: tuple[str | None] | None,
        alpha: list[float] | None = None,
        measures: dict[str, float] | None = None,
        *,
        error: str | None,
    ) -> Row:
        classes = self.model.classes
        measures = measures or {}
        row: Row = {"path": path}
        if label is not None:
            row["label"] = label[0]
        best = max(range(len(alpha)), key=alpha.__getitem__) if alpha else None
        row["predicted"] = None if best is None else classes[best]
        row |= {name: measures.get(name) for name in MEASURES}
        # How much like the training data an image is: needs a density of the features, which a model may carry.
        row["typicality"] = None
        flagged = self.flag_on(measures[self.flag_on.name]) if measures else None
        row["flagged"] = flagged
        row["reason"] = MEASURES[self.flag_on.name].reason if flagged else None
        row["error"] = error
        total = sum(alpha) if alpha else 0.0
        if self.probs:
            row |= {f"p_{name}": alpha[k] / total if alpha else None for k, name in enumerate(classes)}
        if self.alpha:
            row |= {f"alpha_{name}": alpha[k] if alpha else None for k, name in enumerate(classes)}
        return row


def is_labelled(sets: Sequence[ImageSet]) -> bool:
    """Whether any of the sets has labels: then every row has a column for them."""
    return any(images.labels is not None for images in sets)
