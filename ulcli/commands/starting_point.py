"""The classifier that a training starts from: a checkpoint, a network of its own, or a model to fit again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ulcli.commands.checks import option_of
from ulcli.commands.own_classifier import OwnClassifier
from ulcli.commands.settings import TrainSettings
from ulcli.data.imageset import ImageSet, common_size
from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.model.file import Model, is_model
from ulcli.network.anatomy.backbone import Backbone
from ulcli.network.classes import read_class_names
from ulcli.network.files.archive import read_archive
from ulcli.network.files.checkpoint import Checkpoint, parse_checkpoint, sample_checkpoint
from ulcli.network.files.kinds import is_exported_program
from ulcli.network.linear import Linear
from ulcli.network.loading.build import network_for
from ulcli.network.preprocessing import Origin, Preprocessing, assumption
from ulcli.network.sources.exported import read_exported
from ulcli.network.sources.factory import Factory
from ulcli.network.sources.registry import source_of
from ulcli.network.sources.source import Built, Bundle
from ulcli.network.sources.transformers import is_folder, read_folder
from ulcli.reporting import Reporter


@dataclass(frozen=True)
class Opened:
    """A network that is ready to give features, and what a model file has to remember of it."""

    backbone: Backbone
    transform: Transform
    options: dict[str, Any]  # further arguments that it was built with
    has_classifier: bool = True  # whether its classifier is the checkpoint's own, rather than a random one


@dataclass(frozen=True)
class StartingPoint:
    """A model file to fit again, a file or folder with its network, or an architecture with or without a state dict."""

    arch: str
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    trusted: bool = False  # whether code in the working directory may run: named on the command line, or --trust-code
    state: dict[str, Tensor] | None = None
    model: Model | None = None
    bundle: Bundle | None = None
    options: dict[str, Any] = field(default_factory=dict)  # arguments that the user gives for building it
    head: str | None = None  # the classifier's layer, where the user names it
    weights: str | None = None  # published ones, by name
    names: tuple[str, ...] | None = None  # of the classes of the checkpoint, where they are known
    names_said: bool = False  # by the user, rather than in the file
    is_sample: bool = False  # the classifier that comes with the tool, of which nothing is assumed

    @classmethod
    def read(cls, settings: TrainSettings, reporter: Reporter) -> StartingPoint:
        """Read the checkpoint; without one it is the published weights of --arch, or the sample classifier."""
        said = _said(settings)
        if settings.checkpoint is None and settings.arch is not None:
            known = source_of(settings.arch, trusted=True).published_classes(settings.arch, settings.weights)
            return cls(settings.arch, trusted=True, weights=settings.weights, **_with_names(said, known))
        path = settings.checkpoint or sample_checkpoint()
        bundle = _bundle(settings, path)
        if bundle is not None:
            return cls(bundle.arch, bundle=bundle, **_with_names(said, bundle.classes))
        content = read_archive(path)
        if is_model(content):
            _check_nothing_said(settings, path)
            model = Model.parse(content, path)
            return cls(model.backbone.arch, trusted=settings.trust_code, model=model)
        checkpoint = parse_checkpoint(content, path, weights_key=settings.weights_key)
        arch, notes = settings.arch, checkpoint.notes
        if arch is None:
            arch, more = _architecture_of(checkpoint, path)
            notes += more
        for note in notes:
            reporter.note(note)
        return cls(
            arch,
            trusted=settings.trust_code or settings.arch is not None,
            state=checkpoint.state,
            weights=settings.weights,
            is_sample=settings.checkpoint is None,
            **_with_names(said, checkpoint.classes),
        )

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Give the classes of a model that is fitted again."""
        return None if self.model is None else self.model.classes

    @property
    def baseline(self) -> Linear | None:
        """Give the cross-entropy classifier of a model that is fitted again."""
        return None if self.model is None else self.model.predictor.baseline

    @property
    def preprocessing_origin(self) -> Origin:
        """Tell where the preprocessing comes from; of a model, what it remembers."""
        if self.model is not None:
            remembered = self.model.provenance.get("preprocessing")
            return next((origin for origin in Origin if origin.value == remembered), Origin.ASSUMED)
        if not self._unsaid() or self.is_sample:
            return Origin.SAID
        if self.bundle is not None:
            return Origin.ASSUMED if self.bundle.transform is None else Origin.PUBLISHED
        if self.state is None and not isinstance(source_of(self.arch), Factory):
            return Origin.PUBLISHED
        return Origin.ASSUMED if self.weights is None else Origin.SAID

    def open(self, images: ImageSet, reporter: Reporter) -> Opened:
        """Build the network, tell what was assumed, and find features and classifier."""
        if self.model is not None:
            record = self.model.backbone
            return Opened(record.build(trusted=self.trusted), self.model.transform, record.options)
        built, published = self._built()
        for note in built.notes:
            reporter.note(note)
        size = common_size(images) if published is None and built.images is None else None
        transform = self.preprocessing.transform(built.network, published, size, built.images)
        if self.preprocessing_origin is Origin.ASSUMED:
            published_for = None if published is None else self.arch
            reporter.note(assumption(transform, self._unsaid(), published_for))
        backbone = Backbone.take_apart(
            self.arch,
            built.num_classes,
            built.network,
            transform.shape,
            self.head,
            None if images.classes is None else len(images.classes),
        )
        for note in backbone.notes:
            reporter.note(note)
        return Opened(backbone, transform, built.options, built.has_classifier)

    def _unsaid(self) -> list[str]:
        return self.preprocessing.unsaid(self.bundle and self.bundle.built.images)

    def _built(self) -> tuple[Built, Transform | None]:
        """Build the network with its weights; also give the preprocessing that was published for it."""
        if self.bundle is not None:
            return self.bundle.built, self.bundle.transform
        source = source_of(self.arch, trusted=self.trusted)
        if self.state is None:
            built = source.published_network(self.arch, self.weights, self.options)
        else:
            built = network_for(self.arch, self.state, self.options, trusted=self.trusted)
        return built, source.published_transform(self.arch, self.weights, built.options)

    def own_classifier(self, opened: Opened, *, held_out: bool) -> OwnClassifier | None:
        """Give the checkpoint's own classifier; None where it has none that reads the features."""
        linear = opened.backbone.own_classifier() if opened.has_classifier else None
        return None if linear is None else OwnClassifier(linear, self.names, self.names_said, held_out)


def _bundle(settings: TrainSettings, path: Path) -> Bundle | None:
    """Read a file or folder that brings its own network along; None where it is none."""
    if is_exported_program(path):
        for field in ("arch", "weights", "arch_arg", "weights_key"):
            if getattr(settings, field):
                option = option_of(field)
                raise UserError(f"'{path}' is an exported program, which holds its network whole; leave out {option}")
        return read_exported(path)
    return read_folder(path) if is_folder(path) and settings.arch is None else None


def _said(settings: TrainSettings) -> dict[str, Any]:
    """Collect what the user says of the network, for any checkpoint but a model of this tool."""
    preprocessing = Preprocessing(
        image_size=settings.image_size,
        resize=settings.resize,
        crop=settings.crop,
        squash=settings.squash,
        interpolation=settings.interpolation,
        antialias=settings.antialias,
        mean=settings.channel_means,
        std=settings.channel_stds,
        grayscale=settings.grayscale,
    )
    names = None if settings.classes is None else read_class_names(settings.classes)
    return {
        "preprocessing": preprocessing,
        "options": settings.arch_options,
        "head": settings.head,
        "names": names,
        "names_said": names is not None,
    }


def _with_names(said: dict[str, Any], known: tuple[str, ...] | None) -> dict[str, Any]:
    """Let the class names of the file stand where the user gives none."""
    return {**said, "names": said["names"] or known}


def _check_nothing_said(settings: TrainSettings, path: Path) -> None:
    """Raise `UserError` where options tell of the network what a model of this tool knows."""
    said = _said(settings)
    options = (settings.arch, settings.weights, settings.classes, settings.head, settings.weights_key)
    if any(option is not None for option in options) or settings.arch_arg or said["preprocessing"] != Preprocessing():
        raise UserError(
            f"'{path}' is a model of this tool and knows its network, classes and preprocessing; leave out --arch, "
            "--arch-arg, --weights, --weights-key, --head, --classes and what tells the preprocessing (--image-size, "
            "--mean, --grayscale ...), or give the checkpoint that it was made of"
        )


def _architecture_of(checkpoint: Checkpoint, path: Path) -> tuple[str, tuple[str, ...]]:
    from ulcli.network.loading.guess import architecture_of  # torchvision takes a second, where --arch spares it

    return architecture_of(checkpoint, path)
