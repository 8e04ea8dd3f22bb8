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

    def published_network(self, arch: str, weights: str | None = None) -> nn.Module:
        models, entry = _models_with(arch), _entry(arch, weights)
        try:
            network: nn.Module = models.get_model(arch, weights=entry)
        except OSError as error:
            raise UserError(
                f"could not download the published weights of '{arch}': {error}; give a checkpoint"
            ) from None
        return network

    def published_transform(self, arch: str, weights: str | None = None) -> Transform | None:
        preset = _entry(arch, weights).transforms()
        return Transform(
            resize=preset.resize_size[0],
            crop=preset.crop_size[0],
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            interpolation=preset.interpolation.value,
        )

    def published_classes(self, arch: str, weights: str | None = None) -> tuple[str, ...] | None:
        return tuple(_entry(arch, weights).meta["categories"])


def _entry(arch: str, weights: str | None) -> Any:
    """Give the entry of published weights with this name (with or without that of its class), or the default one."""
    entries = _models_with(arch).get_model_weights(arch)
    if weights is None or weights == "DEFAULT":
        return entries.DEFAULT
    name = weights.removeprefix(f"{entries.__name__}.")
    if name not in entries.__members__:
        raise unknown_name(f"weights of {arch}", weights, entries.__members__)
    return entries[name]


def _models_with(arch: str) -> Any:
    """Give the module `torchvision.models`; raise `UserError` unless `arch` is one of its classifiers."""
    from torchvision import models

    known = models.list_models(module=models)
    if arch not in known:
        raise unknown_name("architecture", arch, known, "your own network is --arch package.module:factory")
    return models
