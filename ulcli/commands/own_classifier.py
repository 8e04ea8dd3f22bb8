"""The classifier to compare with and to start from: the checkpoint's own where it fits, else a new one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ulcli.commands.better_preprocessing import find_better_preprocessing
from ulcli.data.imageset import LabelledSet
from ulcli.errors import UserError, shorten
from ulcli.model.fit import cross_entropy_objective, fit_linear
from ulcli.network.classes import (
    Match,
    Order,
    Origin,
    is_chance,
    is_far_better,
    match_rows,
    orders_by_number,
    rows_by_name,
    sample_rows,
    share,
)
from ulcli.network.features import Extractor, LabelledFeatures
from ulcli.network.linear import Linear
from ulcli.network.probe import probe_right
from ulcli.reporting import Reporter

_SAMPLE = 10_000  # images that orders are checked on
# What a domain shift costs is a few points; what a misread checkpoint costs is tens of them.
_CLEARLY = 0.1
_NEW = "a new cross-entropy classifier is fitted to compare with and to start from"


class _Misfit(NamedTuple):
    """What speaks against a classifier, and the accuracy that a linear one has on the same features."""

    words: str
    attainable: float


@dataclass(frozen=True)
class OwnClassifier:
    """The checkpoint's own classifier before the data, whose classes may be others or in another order.

    Attributes:
        linear: All of its rows, as they read the features.
        names: Class names of its rows, where they are known.
        said: Whether the user gave these names, rather than the file.
        held_out: Whether classes of the data are held out: then rows of more classes tell of them.
    """

    linear: Linear
    names: tuple[str, ...] | None = None
    said: bool = False
    held_out: bool = False

    def for_data(
        self, extract: Extractor, images: LabelledSet, features: LabelledFeatures, reporter: Reporter
    ) -> Linear | None:
        """Give the rows of the data's classes in their order, or None where a new classifier is better; say which."""
        expected, problem = self._expected(images.classes, reporter)
        if problem is not None:
            reporter.note(f"{problem}: {_NEW}")
            return None
        rows = sample_rows(features.labels, _SAMPLE)
        values, labels, count = features.values[rows], features.labels[rows], len(images.classes)
        match = match_rows(self.linear(values).float(), labels, count, expected)
        assert match is not None
        misfit = self._misfit(match, values, labels, count)
        if misfit is not None:
            if expected:
                causes = self._causes(match.order, misfit.attainable, extract, images, reporter)
                reporter.warn(f"{misfit.words}; {causes}; {_NEW}")
            else:
                reporter.note(f"{self._counts(count)}: {_NEW}")
            return None
        self._tell_order(match, images.classes, reporter)
        chosen = list(match.order.rows)
        return Linear(self.linear.weight[chosen].clone(), self.linear.bias[chosen].clone())

    def _expected(self, classes: tuple[str, ...], reporter: Reporter) -> tuple[list[Order], str | None]:
        """List the orders to expect, the likeliest first; or tell why the classifier cannot know the data's classes."""
        count = self.linear.num_classes
        if count < len(classes) or (self.held_out and count > len(classes)):
            return [], self._counts(len(classes))
        if self.names is not None and len(self.names) == count:
            rows = rows_by_name(self.names, classes)
            known = [row for row in rows if row is not None]
            lacking = [name for name, row in zip(classes, rows, strict=True) if row is None]
            if not lacking:
                return [Order(tuple(known), Origin.NAMES)], None
            if known:
                return [], f"the checkpoint has no class {shorten(lacking)}"
            if self.said or not all(re.fullmatch(r"LABEL_\d+", name) for name in self.names):
                reporter.note(
                    f"the checkpoint's class names ({shorten(self.names)}) are none of the data's "
                    f"({shorten(classes)}): which is which is read off the training images"
                )
        elif self.names is not None:
            text = f"{len(self.names)} class names for a checkpoint whose classifier has {count} outputs"
            if self.said:
                raise UserError(f"--classes has {text}")
            reporter.note(f"the file has {text}: they are not used")
        plain = [Order(tuple(range(count)), Origin.DATA)] if count == len(classes) else []
        return plain + orders_by_number(classes, count), None

    def _counts(self, classes: int) -> str:
        return f"the checkpoint tells {self.linear.num_classes} classes, the data has {classes}"

    def _misfit(self, match: Match, values: Tensor, labels: Tensor, count: int) -> _Misfit | None:
        """Tell what speaks against the classifier; None where nothing does."""
        guesses = is_chance(match.right, labels, count)
        unexpected = match.first_right is None  # a choice among more rows than classes: to be earned
        if not guesses and not unexpected and match.accuracy > 1 - _CLEARLY:
            return None  # no other could be clearly better
        probe = probe_right(values, labels, count)
        worse = share(probe) - match.accuracy
        clearly = worse > _CLEARLY and is_far_better(probe, match.right)
        if not (guesses or clearly or (unexpected and worse > 0)):
            return None
        first = match.accuracy if match.first_right is None else share(match.first_right)
        words = (
            f"the checkpoint's own classifier has accuracy {first:.2f} on training images"
            f"{', no better than chance' if guesses else ''}, where a linear one fitted on others of them has "
            f"{share(probe):.2f}"
        )
        return _Misfit(words, share(probe))

    def _causes(
        self, order: Order, attainable: float, extract: Extractor, images: LabelledSet, reporter: Reporter
    ) -> str:
        better = find_better_preprocessing(self.linear, order, extract, images, reporter)
        if better is not None and better.accuracy > attainable / 2:  # else it may help by chance: not the cause
            return f"it is likely preprocessed otherwise: with {better.options} it has {better.accuracy:.2f}"
        return (
            "it is of another task, or was trained with another preprocessing (--image-size, --resize, --crop, --mean, "
            "--std; the usual sizes and normalizations were tried, and none fits far better) or with other classes "
            "(--classes)"
        )

    def _tell_order(self, match: Match, classes: tuple[str, ...], reporter: Reporter) -> None:
        order, count = match.order, self.linear.num_classes
        if order.rows == tuple(range(count)):
            return
        which = (
            "the checkpoint's classes are in another order than the data's"
            if count == len(classes)
            else f"the data's {len(classes)} classes are among the checkpoint's {count:,}"
        )
        pairs = [f"{name}={row}" for name, row in zip(classes, order.rows, strict=True)]
        shown = ", ".join(pairs[:12]) + (f" and {len(pairs) - 12} more" if len(pairs) > 12 else "")
        figures = f"accuracy on training images {match.accuracy:.2f}"
        if match.first_right is not None and match.first_right is not match.right:
            figures += f" instead of {share(match.first_right):.2f}"
        reporter.note(f"{which}: {shown}, by {_BY[order.origin]} ({figures})")


_BY = {
    Origin.DATA: "their order",
    Origin.NAMES: "name",
    Origin.NUMBERS: "number",
    Origin.PREDICTIONS: "what it predicts",
}


def new_classifier(features: LabelledFeatures, num_classes: int, seed: int, reporter: Reporter) -> Linear:
    """Fit a cross-entropy classifier."""
    zeros = Linear.zeros(num_classes, features.values.shape[1])
    objective = cross_entropy_objective()
    return fit_linear(features, zeros, objective, seed=seed, reporter=reporter, what="fitting a classifier").linear
