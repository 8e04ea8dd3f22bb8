"""What a row of `ul score` is: the one registry of its columns. Documents, formats and OOD tables read it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Row = dict[str, Any]  # column -> text, number, truth value, or None for an empty cell

# Why a prediction is flagged: out of distribution, or in distribution but between classes.
UNFAMILIAR, AMBIGUOUS = "unfamiliar", "ambiguous"


class Kind(Enum):
    """What the cells of a column hold, where they are not empty."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"


class Extra(Enum):
    """What it takes for a column to be there that is not in every row."""

    LABELS = "labelled inputs"
    SETS = "--sets"
    PROBS = "--probs"
    ALPHA = "--alpha"


@dataclass(frozen=True)
class Column:
    """One scalar of a row. A name that ends in CLASS stands for a column per class."""

    name: str
    meaning: str  # Markdown
    kind: Kind = Kind.TEXT
    extra: Extra | None = None  # None: in every row

    def names(self, classes: Sequence[str]) -> list[str]:
        """The headings that this entry stands for."""
        prefix = self.name.removesuffix("CLASS")
        return [self.name] if prefix == self.name else [prefix + name for name in classes]


@dataclass(frozen=True)
class Measure(Column):
    """A figure of one prediction. `ulcli.model.measures` has the function of the same name that computes it."""

    kind: Kind = Kind.NUMBER
    reason: str = field(kw_only=True)  # why an image is flagged when `--flag-on` names this figure
    # 1 where a higher value means further out, -1 where a lower one does, None where it is no OOD score.
    ood_sign: int | None = field(kw_only=True)


# In the order in which they are written.
COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("path", "as given; for data sets, the name and the position"),
        Column("label", "the class given with the image", extra=Extra.LABELS),
        Column("predicted", "the class with the most evidence"),
        Measure("confidence", "expected probability of the predicted class", reason=AMBIGUOUS, ood_sign=-1),
        Measure("vacuity", "K / S, lack of evidence: 1 is none at all", reason=UNFAMILIAR, ood_sign=1),
        Measure("dissonance", "conflict in the evidence, 0 to 1", reason=AMBIGUOUS, ood_sign=1),
        Measure("predictive_entropy", "entropy of the expected probabilities, nats", reason=AMBIGUOUS, ood_sign=1),
        Measure(
            "expected_entropy", "the part of the predictive entropy that is in the data", reason=AMBIGUOUS, ood_sign=1
        ),
        Measure(
            "mutual_information",
            "the part of the predictive entropy that is the model's",
            reason=UNFAMILIAR,
            ood_sign=1,
        ),
        Measure(
            "differential_entropy",
            "spread of the Dirichlet itself, nats; may be negative",
            reason=UNFAMILIAR,
            ood_sign=1,
        ),
        Measure(
            "typicality",
            "share of familiar images at least as strange, 0 to 1: higher is more like the training data",
            reason=UNFAMILIAR,
            ood_sign=-1,
        ),
        Column("flagged", "`true`, `false`", Kind.FLAG),
        Column(
            "reason",
            f"where flagged: `{UNFAMILIAR}`, unlike the training images, or `{AMBIGUOUS}`, familiar but between "
            "classes",
        ),
        Column(
            "error",
            "why the image could not be read, or that the network's output is not finite; the numbers are empty then, "
            "and the exit code is 2",
        ),
        Column(
            "set",
            "classes that cannot be excluded, with `\\|` between (one in a name, or a backslash, has a backslash "
            "before it); all of them for an unfamiliar image",
            extra=Extra.SETS,
        ),
        Column("p_CLASS", "expected probabilities", Kind.NUMBER, Extra.PROBS),
        Column("alpha_CLASS", "Dirichlet parameters", Kind.NUMBER, Extra.ALPHA),
    )
}

MEASURES: dict[str, Measure] = {name: column for name, column in COLUMNS.items() if isinstance(column, Measure)}


def column_names(classes: Sequence[str], extras: Collection[Extra] = ()) -> list[str]:
    """The headings of a table of rows, in order."""
    shown = (column for column in COLUMNS.values() if column.extra is None or column.extra in extras)
    return [name for column in shown for name in column.names(classes)]
