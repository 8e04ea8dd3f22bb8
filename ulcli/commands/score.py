"""`ul score`: what the model says of each image, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import uncertainty_loss as ul
from ulcli.commands.outcome import exit_status
from ulcli.commands.settings import Limit, ScoreSettings
from ulcli.data.catalog import score_inputs
from ulcli.engine.batch import RowOptions
from ulcli.engine.local import Scorer, is_labelled
from ulcli.errors import ExitCode, UserError
from ulcli.model.file import Model
from ulcli.model.sets import PredictionSets
from ulcli.network.device import resolve_device
from ulcli.reporting import Reporter, Silent
from ulcli.rows import Row


@dataclass
class Tally:
    """Counts over the rows that have passed so far."""

    rows: int = 0
    flagged: int = 0
    errors: int = 0

    def count(self, row: Row) -> None:
        """Take in one more row."""
        self.rows += 1
        self.flagged += bool(row["flagged"])
        self.errors += row["error"] is not None

    @property
    def scored(self) -> int:
        """Count the images that could be read."""
        return self.rows - self.errors


@dataclass(frozen=True)
class ScoreResult:
    """Rows to come, and their columns; counts, status and messages are complete when the rows are used up."""

    columns: list[str]
    rows: Iterator[Row]
    flagged_on: str  # in words
    limit: Limit | None = None
    tally: Tally = field(default_factory=Tally)

    @property
    def status(self) -> ExitCode:
        """Give 2 where an image could not be read, 1 where more are flagged than allowed."""
        return exit_status(unreadable=self.tally.errors, failures=self.failures)

    @property
    def summary(self) -> str:
        """Give the counts in one line."""
        tally = self.tally
        return f"{tally.rows:,} images: {tally.flagged:,} flagged ({self.flagged_on}), {tally.errors:,} unreadable"

    @property
    def failures(self) -> tuple[str, ...]:
        """Tell that more images are flagged than allowed."""
        tally = self.tally
        if self.limit is None or not self.limit.exceeded(tally.flagged, tally.scored):
            return ()
        return (f"more than --max-flagged {self.limit}: {tally.flagged:,} of {tally.scored:,} images",)


def score(settings: ScoreSettings, reporter: Reporter | None = None) -> ScoreResult:
    """Open model and inputs, and give the rows one by one: 100,000 images need no more memory than 1,000."""
    reporter = reporter or Silent()
    model = Model.load(settings.model)
    sets = score_inputs(settings.inputs, model.transform.shape, settings.places)
    if not sum(map(len, sets)):
        raise UserError("no images to score: standard input named none")
    scorer = Scorer(
        model,
        model.backbone.build(trusted=settings.trust_code),
        RowOptions(
            flag_on=settings.flag_rule,
            sets=settings.sets,
            set_method=settings.set_method,
            probs=settings.probs,
            alpha=settings.alpha,
        ),
        device=resolve_device(settings.device),
        batch_size=settings.batch_size,
        workers=settings.threads,
    )
    if settings.sets is not None:
        _warn_of_few(model.sets, settings.sets, reporter)
    tally = Tally()

    def counted() -> Iterator[Row]:
        for row in scorer.rows(sets, reporter):
            tally.count(row)
            yield row

    return ScoreResult(
        columns=scorer.columns(labelled=is_labelled(sets)),
        rows=counted(),
        flagged_on=str(settings.flag_rule or model.flags),
        limit=settings.flag_limit,
        tally=tally,
    )


def _warn_of_few(sets: PredictionSets, coverage: float, reporter: Reporter) -> None:
    needed = ul.conformal_sample_size(1 - coverage)
    if len(sets.lac) < needed:
        reporter.warn(
            f"the {len(sets.lac)} validation images of the model are too few for --sets {coverage:g}: every set holds "
            f"all classes; validate with {needed:,} or more, or promise less"
        )
