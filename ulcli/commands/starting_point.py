"""The classifier that a training starts from: a checkpoint, published weights, or a model to fit again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ulcli.commands.own_classifier import OwnClassifier
from ulcli.commands.settings import TrainSettings
from ulcli.data.imageset import ImageSet
from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.model.file import Model, is_model
from ulcli.network.archive import read_archive
from ulcli.network.backbone import Backbone
from ulcli.network.build import network_for
from ulcli.network.checkpoint import parse_checkpoint, sample_checkpoint
from ulcli.network.classes import read_class_names
from ulcli.network.linear import Linear
from ulcli.network.preprocessing import Origin, Preprocessing, assumption
from ulcli.network.sources.registry import source_of
from ulcli.reporting import Reporter


@dataclass(frozen=True)
class StartingPoint:
    """A model file to fit again, or an architecture with or without a state dict."""

    arch: str
    preprocessing: Preprocessing
    state: dict[str, Tensor] | None = None
    model: Model | None = None
    weights: str | None = None  # published ones, by name
    names: tuple[str, ...] | None = None  # of the classes of the checkpoint, where they are known
    names_said: bool = False  # by the user, rather than in the file
    is_sample: bool = False  # the classifier that comes with the tool, of which nothing is assumed

    @classmethod
    def read(cls, settings: TrainSettings) -> StartingPoint:
        """Read the checkpoint; without one it is the published weights of --arch, or the sample classifier."""
        preprocessing = _said(settings)
        if settings.checkpoint is None and settings.arch is not None:
            names = _names_said(settings)
            published = names or source_of(settings.arch).published_classes(settings.arch, settings.weights)
            return cls(settings.arch, preprocessing, None, None, settings.weights, published, names is not None)
        path = settings.checkpoint or sample_checkpoint()
        content = read_archive(path)
        if is_model(content):
            said = (settings.arch, settings.weights, settings.classes)
            if any(option is not None for option in said) or preprocessing != Preprocessing():
                raise UserError(
                    f"'{path}' is a model of this tool and knows its network, classes and preprocessing; leave out "
                    "--arch, --weights, --classes and what tells the preprocessing (--image-size, --mean, --grayscale "
                    "...), or give the checkpoint that it was made of"
                )
            model = Model.parse(content, path)
            return cls(model.backbone.arch, preprocessing, model.backbone.state, model)
        checkpoint = parse_checkpoint(content, path)
        arch = settings.arch or checkpoint.arch
        if arch is None:
            raise UserError(
                f"'{path}' does not say which network it is of; name it with --arch, for example resnet18 or "
                "package.module:factory"
            )
        names = _names_said(settings)
        known, sample = names or checkpoint.classes, settings.checkpoint is None
        return cls(arch, preprocessing, checkpoint.state, None, settings.weights, known, names is not None, sample)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes of a model that is fitted again."""
        return None if self.model is None else self.model.classes

    @property
    def baseline(self) -> Linear | None:
        """The cross-entropy classifier of a model that is fitted again."""
        return None if self.model is None else self.model.predictor.baseline

    @property
    def preprocessing_origin(self) -> Origin:
        """Where the preprocessing comes from; of a model, what it remembers."""
        if self.model is not None:
            remembered = self.model.provenance.get("preprocessing")
            return next((origin for origin in Origin if origin.value == remembered), Origin.ASSUMED)
        if not self.preprocessing.unsaid() or self.is_sample:
            return Origin.SAID
        if self.state is None:
            return Origin.PUBLISHED
        return Origin.ASSUMED if self.weights is None else Origin.SAID

    def backbone(self, images: ImageSet, reporter: Reporter) -> tuple[Backbone, Transform]:
        """The network without its classifier, and how the images to fit on are preprocessed for it."""
        if self.model is not None:
            return self.model.backbone.build(), self.model.transform
        num_classes, source = None, source_of(self.arch)
        published = source.published_transform(self.arch, self.weights)
        if self.state is None:
            network = source.published_network(self.arch, self.weights)
        else:
            network, num_classes = network_for(self.arch, self.state)
        transform = self.preprocessing.transform(network, published, images.native_size)
        if self.preprocessing_origin is Origin.ASSUMED:
            published_for = None if published is None else self.arch
            reporter.note(assumption(transform, self.preprocessing.unsaid(), published_for))
        return Backbone.take_apart(self.arch, num_classes, network, transform.shape), transform

    def own_classifier(self, backbone: Backbone, features: int, *, held_out: bool) -> OwnClassifier:
        """The checkpoint's own classifier; where none is found, its outputs are the features, one a class."""
        linear = backbone.own_classifier() or Linear.identity(features)
        return OwnClassifier(linear, self.names, self.names_said, held_out)


def _said(settings: TrainSettings) -> Preprocessing:
    return Preprocessing(
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


def _names_said(settings: TrainSettings) -> tuple[str, ...] | None:
    return None if settings.classes is None else read_class_names(settings.classes)
