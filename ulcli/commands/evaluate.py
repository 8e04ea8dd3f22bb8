"""`ul evaluate`: how good are the predictions, and how good is their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ulcli.commands.outcome import exit_status
from ulcli.commands.passes import extractor
from ulcli.commands.settings import EvaluateSettings
from ulcli.data.catalog import DataName, Places, comes_in_parts, labelled_set, strange_set
from ulcli.data.imageset import ImageSet, LabelledSet, of_classes, relabel
from ulcli.data.shifts import Shifted
from ulcli.data.sources import builtin
from ulcli.errors import ExitCode, UserError, shorten
from ulcli.evaluation.estimates import Estimate, Resamples
from ulcli.evaluation.ood import FAR, NEAR, OODResult, ScoredSet, ShiftResult, feature_baselines, worst_auroc
from ulcli.evaluation.verdict import Verdict
from ulcli.expressions import Condition
from ulcli.model.baselines import BASELINES, SEARCHED, FeatureBaselines, Neighbours
from ulcli.model.file import Model
from ulcli.network.features import Extractor, Features, warn_of_unreadable
from ulcli.reporting import Reporter, Silent


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
    ood: dict[str, OODResult]
    shift: dict[str, ShiftResult] = field(default_factory=dict)
    verdict: Verdict | None = None
    requirements: tuple[Requirement, ...] = ()
    unreadable: int = 0

    @property
    def status(self) -> ExitCode:
        """Give 2 where an image could not be read, 1 where a requirement is not met."""
        return exit_status(unreadable=self.unreadable, failures=self.failures)

    @property
    def summary(self) -> str | None:
        """Give the verdict in words."""
        return None if self.verdict is None else str(self.verdict)

    @property
    def failures(self) -> tuple[str, ...]:
        """Give a line for each requirement that is not met."""
        unmet = (each for each in self.requirements if not each.met)
        return tuple(f"requirement not met: {each.condition}, measured {each.value:.4f}" for each in unmet)


def evaluate(settings: EvaluateSettings, reporter: Reporter | None = None) -> EvaluateResult:
    """Measure a model on labelled images, on corrupted copies of them, and against OOD sets."""
    reporter = reporter or Silent()
    model = Model.load(settings.model)
    places = settings.places(Path(model.data["root"]))
    images, held_out = _labelled(settings, model, places, reporter)
    ood_sets = _ood_sets(settings, model, places, held_out, reporter)
    extract = extractor(settings, model.backbone.build(trusted=settings.trust_code), model.transform)
    bench = _Bench(settings, model, extract, _baselines(model, places, extract, reporter), reporter)

    features = extract(images, reporter)
    warn_of_unreadable(features, images, reporter)
    data = bench.scored(features, 0)
    metrics = data.metrics(model.flags, features.labels)
    against_ood = bench.against_ood(data, ood_sets)
    values = {name: estimate.value for name, estimate in metrics.items()}
    values["ood_auroc"] = worst_auroc(against_ood.results.values())
    return EvaluateResult(
        model=str(settings.model),
        data=images.name,
        n=len(data),
        metrics=metrics,
        baseline=data.baseline_metrics(features.labels),
        ood=against_ood.results,
        shift=bench.on_shifts(data, images),
        verdict=Verdict.of(against_ood.aurocs),
        requirements=tuple(Requirement(condition, values[condition.name]) for condition in settings.requirements),
        unreadable=len(data.features.errors) + against_ood.unreadable,
    )


@dataclass(frozen=True)
class _AgainstOOD:
    """What comes of all OOD sets."""

    results: dict[str, OODResult]  # by the name of the set
    aurocs: list[dict[str, NDArray[np.float64]]]  # of every set: of each score for every resample
    unreadable: int


@dataclass(frozen=True)
class _Bench:
    """What every set is measured with."""

    settings: EvaluateSettings
    model: Model
    extract: Extractor
    baselines: Sequence[FeatureBaselines | Neighbours]
    reporter: Reporter

    def scored(self, features: Features, position: int) -> ScoredSet:
        """Compute the scores of a set; sets that are compared get other positions, so that they are drawn apart."""
        draws = Resamples.of(len(features), self.settings.bootstrap, (self.settings.seed, position))
        return ScoredSet.of(features, self.model.predictor, self.baselines, draws)

    def against_ood(self, data: ScoredSet, sets: Sequence[tuple[str, ImageSet]]) -> _AgainstOOD:
        """Tell each OOD set from the data; no more than one of them is held at a time."""
        results: dict[str, OODResult] = {}
        aurocs, unreadable = [], 0
        for position, (kind, images) in enumerate(sets, start=1):
            features = self.extract(images, self.reporter)
            warn_of_unreadable(features, images, self.reporter)
            scored = self.scored(features, position)
            scores, aurocs_here = scored.told_from(data)
            results[images.name] = OODResult(kind, len(scored), scores)
            aurocs.append(aurocs_here)
            unreadable += len(scored.features.errors)
        return _AgainstOOD(results, aurocs, unreadable)

    def on_shifts(self, data: ScoredSet, images: LabelledSet) -> dict[str, ShiftResult]:
        """Measure on corrupted copies of the images."""
        results: dict[str, ShiftResult] = {}
        for shift in self.settings.shifts:
            corrupted = Shifted(images, shift.kind, shift.severity)
            features = self.extract(corrupted, self.reporter)
            if features.errors.keys() != data.features.errors.keys():  # others than those that were told already
                warn_of_unreadable(features, corrupted, self.reporter)
            scored = self.scored(features, 0)  # the same images, so the same draws: what differs is the shift alone
            scores, _ = scored.told_from(data)
            results[str(shift)] = ShiftResult(len(scored), scored.metrics(self.model.flags, features.labels), scores)
        return results


def _labelled(
    settings: EvaluateSettings, model: Model, places: Places, reporter: Reporter
) -> tuple[LabelledSet, LabelledSet | None]:
    """Open the images of the classes that the model knows, and those of the classes that were held out from it."""
    data, split = _split_to_read(settings, model, reporter)
    images = labelled_set(data, split, places)
    held_out = [name for name in images.classes if name in model.data["hold_out"]]
    _check_classes(images, held_out, settings, model, reporter)
    if not held_out:
        return relabel(images, model.classes), None
    known = of_classes(images, model.classes, images.name)
    return relabel(known, model.classes), of_classes(images, held_out, f"held-out {', '.join(held_out)}")


def _split_to_read(settings: EvaluateSettings, model: Model, reporter: Reporter) -> tuple[DataName, str]:
    """Choose the data set and the split of it where none is named, and warn where the model was fitted on that."""
    fitted_on = DataName.parse(model.data["name"])
    data = settings.data_name or DataName(fitted_on.name, "test")
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
    return data, split


def _check_classes(
    images: LabelledSet, held_out: Sequence[str], settings: EvaluateSettings, model: Model, reporter: Reporter
) -> None:
    """Raise `UserError` for classes that the model does not know, and warn of those without images."""
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


def _ood_sets(
    settings: EvaluateSettings, model: Model, places: Places, held_out: ImageSet | None, reporter: Reporter
) -> list[tuple[str, ImageSet]]:
    """Open the sets to be told from the data: held-out classes are near, all others far."""
    asked = settings.ood_names or [DataName(name) for name in builtin.STRANGE]
    data = settings.data_name or DataName.parse(model.data["name"])
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


def _baselines(
    model: Model, places: Places, extract: Extractor, reporter: Reporter
) -> list[FeatureBaselines | Neighbours]:
    """Fit the baselines that need training images, whose features come from the cache or by another pass.

    Where these images are gone, only what the model file has is left.
    """
    images = _training_images(model, places)
    if images is not None:
        features = extract.for_training(images, reporter)
        return feature_baselines(features, model.predictor.baseline, model.feature_baselines)
    left_out = f"{', '.join(SEARCHED)} is" if model.feature_baselines else f"{', '.join(BASELINES)} are"
    reporter.warn(
        f"the training images of '{DataName.parse(model.data['name'])}' are gone or have changed: {left_out} left "
        "out, and a test part cut from the same set may hold images that the model was fitted on"
    )
    return [model.feature_baselines] if model.feature_baselines else []


def _training_images(model: Model, places: Places) -> LabelledSet | None:
    """Open the images that the model was fitted on; None where they are gone or have changed."""
    try:
        images = labelled_set(DataName.parse(model.data["name"]), "train", places)
        if model.data["hold_out"]:
            images = of_classes(images, [name for name in images.classes if name in model.classes], images.name)
        images = relabel(images, model.classes)
        return images if images.digest() == model.data["digest"] else None
    except (UserError, ValueError):
        return None
