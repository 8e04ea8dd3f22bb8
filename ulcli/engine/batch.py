"""From a batch of images to its rows: the one function that every engine calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import uncertainty_loss as ul
from ulcli.data.imageset import ImageSet
from ulcli.data.loader import Batch
from ulcli.expressions import Condition
from ulcli.model.choices import SetMethod
from ulcli.model.file import Model
from ulcli.model.measures import measure_all
from ulcli.model.predictor import Predictions
from ulcli.network.backbone import NOT_FINITE, Backbone
from ulcli.rows import COLUMNS, MEASURES, Extra, Row, column_names


@dataclass(frozen=True)
class RowOptions:
    """What is flagged, and which columns rows have beside those that all have."""

    flag_on: Condition | None = None  # None: the model's own thresholds
    labels: bool = False
    sets: float | None = None  # coverage of the prediction sets
    set_method: SetMethod = SetMethod.LAC
    probs: bool = False
    alpha: bool = False

    @property
    def extras(self) -> frozenset[Extra]:
        """Give the extras by which the registry of columns selects."""
        asked = {
            Extra.LABELS: self.labels,
            Extra.SETS: self.sets is not None,
            Extra.PROBS: self.probs,
            Extra.ALPHA: self.alpha,
        }
        return frozenset(extra for extra, wanted in asked.items() if wanted)


def batch_rows(
    model: Model, backbone: Backbone, device: str, images: ImageSet, batch: Batch, options: RowOptions
) -> Iterator[Row]:
    """One row for each image of a batch, in order; `backbone` lies on `device`."""
    names = column_names(model.classes, options.extras)
    unread: Row = dict.fromkeys(names)
    scored: dict[int, Row] = {}
    errors = dict(batch.errors)
    if batch.readable:
        activations = backbone(batch.images.to(device))
        predictions = model.predictor(*activations)
        cells = _cells(model, predictions, options)
        finite = (activations.finite & predictions.alpha.isfinite().all(1)).tolist()
        for position, index in enumerate(batch.readable):
            if finite[position]:
                scored[index] = {name: values[position] for name, values in cells.items()}
            else:
                errors[index] = NOT_FINITE
    for index in batch.indices:
        row = {
            **scored.get(index, unread),
            "path": images.identify(index),
            "label": images.label_name(index),
            "error": errors.get(index),
        }
        yield {name: row[name] for name in names}


def _cells(model: Model, predictions: Predictions, options: RowOptions) -> dict[str, Sequence[Any]]:
    """Compute what the model says of a batch: column -> one value an image."""
    alpha, vacuity = predictions.alpha, predictions.vacuity
    probabilities = ul.expected_probability(alpha)
    cells: dict[str, Sequence[Any]] = {name: values.tolist() for name, values in measure_all(predictions).items()}
    cells["predicted"] = [model.classes[k] for k in alpha.argmax(1).tolist()]
    if options.flag_on is None:
        reasons = model.flags.reasons(alpha, vacuity)
    else:
        flag_on, reason = options.flag_on, MEASURES[options.flag_on.name].reason
        reasons = [reason if flag_on(value) else None for value in cells[flag_on.name]]
    cells["reason"] = reasons
    cells["flagged"] = [reason is not None for reason in reasons]
    if options.sets is not None:
        members = model.sets.classes(probabilities, options.sets, options.set_method)
        # Of an image like none that was seen nothing is known, so no class can be excluded.
        members |= model.flags.unfamiliar(vacuity)[:, None]
        cells["set"] = [_listed(compress(model.classes, row)) for row in members.tolist()]
    for column, values in (("p_CLASS", probabilities), ("alpha_CLASS", alpha)):
        if COLUMNS[column].extra in options.extras:
            cells.update(zip(COLUMNS[column].names(model.classes), values.T.tolist(), strict=True))
    return cells


def _listed(names: Iterable[str]) -> str:
    """Class names in one cell: between them `|`, which in a name, as a backslash, has a backslash before it."""
    return "|".join(name.replace("\\", "\\\\").replace("|", "\\|") for name in names)
