"""`ul evaluate`: how good are the predictions, and how good is their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ulcli.data import builtin
from ulcli.data.catalog import DataName, Places, comes_in_parts, labelled_set, strange_set
from ulcli.data.imageset import ImageSet, relabel
from ulcli.data.loader import default_workers
from ulcli.errors import UserError, shorten
from ulcli.expressions import Condition
from ulcli.model.cache import FeatureCache
from ulcli.model.features import Extractor, Features, warn_of_unreadable
from ulcli.model.figures import classification_metrics
from ulcli.model.file import Model
from ulcli.model.measures import MEASURES, measure_all
from ulcli.reporting import Reporter, Silent

METRICS = ("accuracy", "nll", "brier", "ece")
REQUIREMENTS = (*METRICS, "ood_auroc")
BASELINE = "max_probability"


@dataclass(frozen=True)
class EvaluateSettings:
    """What `ul evaluate` is asked to do."""

    model: Path
    data: DataName | None = None  # None: the test split of what the model was fitted on
    ood: Sequence[DataName] = ()  # none: the built-in sets
    require: Sequence[Condition] = ()
    places: Places | None = None  # None: where the training data lay
    device: str = "cpu"
    batch_size: int = 64
    workers: int = field(default_factory=default_workers)
    cache: FeatureCache | None = None


@dataclass(frozen=True)
class Estimate:
    """A figure, and the interval that it lies in with 95% confidence where that is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class OodResult:
    """How well each score tells one strange set from the data: measure -> auroc, aupr_in, aupr_out, fpr95."""

    n: int
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Requirement:
    """A `--require` condition and what came of it."""

    condition: Condition
    value: float

    @property
    def met(self) -> bool:
        return self.condition(self.value)


@dataclass(frozen=True)
class EvaluateResult:
    """Everything measured, in the order in which it is shown."""

    model: str
    data: str
    n: int
    metrics: dict[str, Estimate]
    baseline: dict[str, Estimate]  # the cross-entropy classifier on the same features
    ood: dict[str, OodResult]
    requirements: tuple[Requirement, ...] = ()
    unreadable: int = 0


def evaluate(settings: EvaluateSettings, reporter: Reporter | None = None) -> EvaluateResult:
    """Measure a model on labelled images, and against strange ones."""
    import uncertainty_loss as ul

    reporter = reporter or Silent()
    model = Model.load(settings.model)
    places = settings.places or Places(Path(model.data["root"]))
    images = _labelled(settings, model, places, reporter)
    shape = model.transform.shape
    strange = [strange_set(name, shape, places) for name in settings.ood or map(DataName, builtin.STRANGE)]
    _check_distinct(strange)
    extract = Extractor(
        model.backbone.build(),
        model.transform,
        settings.device,
        settings.batch_size,
        settings.workers,
        settings.cache,
    )
    familiar = _extracted(extract, images, reporter)
    assert familiar.labels is not None
    probabilities = ul.expected_probability(model.head.alpha(familiar.values))
    scores = _scores(model, familiar)
    ood, unreadable = {}, len(familiar.errors)
    for other in strange:
        features = _extracted(extract, other, reporter)
        unreadable += len(features.errors)
        ood[other.name] = _compare(scores, _scores(model, features))
    metrics = classification_metrics(probabilities, familiar.labels)
    baseline = classification_metrics(model.baseline(familiar.values).softmax(1), familiar.labels)
    worst = min((result.scores["vacuity"]["auroc"] for result in ood.values()), default=math.nan)
    figures = {**metrics, "ood_auroc": worst}
    return EvaluateResult(
        model=str(settings.model),
        data=images.name,
        n=len(familiar),
        metrics={name: Estimate(value) for name, value in metrics.items()},
        baseline={name: Estimate(value) for name, value in baseline.items()},
        ood=ood,
        requirements=tuple(Requirement(condition, figures[condition.name]) for condition in settings.require),
        unreadable=unreadable,
    )


def _labelled(settings: EvaluateSettings, model: Model, places: Places, reporter: Reporter) -> ImageSet:
    fitted_on = DataName.parse(model.data["name"])
    data = settings.data or DataName(fitted_on.name, "test")
    default = "test"
    if data.split is None and not comes_in_parts(data.name):
        if data.resolved().name == fitted_on.name:
            reporter.note(
                f"'{data.name}' is what the model was fitted on: only the test part that training left out is read "
                f"('{data.name}:all' reads every image)"
            )
        else:
            default = "all"
    images = labelled_set(data, default, places)
    assert images.classes is not None
    unknown = [name for name in images.classes if name not in model.classes]
    if unknown:
        raise UserError(
            f"the classes of '{images.name}' differ from the model's: {shorten(unknown)} unknown to "
            f"'{settings.model}', which tells {shorten(model.classes)}"
        )
    absent = [name for name in model.classes if name not in images.classes]
    if absent:
        reporter.note(f"'{images.name}' has no images of {shorten(absent)}")
    return relabel(images, model.classes)


def _check_distinct(sets: list[ImageSet]) -> None:
    names = [images.name for images in sets]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"--ood {shorten(twice)} is given twice")


def _extracted(extract: Extractor, images: ImageSet, reporter: Reporter) -> Features:
    features = extract(images, reporter)
    warn_of_unreadable(features, images, reporter)
    return features


def _scores(model: Model, features: Features) -> dict[str, np.ndarray]:
    """Every measure and the baseline, all turned so that higher means stranger."""
    values = measure_all(model.head.alpha(features.values), model.head.prior)
    scores = {name: MEASURES[name].sign * value for name, value in values.items()}
    # In logarithms: rounded probabilities of 1.0 would tie images that differ.
    return {**scores, BASELINE: -model.baseline(features.values).log_softmax(1).amax(1).numpy()}


def _compare(familiar: dict[str, np.ndarray], strange: dict[str, np.ndarray]) -> OodResult:
    from uncertainty_loss.metrics import ood_scores

    scores = {name: ood_scores(values, strange[name]) for name, values in familiar.items()}
    return OodResult(n=len(next(iter(strange.values()))), scores=scores)
