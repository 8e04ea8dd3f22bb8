"""How images are preprocessed for a network: what the user says, else what its weights were published with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ulcli.data.transform import Transform
from ulcli.errors import UserError

_USUAL_SIZE = 224  # of images of any size, where nothing says what the network takes


@dataclass(frozen=True)
class Preprocessing:
    """What the user says of it; None where nothing was said."""

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    grayscale: bool | None = None

    def transform(self, network: nn.Module, published: Transform | None, native_size: int | None) -> Transform:
        """What was said; else what the published weights want; else what network and images suggest."""
        gray = self.grayscale
        if gray is None:
            gray = published is None and _input_channels(network) == 1
        channels = 1 if gray else 3
        if published is not None and not gray:
            mean, std = published.mean, published.std
        else:
            mean, std = (0.0,), (1.0,)
        crop = self.image_size or (published.crop if published else native_size or _USUAL_SIZE)
        resize = self.image_size or (published.resize if published else crop)
        try:
            return Transform(
                resize=resize,
                crop=crop,
                mean=_per_channel("--mean", self.mean or mean, channels),
                std=_per_channel("--std", self.std or std, channels),
                grayscale=gray,
                interpolation=published.interpolation if published else "bilinear",
            )
        except ValueError as error:
            raise UserError(f"--image-size, --mean or --std make no sense: {error}") from None


def _per_channel(option: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise UserError(f"{option} has {len(values)} values; expected one, or one for each of {channels} channels")
    return values


def _input_channels(network: nn.Module) -> int | None:
    """How many channels the first convolution reads; None without one."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return None if first is None else first.in_channels
