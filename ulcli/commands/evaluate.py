"""`ul evaluate`: how good are the predictions, and how good is their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ulcli.data.catalog import DataName, Places, comes_in_parts, labelled_set, strange_set
from ulcli.data.imageset import ImageSet, of_classes, relabel
from ulcli.data.loader import default_workers
from ulcli.data.shifts import Shift, Shifted
from ulcli.data.sources import builtin
from ulcli.errors import UserError, shorten
from ulcli.evaluation.estimates import Estimate, Resamples, against, classification, selective
from ulcli.expressions import Condition
from ulcli.model.baselines import BASELINES, SEARCHED, FeatureBaselines, Neighbours, logit_scores
from ulcli.model.file import Model
from ulcli.model.flags import Flags
from ulcli.model.measures import MEASURES, measure_all
from ulcli.model.predictor import Predictions
from ulcli.network.cache import FeatureCache
from ulcli.network.features import Extractor, Features, warn_of_unreadable
from ulcli.reporting import Reporter, Silent

if TYPE_CHECKING:
    from torch import Tensor

METRICS = (
    "accuracy",
    "nll",
    "brier",
    "ece",
    "adaptive_ece",
    "classwise_ece",
    "aurc",
    "excess_aurc",
    "augrc",
    "accuracy_at_80",
    "accuracy_at_90",
    "accuracy_at_95",
    "misclassification_auroc",
    "flag_rate",
)
REQUIREMENTS = (*METRICS, "ood_auroc")
OWN = "vacuity"  # the score that stands for the model where one number is asked for
HEAD_VACUITY = "head_vacuity"  # of the evidential head alone, whatever the evidence comes from
NEAR, FAR = "near", "far"


@dataclass(frozen=True)
class EvaluateSettings:
    """What `ul evaluate` is asked to do."""

    model: Path
    data: DataName | None = None  # None: the test split of what the model was fitted on
    ood: Sequence[DataName] = ()  # none: the built-in sets
    shifts: Sequence[Shift] = ()
    require: Sequence[Condition] = ()
    places: Places | None = None  # None: where the training data lay
    bootstrap: int = 200  # resamples for the intervals; 0 for none
    seed: int = 0
    device: str = "cpu"
    batch_size: int = 64
    workers: int = field(default_factory=default_workers)
    cache: FeatureCache | None = None


@dataclass(frozen=True)
class StrangeResult:
    """How well each score tells one strange set from the data: score -> figure -> estimate."""

    kind: str
    n: int
    scores: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class ShiftResult:
    """What becomes of the predictions when the images get worse."""

    n: int
    metrics: dict[str, Estimate]
    scores: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class Verdict:
    """The model's own score beside the best baseline: mean AUROC over the strange sets."""

    own: float
    baseline: str
    best: float
    difference: Estimate

    def __str__(self) -> str:
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            outcome, bounds = "better than" if self.difference.value > 0 else "no better than", ""
        else:
            outcome = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
            bounds = f" [{low:+.4f}, {high:+.4f}]"
        return (
            f"flags by vacuity are {outcome} the best baseline ({self.baseline}) on this data: mean AUROC "
            f"{self.own:.4f} to {self.best:.4f}, difference {self.difference.value:+.4f}{bounds}"
        )


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
    ood: dict[str, StrangeResult]
    shift: dict[str, ShiftResult] = field(default_factory=dict)
    verdict: Verdict | None = None
    requirements: tuple[Requirement, ...] = ()
    unreadable: int = 0


def evaluate(settings: EvaluateSettings, reporter: Reporter | None = None) -> EvaluateResult:
    """Measure a model on labelled images, on worse copies of them, and against strange ones."""
    reporter = reporter or Silent()
    model = Model.load(settings.model)
    places = settings.places or Places(Path(model.data["root"]))
    images, held_out = _labelled(settings, model, places, reporter)
    strange = _strange(settings, model, places, held_out, reporter)
    extract = Extractor(
        model.backbone.build(trusted=True),
        model.transform,
        settings.device,
        settings.batch_size,
        settings.workers,
        settings.cache,
    )
    baselines = _feature_baselines(model, places, extract, reporter)

    familiar = _Scored.of(model, baselines, _extracted(extract, images, reporter))
    unreadable = len(familiar.features.errors)
    draws = Resamples.of(len(familiar), settings.bootstrap, (settings.seed, 0))
    metrics, baseline = familiar.figures(model.flags, draws), familiar.baseline_figures(draws)

    ood: dict[str, StrangeResult] = {}
    replicates: dict[str, dict[str, np.ndarray]] = {}
    for position, (kind, other) in enumerate(strange, start=1):
        scored = _Scored.of(model, baselines, _extracted(extract, other, reporter))
        unreadable += len(scored.features.errors)
        other_draws = Resamples.of(len(scored), settings.bootstrap, (settings.seed, position))
        estimates, replicates[other.name] = against(familiar.strangeness, scored.strangeness, draws, other_draws)
        ood[other.name] = StrangeResult(kind, len(scored), estimates)

    shifted: dict[str, ShiftResult] = {}
    for shift in settings.shifts:
        # The same images, so the same draws: what differs is the shift alone.
        features = extract(worse := Shifted(images, shift.kind, shift.severity), reporter)
        if features.errors.keys() != familiar.features.errors.keys():  # others than those that were told already
            warn_of_unreadable(features, worse, reporter)
        scored = _Scored.of(model, baselines, features)
        draws_here = Resamples.of(len(scored), settings.bootstrap, (settings.seed, 0))
        estimates, _ = against(familiar.strangeness, scored.strangeness, draws, draws_here)
        shifted[str(shift)] = ShiftResult(len(scored), scored.figures(model.flags, draws_here), estimates)

    worst = min((result.scores[OWN]["auroc"].value for result in ood.values()), default=math.nan)
    figures = {name: estimate.value for name, estimate in metrics.items()} | {"ood_auroc": worst}
    return EvaluateResult(
        model=str(settings.model),
        data=images.name,
        n=len(familiar),
        metrics=metrics,
        baseline=baseline,
        ood=ood,
        shift=shifted,
        verdict=_verdict(replicates),
        requirements=tuple(Requirement(condition, figures[condition.name]) for condition in settings.require),
        unreadable=unreadable,
    )


@dataclass(frozen=True)
class _Scored:
    """What the model and its rivals make of a set."""

    features: Features
    predictions: Predictions
    logits: Tensor  # (n, K), of the cross-entropy classifier
    strangeness: dict[str, np.ndarray]  # every measure and every baseline, turned so that higher means stranger

    @classmethod
    def of(cls, model: Model, baselines: Sequence[FeatureBaselines | Neighbours], features: Features) -> _Scored:
        """Everything that takes a look at the features."""
        import uncertainty_loss as ul

        predictor = model.predictor
        predictions, logits = predictor(features.values, features.embedding), predictor.baseline(features.values)
        scores = {name: MEASURES[name].sign * value for name, value in measure_all(predictions).items()}
        # A loss without a prior has no vacuity, but no less an order by the amount of evidence.
        scores[HEAD_VACUITY] = ul.vacuity(predictions.head_alpha, prior=predictor.head.prior or 1.0).numpy()
        scores |= logit_scores(logits)
        for each in baselines:
            scores |= each.scores(features.values, logits)
        return cls(features, predictions, logits, scores)

    def __len__(self) -> int:
        return len(self.features)

    def figures(self, flags: Flags, draws: Resamples) -> dict[str, Estimate]:
        """Every metric of the model's predictions for labelled images."""
        import uncertainty_loss as ul

        reasons = flags.reasons(self.predictions.alpha, self.predictions.vacuity)
        flagged = np.array([reason is not None for reason in reasons], np.float64)
        probabilities = ul.expected_probability(self.predictions.alpha)
        return {
            **_figures(probabilities.numpy(), self.features, draws),
            "flag_rate": Estimate.of(flagged @ draws.counts / len(flagged)),
        }

    def baseline_figures(self, draws: Resamples) -> dict[str, Estimate]:
        """The same of the cross-entropy classifier, with its maximum probability as confidence."""
        return _figures(self.logits.softmax(1).numpy(), self.features, draws)


def _figures(probabilities: np.ndarray, features: Features, draws: Resamples) -> dict[str, Estimate]:
    assert features.labels is not None
    labels = features.labels.numpy()
    return {**classification(probabilities, labels, draws), **selective(probabilities, labels, draws)}


def _labelled(
    settings: EvaluateSettings, model: Model, places: Places, reporter: Reporter
) -> tuple[ImageSet, ImageSet | None]:
    """The images of the classes that the model knows, and those of the classes that were held out from it."""
    fitted_on = DataName.parse(model.data["name"])
    data = settings.data or DataName(fitted_on.name, "test")
    same = data.resolved().name == fitted_on.name
    # A set in one piece that the model has not seen is read whole; of its own, only what training left out.
    split = data.split or ("test" if same or comes_in_parts(data.name) else "all")
    if same and data.split is None and not comes_in_parts(data.name):
        reporter.note(
            f"'{data.name}' is what the model was fitted on: only the test part that training left out is read "
            f"('{data.name}:all' reads every image)"
        )
    if same and (split in ("all", fitted_on.split or "train") or fitted_on.split == "all"):
        reporter.warn(f"the model was fitted on images of '{data.name}:{split}': these figures are too good")
    images = labelled_set(data, split, places)
    assert images.classes is not None
    held_out = [name for name in images.classes if name in model.data["hold_out"]]
    unknown = [name for name in images.classes if name not in model.classes and name not in held_out]
    if unknown:
        raise UserError(
            f"the classes of '{images.name}' differ from the model's: {shorten(unknown)} unknown to "
            f"'{settings.model}', which tells {shorten(model.classes)}"
        )
    absent = [name for name in model.classes if name not in images.classes]
    if absent:
        reporter.warn(
            f"'{images.name}' has no images of {shorten(absent)}: figures over {len(images.classes)} classes do not "
            f"compare with figures over all {len(model.classes)}"
        )
    if not held_out:
        return relabel(images, model.classes), None
    known = of_classes(images, model.classes, images.name)
    return relabel(known, model.classes), of_classes(images, held_out, f"held-out {', '.join(held_out)}")


def _strange(
    settings: EvaluateSettings, model: Model, places: Places, held_out: ImageSet | None, reporter: Reporter
) -> list[tuple[str, ImageSet]]:
    """The sets to be told from the data: held-out classes are near, all others far."""
    asked = settings.ood or [DataName(name) for name in builtin.STRANGE]
    data = settings.data or DataName.parse(model.data["name"])
    for name in asked:
        if name.resolved().name == data.resolved().name:
            reporter.warn(f"--ood {name} is the familiar data itself: its AUROC says nothing about strange images")
    sets = [(FAR, strange_set(name, model.transform.shape, places)) for name in asked]
    if held_out is not None:
        sets.insert(0, (NEAR, held_out))
    names = [images.name for _, images in sets]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"--ood {shorten(twice)} is given twice")
    return sets


def _feature_baselines(
    model: Model, places: Places, extract: Extractor, reporter: Reporter
) -> list[FeatureBaselines | Neighbours]:
    """What was fitted on the training images: from the model file, else from their features.

    Those come from the cache, or by another pass where these are gone.
    """
    fitted = model.feature_baselines
    data = DataName.parse(model.data["name"])
    try:
        images = labelled_set(data, "train", places)
        assert images.classes is not None
        if model.data["hold_out"]:
            images = of_classes(images, [name for name in images.classes if name in model.classes], images.name)
        images = relabel(images, model.classes)
        changed = images.digest() != model.data["digest"]
    except (UserError, ValueError):
        changed = True
    if changed:
        left_out = f"{', '.join(BASELINES)} are" if fitted is None else f"{', '.join(SEARCHED)} is"
        reporter.warn(
            f"the training images of '{data}' are gone or have changed: {left_out} left out, and "
            "a test part cut from the same set may hold images that the model was fitted on"
        )
        return [fitted] if fitted else []
    features = extract(images, reporter, for_density=True)
    assert features.labels is not None
    if fitted is None:
        fitted = FeatureBaselines.fit(features.values, features.labels, model.predictor.baseline)
    return [fitted, Neighbours(features.values)]


def _extracted(extract: Extractor, images: ImageSet, reporter: Reporter) -> Features:
    features = extract(images, reporter)
    warn_of_unreadable(features, images, reporter)
    return features


def _verdict(replicates: dict[str, dict[str, np.ndarray]]) -> Verdict | None:
    """Mean AUROC over all strange sets, of the model's own score and of the baseline with the highest."""
    if not replicates:
        return None
    sets = list(replicates.values())
    means = {name: np.mean([aurocs[name] for aurocs in sets], axis=0) for name in sets[0]}
    rivals = [name for name in ("max_probability", "entropy", "energy", *BASELINES) if name in means]
    best = max(rivals, key=lambda name: float(means[name][0]))
    difference = Estimate.of(means[OWN] - means[best])
    return Verdict(float(means[OWN][0]), best, float(means[best][0]), difference)
