"""The classifier that a training starts from: a checkpoint, published weights, or a model to fit again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from ulcli.reporting import Reporter


@dataclass(frozen=True)
class StartingPoint:
    """A model file to fit again, or an architecture with or without a state dict."""

    arch: str
    preprocessing: Preprocessing
    state: dict[str, Tensor] | None = None
    model: Model | None = None
    arch_is_said: bool = False  # on the command line, rather than by the checkpoint

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
        return cls(arch, said, checkpoint.state, arch_is_said=settings.arch is not None)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The classes of a model that is fitted again."""
        return None if self.model is None else self.model.classes

    @property
    def baseline(self) -> Linear | None:
        """The cross-entropy classifier of a model that is fitted again."""
        return None if self.model is None else self.model.predictor.baseline

    def backbone(self, images: ImageSet, reporter: Reporter) -> tuple[Backbone, Transform, dict[str, Any]]:
        """Give the network without its classifier, the preprocessing for it, and the options that it was built with."""
        if self.model is not None:
            record = self.model.backbone
            return record.build(trusted=True), self.model.transform, record.options
        source = source_of(self.arch)
        if self.state is None:
            built = source.published_network(self.arch)
        else:
            built = network_for(self.arch, self.state, trusted=self.arch_is_said)
        for note in built.notes:
            reporter.note(note)
        published = source.published_transform(self.arch, options=built.options)
        transform = self.preprocessing.transform(built.network, published, images.native_size)
        backbone = Backbone.take_apart(self.arch, built.num_classes, built.network, transform.shape)
        return backbone, transform, built.options
