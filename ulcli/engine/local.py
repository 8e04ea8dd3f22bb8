"""Scoring on this machine: decode on threads, one pass through the network, a row an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

from ulcli.data.imageset import ImageSet
from ulcli.data.loader import Batch, batches
from ulcli.expressions import Condition
from ulcli.model.choices import SetMethod
from ulcli.model.file import Model
from ulcli.model.measures import MEASURES, measure_all
from ulcli.network.backbone import NOT_FINITE, Activations, Backbone
from ulcli.reporting import Reporter

Row = dict[str, Any]  # column -> text, number, truth value, or None for an empty cell


@dataclass(frozen=True)
class SetOptions:
    """Which prediction sets a row is to show."""

    coverage: float
    method: SetMethod


@dataclass(frozen=True)
class Scorer:
    """A model with its network on a device, and what it flags."""

    model: Model
    backbone: Backbone
    flag_on: Condition | None = None  # None: the model's own thresholds
    device: str = "cpu"
    batch_size: int = 64
    workers: int = 1
    probs: bool = False
    alpha: bool = False
    sets: SetOptions | None = None

    def columns(self, *, labelled: bool) -> list[str]:
        """The names of a row's columns, in order."""
        return list(self._row("", None if not labelled else ("",), None, error=""))

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
        scored: dict[int, _Scored] = {}
        errors = dict(batch.errors)
        if batch.readable:
            activations = self.backbone(batch.images.to(self.device))
            for index, one in zip(batch.readable, self._scored(activations), strict=True):
                if one is None:
                    errors[index] = NOT_FINITE
                else:
                    scored[index] = one
        for index in batch.indices:
            label = (images.label_name(index),) if labelled else None
            yield self._row(images.identify(index), label, scored.get(index), error=errors.get(index))

    def _scored(self, activations: Activations) -> list[_Scored | None]:
        """What there is to say of each image of a batch; None where the network gave no number."""
        import uncertainty_loss as ul

        predictions = self.model.predictor(*activations)
        measures = {name: values.tolist() for name, values in measure_all(predictions).items()}
        vacuity = predictions.vacuity
        if self.flag_on is None:
            reasons = self.model.flags.reasons(predictions.alpha, vacuity)
        else:
            reason = MEASURES[self.flag_on.name].reason
            reasons = [reason if self.flag_on(value) else None for value in measures[self.flag_on.name]]
        probabilities = ul.expected_probability(predictions.alpha)
        sets = None
        if self.sets is not None:
            members = self.model.sets.classes(probabilities, self.sets.coverage, self.sets.method)
            # Of an image like none that was seen nothing is known, so no class can be excluded.
            strange = self.model.flags.unfamiliar(vacuity)
            sets = (members | strange[:, None]).tolist()
        finite = (activations.finite & predictions.alpha.isfinite().all(1)).tolist()
        return [
            _Scored(
                alpha=predictions.alpha[row].tolist(),
                probabilities=probabilities[row].tolist(),
                measures={name: values[row] for name, values in measures.items()},
                reason=reasons[row],
                members=None if sets is None else sets[row],
            )
            if finite[row]
            else None
            for row in range(len(finite))
        ]

    def _row(self, path: str, label: tuple[str | None] | None, scored: _Scored | None, *, error: str | None) -> Row:
        classes = self.model.classes
        row: Row = {"path": path}
        if label is not None:
            row["label"] = label[0]
        row["predicted"] = scored and classes[max(range(len(classes)), key=scored.alpha.__getitem__)]
        row |= {name: scored and scored.measures[name] for name in MEASURES}
        row["flagged"] = scored and scored.reason is not None
        row["reason"] = scored and scored.reason
        row["error"] = error
        if self.sets is not None:
            row["set"] = scored and scored.members and _listed(compress(classes, scored.members))
        if self.probs:
            row |= {f"p_{name}": scored and scored.probabilities[k] for k, name in enumerate(classes)}
        if self.alpha:
            row |= {f"alpha_{name}": scored and scored.alpha[k] for k, name in enumerate(classes)}
        return row


@dataclass(frozen=True)
class _Scored:
    """What a row says of one image."""

    alpha: list[float]
    probabilities: list[float]
    measures: dict[str, float]
    reason: str | None
    members: list[bool] | None


def _listed(names: Iterable[str]) -> str:
    """Class names in one cell: between them `|`, which in a name, as a backslash, has a backslash before it."""
    return "|".join(name.replace("\\", "\\\\").replace("|", "\\|") for name in names)


def is_labelled(sets: Sequence[ImageSet]) -> bool:
    """Whether any of the sets has labels: then every row has a column for them."""
    return any(images.labels is not None for images in sets)
