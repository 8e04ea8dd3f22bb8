"""torchvision's classifiers by name.

torchvision is imported where it is needed: this takes a second, which a network of the user's own need not cost, and
`ul info` works without it.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ulcli.data.transform import Transform
from ulcli.errors import UserError, unknown_name
from ulcli.network.sources.source import NetworkSource


class Torchvision(NetworkSource):
    """The classifiers that `torchvision.models` lists, as `resnet18`."""

    example = "resnet18"
    description = "a torchvision classifier"

    def recognises(self, arch: str) -> bool:
        return True  # last in the registry: what no other source takes

    def build(self, arch: str, num_classes: int | None = None) -> nn.Module:
        models = _models_with(arch)
        options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
        if arch in ("googlenet", "inception_v3"):
            options["init_weights"] = False  # minutes of scipy sampling for numbers that a checkpoint replaces
        network: nn.Module = models.get_model(arch, weights=None, **options)
        return network

    def published_network(self, arch: str) -> nn.Module:
        models = _models_with(arch)
        try:
            network: nn.Module = models.get_model(arch, weights="DEFAULT")
        except OSError as error:
            raise UserError(
                f"could not download the published weights of '{arch}': {error}; give a checkpoint"
            ) from None
        return network

    def published_transform(self, arch: str) -> Transform | None:
        preset = _models_with(arch).get_model_weights(arch).DEFAULT.transforms()
        return Transform(
            resize=preset.resize_size[0],
            crop=preset.crop_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        )


def _models_with(arch: str) -> Any:
    """Give the module `torchvision.models`; raise `UserError` unless `arch` is one of its classifiers."""
    from torchvision import models

    known = models.list_models(module=models)
    if arch not in known:
        raise unknown_name("architecture", arch, known, "your own network is --arch package.module:factory")
    return models
