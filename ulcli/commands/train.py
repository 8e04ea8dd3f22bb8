"""`ul train`: fit an evidential head on a classifier that somebody already has."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulcli import __version__
from ulcli.data.catalog import DataName, Places, comes_in_parts, labelled_set
from ulcli.data.imageset import ImageSet, of_classes, relabel
from ulcli.data.loader import default_workers
from ulcli.data.transform import Transform
from ulcli.errors import UserError, shorten, unknown_name
from ulcli.evaluation.figures import classification_metrics
from ulcli.evaluation.weakness import warn_of_weakness
from ulcli.files import check_writable
from ulcli.model.baselines import SMALL, FeatureBaselines
from ulcli.model.choices import EvidenceFrom
from ulcli.model.file import BackboneRecord, Model, is_model
from ulcli.model.fit import (
    best_affine_start,
    cross_entropy_objective,
    evidential_objective,
    fit_linear,
)
from ulcli.model.flags import Flags
from ulcli.model.head import Head
from ulcli.model.predictor import Predictor
from ulcli.model.sets import PredictionSets
from ulcli.network.arch import network_for, published_network, published_transform
from ulcli.network.archive import read_archive
from ulcli.network.backbone import Backbone
from ulcli.network.cache import FeatureCache
from ulcli.network.checkpoint import parse_checkpoint, sample_checkpoint
from ulcli.network.features import Extractor, Features, warn_of_unreadable
from ulcli.network.linear import Linear
from ulcli.reporting import Reporter, Silent

if TYPE_CHECKING:
    from torch import Tensor

    from uncertainty_loss import Loss


@dataclass(frozen=True)
class Preparation:
    """How the user says that images were prepared for the network; None where nothing was said."""

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    grayscale: bool | None = None


@dataclass(frozen=True)
class TrainSettings:
    """What `ul train` is asked to do."""

    checkpoint: Path | None = None  # None: the published weights of `arch`, or the sample classifier without one
    arch: str | None = None
    data: DataName | None = None
    val: DataName | None = None
    places: Places = field(default_factory=Places)
    loss: str = "maxnorm"
    reg_factor: float | None = None  # None: see `_reg_factor`
    evidence_from: EvidenceFrom = EvidenceFrom.DENSITY
    flag_rate: float = 0.05
    target_accuracy: float | None = None
    hold_out: Sequence[str] = ()  # classes that the head is not to know
    output: Path = Path("model.pt")
    preparation: Preparation = Preparation()
    seed: int = 0
    device: str = "cpu"
    batch_size: int = 64
    workers: int = field(default_factory=default_workers)
    cache: FeatureCache | None = None


@dataclass(frozen=True)
class TrainResult:
    """What came out: figures on the validation images, which took no part in the fit."""

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


def train(settings: TrainSettings, reporter: Reporter | None = None) -> TrainResult:
    """Fit a head, choose its threshold, and write the model file.

    Order matters for honesty: the head sees the train split alone, the threshold and the figures come from the
    validation split, and the test split is not opened.
    """
    import uncertainty_loss as ul

    reporter = reporter or Silent()
    started = time.perf_counter()
    if settings.loss not in ul.loss_names():
        raise unknown_name("loss", settings.loss, ul.loss_names())
    loss = ul.get_loss(settings.loss)
    if settings.evidence_from is EvidenceFrom.HEAD and not loss.prior:
        raise UserError(
            f"--evidence-from head makes no sense with --loss {loss.name}: without a prior vacuity is 0 for every "
            "image; leave it at density, or take another loss"
        )
    reg_factor = _reg_factor(settings, loss)
    check_writable(settings.output)
    if settings.checkpoint is not None and settings.output.resolve() == settings.checkpoint.resolve():
        raise UserError(f"-o {settings.output} would replace the checkpoint itself; choose another name")

    source = _read_source(settings)
    images, validation = _data(settings, source)
    backbone, transform = _backbone(settings, source, images)
    for note in backbone.notes:
        reporter.note(note)
    extract = Extractor(backbone, transform, settings.device, settings.batch_size, settings.workers, settings.cache)
    features, held_out = extract(images, reporter, for_density=True), extract(validation, reporter)
    for part, part_images in ((features, images), (held_out, validation)):
        warn_of_unreadable(part, part_images, reporter)

    assert images.classes is not None
    assert features.moments is not None
    assert held_out.labels is not None
    baseline = _baseline(source, backbone, images.classes, features, settings.seed, reporter)
    head, epochs = _fit(loss, reg_factor, baseline, features, settings.seed, reporter)
    predictor = Predictor.fit(
        head,
        baseline,
        features.moments,
        held_out.values,
        held_out.embedding,
        held_out.labels,
        fading=settings.flag_rate,
        evidence_from=settings.evidence_from,
    )
    warn_of_weakness(predictor, features, images.classes, reporter)
    predictions = predictor(held_out.values, held_out.embedding)
    probabilities = ul.expected_probability(predictions.alpha)
    flags = Flags.fit(
        predictions,
        held_out.labels,
        rate=settings.flag_rate,
        target_accuracy=settings.target_accuracy,
        reporter=reporter,
    )
    uncalibrated = predictor.uncalibrated().predict(held_out.values, predictions.typicality)
    after = classification_metrics(probabilities, held_out.labels)
    Model(
        backbone=BackboneRecord(backbone.arch, backbone.num_classes, backbone.head, backbone.taps, _weights(backbone)),
        transform=transform,
        classes=images.classes,
        predictor=predictor,
        loss={"name": loss.name, "reg_factor": reg_factor, "epochs": epochs},
        flags=flags,
        sets=PredictionSets.fit(probabilities, held_out.labels),
        validation=after,
        data={
            "name": str(_data_name(settings).resolved()),
            "root": str(settings.places.root.resolve()),
            "hold_out": list(settings.hold_out),
            "digest": images.digest(),
            "images": len(features),
            "validation_images": len(held_out),
        },
        provenance=_provenance(settings.seed),
        feature_baselines=_feature_baselines(features, baseline),
    ).save(settings.output)
    return TrainResult(
        path=settings.output,
        before=classification_metrics(baseline(held_out.values).softmax(1), held_out.labels),
        uncalibrated=classification_metrics(ul.expected_probability(uncalibrated.alpha), held_out.labels),
        after=after,
        images=len(features),
        validation_images=len(held_out),
        unreadable=len(features.errors) + len(held_out.errors),
        epochs=epochs,
        seconds=time.perf_counter() - started,
        flags=str(flags),
        temperature=predictor.head.temperature,
    )


def _reg_factor(settings: TrainSettings, loss: Loss) -> float:
    """What was asked for; else the loss's own weight, and none where the amount of evidence comes from the density.

    A regulariser takes evidence away from what the head cannot tell. The density does that better, and without it
    the head is more accurate and better calibrated (benchmarks/trust.py).
    """
    if settings.reg_factor is not None:
        return settings.reg_factor
    return loss.default_reg if settings.evidence_from is EvidenceFrom.HEAD else 0.0


@dataclass(frozen=True)
class _Source:
    """Where the network comes from: a model file to fit again, or an architecture with or without a state dict."""

    arch: str
    state: dict[str, Tensor] | None = None
    model: Model | None = None


def _read_source(settings: TrainSettings) -> _Source:
    if settings.checkpoint is None and settings.arch is not None:
        return _Source(settings.arch)
    path = settings.checkpoint or sample_checkpoint()
    content = read_archive(path)
    if is_model(content):
        if settings.arch is not None or settings.preparation != Preparation():
            raise UserError(
                f"'{path}' is a model of this tool and knows its network and how images are prepared; leave out "
                "--arch, --image-size, --mean, --std and --grayscale, or give the checkpoint that it was made of"
            )
        model = Model.parse(content, path)
        return _Source(model.backbone.arch, model.backbone.state, model)
    checkpoint = parse_checkpoint(content, path)
    arch = settings.arch or checkpoint.arch
    if arch is None:
        raise UserError(
            f"'{path}' does not say which network it is of; name it with --arch, for example resnet18 or "
            "package.module:factory"
        )
    return _Source(arch, checkpoint.state)


def _data_name(settings: TrainSettings) -> DataName:
    if settings.data is not None:
        return settings.data
    if settings.checkpoint is not None or settings.arch is not None:
        raise UserError("say which labelled images to fit on with --data, for example --data photos/train")
    return DataName("digits")


def _data(settings: TrainSettings, source: _Source) -> tuple[ImageSet, ImageSet]:
    """The images to fit on, and those to validate with, which must be others."""
    data = _data_name(settings)
    val = settings.val or DataName(data.name, "val")
    if settings.val is None and data.split not in (None, "train"):
        raise UserError(f"'{data}' leaves nothing to validate with; give --val, or fit on '{data.name}:train'")
    same = val.resolved().name == data.resolved().name
    if same and val.split in ("all", data.split or "train"):
        raise UserError(f"--val {val} holds images of --data {data}: thresholds from them would promise too much")
    images = labelled_set(data, "train", settings.places)
    validation = labelled_set(val, "val" if same or comes_in_parts(val.name) else "all", settings.places)
    images, validation = _without(images, settings.hold_out), _without(validation, settings.hold_out)
    classes = images.classes
    assert classes is not None
    if len(classes) < 2:
        raise UserError(
            f"'{images.name}' has too few classes to fit on ({len(classes)}); a classifier needs two or more"
        )
    if source.model is not None:
        check_classes(images, source.model.classes, "the model")
        classes = source.model.classes
    check_classes(validation, classes, f"'{images.name}'")
    return relabel(images, classes), relabel(validation, classes)


def _without(images: ImageSet, names: Sequence[str]) -> ImageSet:
    """The set without the classes to hold out."""
    assert images.classes is not None
    for name in names:
        if name not in images.classes:
            raise unknown_name("class", name, images.classes, "given to --hold-out")
    if not names:
        return images
    return of_classes(images, [name for name in images.classes if name not in names], images.name)


def check_classes(images: ImageSet, classes: tuple[str, ...], owner: str) -> None:
    """Raise `UserError` unless the classes of a labelled set are the expected ones."""
    assert images.classes is not None
    unknown = [name for name in images.classes if name not in classes]
    missing = [name for name in classes if name not in images.classes]
    if unknown or missing:
        parts = [f"{shorten(unknown)} unknown to {owner}"] if unknown else []
        parts += [f"{shorten(missing)} missing"] if missing else []
        raise UserError(
            f"the classes of '{images.name}' ({len(images.classes)}) differ from those of {owner} ({len(classes)}): "
            f"{'; '.join(parts)}"
        )


def _backbone(settings: TrainSettings, source: _Source, images: ImageSet) -> tuple[Backbone, Transform]:
    if source.model is not None:
        return source.model.backbone.build(), source.model.transform
    num_classes = None
    if source.state is None:
        network = published_network(source.arch)
    else:
        network, num_classes = network_for(source.arch, source.state)
    transform = _transform(settings.preparation, source.arch, network, images)
    return Backbone.take_apart(source.arch, num_classes, network, transform.shape), transform


def _transform(preparation: Preparation, arch: str, network: Any, images: ImageSet) -> Transform:
    """What the user says; else what the published weights want; else what network and data suggest."""
    published = published_transform(arch)
    gray = preparation.grayscale
    if gray is None:
        gray = published is None and _input_channels(network) == 1
    channels = 1 if gray else 3
    if published is not None and not gray:
        mean, std = published.mean, published.std
    else:
        mean, std = (0.0,), (1.0,)
    size = preparation.image_size
    crop = size or (published.crop if published else images.native_size or 224)
    resize = size or (published.resize if published else crop)
    try:
        return Transform(
            resize=resize,
            crop=crop,
            mean=_per_channel(preparation.mean or mean, channels, "--mean"),
            std=_per_channel(preparation.std or std, channels, "--std"),
            grayscale=gray,
            interpolation=published.interpolation if published else "bilinear",
        )
    except ValueError as error:
        raise UserError(f"--image-size, --mean or --std make no sense: {error}") from None


def _per_channel(values: tuple[float, ...], channels: int, option: str) -> tuple[float, ...]:
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise UserError(f"{option} has {len(values)} values; expected one, or one for each of {channels} channels")
    return values


def _input_channels(network: Any) -> int | None:
    """How many channels the first convolution reads; None without one."""
    from torch import nn

    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return None if first is None else first.in_channels


def _baseline(
    source: _Source,
    backbone: Backbone,
    classes: tuple[str, ...],
    features: Features,
    seed: int,
    reporter: Reporter,
) -> Linear:
    """The cross-entropy classifier: the checkpoint's own where it tells as many classes, else a new one."""
    if source.model is not None:
        return source.model.predictor.baseline
    own = backbone.own_classifier()
    if own is not None and own.num_classes == len(classes):
        return own
    if own is not None:  # what it means that there is none was told when the network was taken apart
        reporter.note(
            f"the checkpoint tells {own.num_classes} classes, the data has {len(classes)}: "
            "a new cross-entropy classifier is fitted to compare with and to start from"
        )
    start = Linear.zeros(len(classes), features.values.shape[1])
    objective = cross_entropy_objective()
    return fit_linear(features, start, objective, seed=seed, reporter=reporter, what="fitting a classifier").linear


def _fit(
    loss: Loss, reg_factor: float, baseline: Linear, features: Features, seed: int, reporter: Reporter
) -> tuple[Head, int]:
    objective = evidential_objective(loss, reg_factor)
    start = best_affine_start(baseline, features, objective)
    fitted = fit_linear(features, start, objective, seed=seed, reporter=reporter, what=f"fitting the {loss.name} head")
    return Head(fitted.linear, loss.evidence, loss.prior), fitted.epochs


def _feature_baselines(features: Features, baseline: Linear) -> FeatureBaselines | None:
    """What `ul evaluate` compares with, from the features that are there now; None where it would swell the file."""
    if FeatureBaselines.size(features.values.shape[1], baseline.num_classes) > SMALL:
        return None
    assert features.labels is not None
    return FeatureBaselines.fit(features.values, features.labels, baseline)


def _weights(backbone: Backbone) -> dict[str, Tensor]:
    return {key: value.detach().cpu() for key, value in backbone.network.state_dict().items()}


def _provenance(seed: int) -> dict[str, Any]:
    from importlib.metadata import version

    import torch

    return {
        "ul": __version__,
        "torch": str(torch.__version__),
        "torchvision": version("torchvision"),
        "seed": seed,
    }
