"""`ul score`: what the model says of each image, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ulcli.data.catalog import Places, score_inputs
from ulcli.data.loader import default_workers
from ulcli.engine.local import Row, Scorer, SetOptions, is_labelled
from ulcli.errors import UserError
from ulcli.expressions import Condition
from ulcli.model.file import Model
from ulcli.model.sets import PredictionSets
from ulcli.reporting import Reporter, Silent


@dataclass(frozen=True)
class Limit:
    """How many flagged images are too many: a count, or a share of those that could be read."""

    value: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read `N` or `P%`."""
        share = text.strip().endswith("%")
        try:
            value = float(text.strip().removesuffix("%")) / 100 if share else int(text)
        except ValueError:
            value = -1.0
        if not value >= 0 or (share and value > 1):
            raise UserError(f"--max-flagged is '{text}', expected a count (10) or a share (5%)")
        return cls(value, share)

    def exceeded(self, flagged: int, scored: int) -> bool:
        return flagged > (self.value * scored if self.is_share else self.value)

    def __str__(self) -> str:
        return f"{100 * self.value:g}%" if self.is_share else f"{self.value:g}"


@dataclass(frozen=True)
class ScoreSettings:
    """What `ul score` is asked to do."""

    model: Path
    inputs: Sequence[str]
    flag_on: Condition | None = None  # None: the thresholds that the model carries
    sets: SetOptions | None = None
    max_flagged: Limit | None = None
    places: Places = field(default_factory=Places)
    probs: bool = False
    alpha: bool = False
    device: str = "cpu"
    batch_size: int = 64
    workers: int = field(default_factory=default_workers)


@dataclass
class Tally:
    """Counts over the rows that have passed so far."""

    max_flagged: Limit | None = None
    rows: int = 0
    flagged: int = 0
    errors: int = 0

    def count(self, row: Row) -> None:
        self.rows += 1
        self.flagged += bool(row["flagged"])
        self.errors += row["error"] is not None

    @property
    def scored(self) -> int:
        return self.rows - self.errors

    @property
    def too_many(self) -> bool:
        """Whether the `--max-flagged` gate trips."""
        return self.max_flagged is not None and self.max_flagged.exceeded(self.flagged, self.scored)


@dataclass(frozen=True)
class Scoring:
    """Rows to come, their columns, and the counts, which are complete when the rows are used up."""

    columns: list[str]
    rows: Iterator[Row]
    tally: Tally
    flagged_on: str  # in words


def score(settings: ScoreSettings, reporter: Reporter | None = None) -> Scoring:
    """Open model and inputs, and give the rows one by one: 100,000 images need no more memory than 1,000."""
    reporter = reporter or Silent()
    model = Model.load(settings.model)
    sets = score_inputs(settings.inputs, model.transform.shape, settings.places)
    if not sum(map(len, sets)):
        raise UserError("no images to score: standard input named none")
    scorer = Scorer(
        model,
        model.backbone.build(trusted=True),
        settings.flag_on,
        settings.device,
        settings.batch_size,
        settings.workers,
        settings.probs,
        settings.alpha,
        settings.sets,
    )
    if settings.sets is not None:
        _warn_of_few(model.sets, settings.sets.coverage, reporter)
    tally = Tally(settings.max_flagged)

    def counted() -> Iterator[Row]:
        for row in scorer.rows(sets, reporter):
            tally.count(row)
            yield row

    return Scoring(scorer.columns(labelled=is_labelled(sets)), counted(), tally, str(settings.flag_on or model.flags))


def _warn_of_few(sets: PredictionSets, coverage: float, reporter: Reporter) -> None:
    import uncertainty_loss as ul

    needed = ul.conformal_sample_size(1 - coverage)
    if len(sets.lac) < needed:
        reporter.warn(
            f"the {len(sets.lac)} validation images of the model are too few for --sets {coverage:g}: every set holds "
            f"all classes; validate with {needed:,} or more, or promise less"
        )
