"""`ul train`: fit an evidential head on a classifier that somebody already has."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import uncertainty_loss as ul
from ulcli import __version__
from ulcli.commands.outcome import exit_status
from ulcli.commands.own_classifier import new_classifier
from ulcli.commands.passes import extractor
from ulcli.commands.rebuilt import check_rebuilt
from ulcli.commands.settings import TrainSettings
from ulcli.commands.starting_point import Opened, StartingPoint
from ulcli.commands.training_data import training_data, training_name
from ulcli.data.imageset import LabelledSet
from ulcli.errors import ExitCode, UserError
from ulcli.evaluation.classification import classification_metrics
from ulcli.evaluation.seen import PROMISE, tell_of_seen_images
from ulcli.evaluation.weakness import warn_of_weakness
from ulcli.files import check_replaces_none, check_writable
from ulcli.model.baselines import SMALL, FeatureBaselines
from ulcli.model.choices import EvidenceFrom
from ulcli.model.file import BackboneRecord, Model, probe_images
from ulcli.model.fit import best_affine_start, evidential_objective, fit_linear
from ulcli.model.flags import Flags
from ulcli.model.head import Head
from ulcli.model.predictor import Predictions, Predictor
from ulcli.model.sets import PredictionSets
from ulcli.network.features import Extractor, LabelledFeatures, TrainingFeatures, warn_of_unreadable
from ulcli.network.linear import Linear
from ulcli.reporting import Reporter, Silent
from uncertainty_loss import Loss


@dataclass(frozen=True)
class TrainResult:
    """What came out: figures on the validation images."""

    path: Path
    before: dict[str, float]  # of the cross-entropy classifier
    uncalibrated: dict[str, float]  # of the evidential head at temperature 1
    after: dict[str, float]  # of the evidential head
    images: int
    validation_images: int
    unreadable: int
    epochs: int
    seconds: float
    flags: str
    temperature: float

    @property
    def status(self) -> ExitCode:
        """Give 2 where images could not be read."""
        return exit_status(unreadable=self.unreadable, failures=self.failures)

    @property
    def summary(self) -> str:
        """Tell what was written, from how many images."""
        return f"wrote {self.path} ({self.images:,} images, {self.epochs} epochs, {self.seconds:.1f} s)"

    @property
    def failures(self) -> tuple[str, ...]:
        """Give nothing, for a training has no gates."""
        return ()


def train(settings: TrainSettings, reporter: Reporter | None = None) -> TrainResult:
    """Fit a head, choose its threshold, and write the model file.

    Order matters for honesty: the head sees the train split alone, the threshold and the figures come from the
    validation split, and the test split is not opened.
    """
    reporter = reporter or Silent()
    started = time.perf_counter()
    loss = _loss(settings)
    _check_output(settings)

    start = StartingPoint.read(settings, reporter)
    images, validation = training_data(settings, start.classes)
    opened = start.open(images, reporter)
    extract = extractor(settings, opened.backbone, opened.transform)
    features, held_out = extract.for_training(images, reporter), extract(validation, reporter)
    for part, part_images in ((features, images), (held_out, validation)):
        warn_of_unreadable(part, part_images, reporter)

    baseline = start.baseline or _baseline(start, opened, extract, images, features, held_out, settings, reporter)
    head, fit = _fit_head(loss, settings, baseline, features, reporter)
    predictor = _predictor(head, baseline, features, held_out, settings)
    warn_of_weakness(predictor, features, images.classes, reporter)
    predictions = predictor(held_out.values, held_out.embedding)
    flags, sets = _thresholds(predictions, held_out, settings, reporter)
    before, uncalibrated, after = _compare(predictor, predictions, held_out)
    model = Model(
        backbone=_backbone_record(opened),
        transform=opened.transform,
        classes=images.classes,
        predictor=predictor,
        loss=fit,
        flags=flags,
        sets=sets,
        validation=after,
        data=_data_record(settings, images, features, held_out),
        provenance=_provenance(settings.seed, start.preprocessing_origin.value),
        feature_baselines=_feature_baselines(features, baseline),
    )
    _save(model, opened, start, settings)
    return TrainResult(
        path=settings.output,
        before=before,
        uncalibrated=uncalibrated,
        after=after,
        images=len(features),
        validation_images=len(held_out),
        unreadable=len(features.errors) + len(held_out.errors),
        epochs=fit["epochs"],
        seconds=time.perf_counter() - started,
        flags=str(flags),
        temperature=predictor.head.temperature,
    )


def _loss(settings: TrainSettings) -> Loss:
    loss = ul.get_loss(settings.loss)
    if settings.evidence_from is EvidenceFrom.HEAD and not loss.prior:
        raise UserError(
            f"--evidence-from head makes no sense with --loss {loss.name}: without a prior vacuity is 0 for every "
            "image; leave it at density, or take another loss"
        )
    return loss


def _check_output(settings: TrainSettings) -> None:
    """Fail before the work where the model could not be written."""
    check_writable(settings.output)
    check_replaces_none(settings.output, (settings.checkpoint, settings.data, settings.val, settings.classes))


def _baseline(
    start: StartingPoint,
    opened: Opened,
    extract: Extractor,
    images: LabelledSet,
    features: LabelledFeatures,
    held_out: LabelledFeatures,
    settings: TrainSettings,
    reporter: Reporter,
) -> Linear:
    """Give the cross-entropy classifier: the checkpoint's own where it knows the classes, else a new one."""
    own = start.own_classifier(opened, held_out=bool(settings.hold_out))
    classifier = None if own is None else own.for_data(extract, images, features, reporter)
    if classifier is None:
        reporter.note(PROMISE)
        return new_classifier(features, len(images.classes), settings.seed, reporter)
    tell_of_seen_images(classifier, features, held_out, reporter)
    return classifier


def _fit_head(
    loss: Loss, settings: TrainSettings, baseline: Linear, features: LabelledFeatures, reporter: Reporter
) -> tuple[Head, dict[str, Any]]:
    """Fit the head; also give how it was fitted, for the model file."""
    reg_factor = _reg_factor(settings, loss)
    objective = evidential_objective(loss, reg_factor)
    start = best_affine_start(baseline, features, objective)
    what = f"fitting the {loss.name} head"
    fitted = fit_linear(features, start, objective, seed=settings.seed, reporter=reporter, what=what)
    head = Head(fitted.linear, loss.evidence, loss.prior)
    return head, {"name": loss.name, "reg_factor": reg_factor, "epochs": fitted.epochs}


def _reg_factor(settings: TrainSettings, loss: Loss) -> float:
    """Choose what was asked for; else the loss's own weight, and none where the density gives the evidence.

    A regulariser takes evidence away from what the head cannot tell. The density does that better, and without it
    the head is more accurate and better calibrated (benchmarks/trust.py).
    """
    if settings.reg_factor is not None:
        return settings.reg_factor
    return loss.default_reg if settings.evidence_from is EvidenceFrom.HEAD else 0.0


def _predictor(
    head: Head, baseline: Linear, features: TrainingFeatures, held_out: LabelledFeatures, settings: TrainSettings
) -> Predictor:
    return Predictor.fit(
        head,
        baseline,
        features.moments,
        held_out.values,
        held_out.embedding,
        held_out.labels,
        fading=settings.flag_rate,
        evidence_from=settings.evidence_from,
    )


def _thresholds(
    predictions: Predictions, held_out: LabelledFeatures, settings: TrainSettings, reporter: Reporter
) -> tuple[Flags, PredictionSets]:
    """Fit thresholds and prediction sets on the validation images."""
    flags = Flags.fit(
        predictions,
        held_out.labels,
        rate=settings.flag_rate,
        target_accuracy=settings.target_accuracy,
        reporter=reporter,
    )
    return flags, PredictionSets.fit(ul.expected_probability(predictions.alpha), held_out.labels)


def _compare(
    predictor: Predictor, predictions: Predictions, held_out: LabelledFeatures
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Compute metrics of validation images: of the baseline, of the head before and after its temperature is set."""
    labels = held_out.labels
    uncalibrated = predictor.uncalibrated().predict(held_out.values, predictions.typicality)
    return (
        classification_metrics(predictor.baseline(held_out.values).softmax(1), labels),
        classification_metrics(ul.expected_probability(uncalibrated.alpha), labels),
        classification_metrics(ul.expected_probability(predictions.alpha), labels),
    )


def _data_record(
    settings: TrainSettings, images: LabelledSet, features: TrainingFeatures, held_out: LabelledFeatures
) -> dict[str, Any]:
    return {
        "name": str(training_name(settings).resolved()),
        "root": str(settings.places.root.resolve()),
        "hold_out": list(settings.hold_out),
        "digest": images.digest(),
        "images": len(features),
        "validation_images": len(held_out),
    }


def _feature_baselines(features: LabelledFeatures, baseline: Linear) -> FeatureBaselines | None:
    """Fit what `ul evaluate` compares with, now that features are there; None where it would swell the file."""
    if FeatureBaselines.size(features.values.shape[1], baseline.num_classes) > SMALL:
        return None
    return FeatureBaselines.fit(features.values, features.labels, baseline)


def _backbone_record(opened: Opened) -> BackboneRecord:
    backbone = opened.backbone
    backbone.network.to("cpu")
    probe = backbone(probe_images(opened.transform.shape)).features.nan_to_num()
    weights = {key: value.detach() for key, value in backbone.network.state_dict().items()}
    return BackboneRecord(
        backbone.arch,
        backbone.num_classes,
        backbone.head,
        backbone.taps,
        weights,
        options=opened.options,
        probe=probe,
    )


def _save(model: Model, opened: Opened, start: StartingPoint, settings: TrainSettings) -> None:
    """Write the model, once the network that it rebuilds has proved to be the one that was fitted."""

    def check(written: Model) -> None:
        rebuilt = replace(written.backbone, probe=None).build(trusted=start.trusted)  # the check here says more
        check_rebuilt(opened.backbone, rebuilt, written.transform.shape)

    model.save(settings.output, check)


def _provenance(seed: int, preprocessing: str) -> dict[str, Any]:
    return {
        "ul": __version__,
        "torch": str(torch.__version__),
        "torchvision": version("torchvision"),
        "seed": seed,
        "preprocessing": preprocessing,
    }
