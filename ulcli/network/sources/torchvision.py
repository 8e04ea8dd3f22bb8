"""torchvision's classifiers by name.

torchvision is imported where it is needed: this takes a second, which a network of the user's own need not cost, and
`ul info` works without it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ulcli.data.transform import Transform
from ulcli.errors import UserError, unknown_name
from ulcli.network.sources.source import Built, NetworkSource, with_class_count

# Arguments of a builder that its network keeps under the same name, and that published weights set in other ways than
# the defaults.
_OPTIONS = ("aux_logits", "image_size", "transform_input")
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")


class Torchvision(NetworkSource):
    """The classifiers that `torchvision.models` lists, as `resnet18`."""

    example = "resnet18"
    description = "a torchvision classifier"

    @staticmethod
    def recognises(arch: str) -> bool:
        return True  # last in the registry: what no other source takes

    def build(self, arch: str, num_classes: int | None = None, options: Mapping[str, Any] | None = None) -> nn.Module:
        models = _models_with(arch)
        arguments = with_class_count(options, num_classes)
        if arch in _WITH_AUXILIARY_HEADS:
            arguments["init_weights"] = False  # minutes of scipy sampling for numbers that a checkpoint replaces
        try:
            network: nn.Module = models.get_model(arch, **{**arguments, "weights": None})
        except Exception as error:
            if not options:
                raise
            raise UserError(f"'{arch}' cannot be built with {_listed(options)}: {error}") from error
        return network

    def options_for(
        self, arch: str, state: Mapping[str, Tensor], given: Mapping[str, Any]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        size = _image_size(state) if arch.startswith("vit_") else None
        if size is not None:
            return {"image_size": size, **given}, ()
        if arch not in _WITH_AUXILIARY_HEADS:
            return dict(given), ()
        auxiliary = any(re.search(r"(^|\.)(aux1|AuxLogits)\.", key) for key in state)
        options = {"aux_logits": auxiliary, "transform_input": True, **given}
        if "transform_input" in given:
            return options, ()
        # No key shows it. Most weights are the published ones, or were fine-tuned from them.
        note = f"these weights of {arch} are taken to expect the input of torchvision's published ones"
        return options, (f"{note}; --arch-arg transform_input=false where they were trained from scratch",)

    def published_network(
        self, arch: str, weights: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Built:
        models, entry = _models_with(arch), _entry(arch, weights)
        try:
            network: nn.Module = models.get_model(arch, **{**(options or {}), "weights": entry})
        except OSError as error:
            raise UserError(
                f"could not download the published weights of '{arch}': {error}; give a checkpoint"
            ) from None
        except Exception as error:
            if not options:
                raise
            raise UserError(f"'{arch}' cannot be built with {_listed(options)}: {error}") from error
        known = {name: getattr(network, name) for name in _OPTIONS if hasattr(network, name)}
        return Built(network, None, {**(options or {}), **known})

    def published_transform(
        self, arch: str, weights: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Transform | None:
        transform = _transform_of(_entry(arch, weights))
        size = (options or {}).get("image_size", transform.crop)
        if size == transform.crop:
            return transform
        # A network that was built for another size; perhaps other weights are published for this one.
        others = map(_transform_of, _models_with(arch).get_model_weights(arch))
        same_size = (other for other in others if other.crop == size)
        return next(same_size, replace(transform, resize=size, crop=size))

    def published_classes(self, arch: str, weights: str | None = None) -> tuple[str, ...] | None:
        return tuple(_entry(arch, weights).meta["categories"])


def _models_with(arch: str) -> Any:
    """Give the module `torchvision.models`; raise `UserError` unless `arch` is one of its classifiers."""
    from torchvision import models

    known = models.list_models(module=models)
    if arch not in known:
        raise unknown_name("architecture", arch, known, "your own network is --arch package.module:factory")
    return models


def _entry(arch: str, weights: str | None) -> Any:
    """Give the entry of published weights with this name (with or without that of its class), or the default one."""
    entries = _models_with(arch).get_model_weights(arch)
    if weights is None or weights == "DEFAULT":
        return entries.DEFAULT
    name = weights.removeprefix(f"{entries.__name__}.")
    if name not in entries.__members__:
        raise unknown_name(f"weights of {arch}", weights, entries.__members__)
    return entries[name]


def _transform_of(entry: Any) -> Transform:
    preset = entry.transforms()
    return Transform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


def _image_size(state: Mapping[str, Tensor]) -> int | None:
    """The side of the images that a vision transformer was built for: one position a patch, and one for the class."""
    positions = next((value for key, value in state.items() if key.endswith("encoder.pos_embedding")), None)
    patches = next((value for key, value in state.items() if key.endswith("conv_proj.weight")), None)
    if positions is None or patches is None or positions.dim() != 3 or patches.dim() != 4 or not positions.shape[1]:
        return None
    return math.isqrt(positions.shape[1] - 1) * patches.shape[-1]


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())
