"""The classifier that a training starts from: a checkpoint, published weights, or a model to fit again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ulcli.commands.settings import TrainSettings
from ulcli.data.imageset import ImageSet
from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.model.file import Model, is_model
from ulcli.network.archive import read_archive
from ulcli.network.backbone import Backbone
from ulcli.network.build import network_for
from ulcli.network.checkpoint import parse_checkpoint, sample_checkpoint
from ulcli.network.linear import Linear
from ulcli.network.preprocessing import Preprocessing
from ulcli.network.sources.registry import source_of


@dataclass(frozen=True)
class StartingPoint:
    """A model file to fit again, or an architecture with or without a state dict."""

    arch: str
    preprocessing: Preprocessing
    state: dict[str, Tensor] | None = None
    model: Model | None = None

    @classmethod
    def read(cls, settings: TrainSettings) -> StartingPoint:
        """Read the checkpoint; without one it is the published weights of --arch, or the sample classifier."""
        said = Preprocessing(settings.image_size, settings.channel_means, settings.channel_stds, settings.grayscale)
        if settings.checkpoint is None and settings.arch is not None:
            return cls(settings.arch, said)
        path = settings.checkpoint or sample_checkpoint()
        content = read_archive(path)
        if is_model(content):
            if settings.arch is not None or said != Preprocessing():
                raise UserError(
                    f"'{path}' is a model of this tool and knows its network and how images are prepared; leave out "
                    "--arch, --image-size, --mean, --std and --grayscale, or give the checkpoint that it was made of"
                )
            model = Model.parse(content, path)
            return cls(model.backbone.arch, said, model.backbone.state, model)
        checkpoint = parse_checkpoint(content, path)
        arch = settings.arch or checkpoint.arch
        if arch is None:
            raise UserError(
                f"'{path}' does not say which network it is of; name it with --arch, for example resnet18 or "
                "package.module:factory"
            )
        return cls(arch, said, checkpoint.state)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes of a model that is fitted again."""
        return None if self.model is None else self.model.classes

    @property
    def baseline(self) -> Linear | None:
        """The cross-entropy classifier of a model that is fitted again."""
        return None if self.model is None else self.model.predictor.baseline

    def backbone(self, images: ImageSet) -> tuple[Backbone, Transform]:
        """The network without its classifier, and how the images to fit on are preprocessed for it."""
        if self.model is not None:
            return self.model.backbone.build(), self.model.transform
        num_classes, source = None, source_of(self.arch)
        if self.state is None:
            network = source.published_network(self.arch)
        else:
            network, num_classes = network_for(self.arch, self.state)
        transform = self.preprocessing.transform(network, source.published_transform(self.arch), images.native_size)
        return Backbone.take_apart(self.arch, num_classes, network, transform.shape), transform
