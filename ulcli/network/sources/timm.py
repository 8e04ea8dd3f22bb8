"""timm's classifiers by name, `timm/NAME`; timm comes with an extra and is imported where it is needed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from ulcli.data.transform import Transform
from ulcli.errors import UserError, shorten, unknown_name
from ulcli.network.sources.source import Built, NetworkSource, with_class_count

_PREFIX = "timm/"


class Timm(NetworkSource):
    """The networks that `timm.create_model` makes; NAME may carry the tag of published weights, as in timm."""

    example = "timm/NAME"
    description = "a classifier of timm"

    @staticmethod
    def recognises(arch: str) -> bool:
        return arch.startswith(_PREFIX)

    def build(self, arch: str, num_classes: int | None = None, options: Mapping[str, Any] | None = None) -> nn.Module:
        timm, name = _timm_with(arch)
        _check_options(timm, options or {}, arch)
        arguments = with_class_count(options, num_classes)
        try:
            network: nn.Module = timm.create_model(name, **{**arguments, "pretrained": False})
        except Exception as error:
            raise UserError(f"timm cannot build '{arch}' with {arguments}: {error}") from error
        return network

    def published_network(
        self, arch: str, weights: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Built:
        timm, name = _timm_with(arch)
        _refuse(weights, name)
        _check_options(timm, options or {}, arch)
        if not _config(timm, name).has_weights:
            raise UserError(f"'{arch}' has no published weights; give a checkpoint")
        try:
            network = timm.create_model(name, **{**(options or {}), "pretrained": True})
        except Exception as error:  # the hub's client raises what its own libraries raise
            raise UserError(
                f"could not download the published weights of '{arch}': {error}; give a checkpoint"
            ) from None
        return Built(network, network.num_classes or None, dict(options or {}))

    def published_transform(
        self, arch: str, weights: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Transform | None:
        timm, name = _timm_with(arch)
        _refuse(weights, name)
        config = _config(timm, name).to_dict()
        data = timm.data.resolve_data_config((options or {}), pretrained_cfg=config)
        channels, height, width = data["input_size"]
        unsquare, pads = height != width, data["crop_pct"] > 1
        if unsquare or pads or channels != 3 or data["crop_mode"] not in ("center", "squash"):
            return None  # a preprocessing that `Transform` cannot do
        return Transform(
            # timm resizes to so much that the crop takes the share `crop_pct` of it.
            resize=math.floor(height / data["crop_pct"]),
            crop=height,
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
            interpolation=data["interpolation"],
            squash=data["crop_mode"] == "squash",
        )


def _timm_with(arch: str) -> tuple[Any, str]:
    """Give timm and the name of one of its networks; raise `UserError` where either is unknown."""
    try:
        import timm
    except ImportError:
        raise UserError(f"'{arch}' needs timm: pip install 'uncertainty-loss[timm]'") from None
    name = arch.removeprefix(_PREFIX)
    if not timm.is_model(name):
        raise unknown_name("timm network", name, timm.list_models())
    return timm, name


def _refuse(weights: str | None, name: str) -> None:
    if weights is not None:
        bare = name.partition(".")[0]
        raise UserError(f"timm's weights are named by --arch itself: timm/{bare}.{weights}, without --weights")


def _check_options(timm: Any, options: Mapping[str, Any], arch: str) -> None:
    """Refuse what would read or download files: options may come from a stranger's model file."""
    own = inspect.signature(timm.create_model).parameters
    wrong = [key for key in options if key in own or key.startswith("pretrained")]
    if wrong:
        raise UserError(f"'{arch}' cannot be built with {shorten(wrong)}: only what the network itself takes")


def _config(timm: Any, name: str) -> Any:
    """Give what timm knows of a network's published weights."""
    bare, _, tag = name.partition(".")
    known = [each.partition(".")[2] for each in timm.list_pretrained(f"{bare}.*")]
    if tag and tag not in known:
        raise unknown_name(f"weights of timm/{bare}", tag, known)
    return timm.models.get_pretrained_cfg(name)
