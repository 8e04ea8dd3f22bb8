"""How images are preprocessed for a network: what the user says, else what its weights were published with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from torch import nn

from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.network.sources.source import Images

_USUAL_SIZE = 224  # of images of any size, where nothing says what the network takes


class Origin(Enum):
    """Where a preprocessing comes from, as a model file remembers it."""

    SAID = "said"  # size and normalization, or the published weights they are of
    PUBLISHED = "published"  # with the very weights
    ASSUMED = "assumed"  # at least in part


@dataclass(frozen=True)
class Preprocessing:
    """What the user says of it; None where nothing was said."""

    image_size: int | None = None
    resize: int | None = None
    crop: int | None = None
    squash: bool | None = None
    interpolation: str | None = None
    antialias: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    grayscale: bool | None = None

    def transform(
        self,
        network: nn.Module,
        published: Transform | None,
        native_size: int | None,
        images: Images | None = None,
    ) -> Transform:
        """Take what was said; else what the published weights want; else what network and images suggest.

        Args:
            images: Those that the network was made for, where it says so.

        Raises:
            UserError: What was said makes no sense, or is not what the network takes.
        """
        gray = self.grayscale
        if gray is None:
            channels = _input_channels(network) if images is None else images.channels
            gray = published is None and channels == 1
        if images is not None:
            self._check_fits(images, gray)
            native_size = images.size
        channels = 1 if gray else 3
        if published is not None and not gray:
            mean, std = published.mean, published.std
        else:
            mean, std = (0.0,), (1.0,)
        resize, crop = self._sizes(published, native_size)
        if images is not None and images.is_fixed:
            crop = images.size
        try:
            return Transform(
                resize=resize,
                crop=crop,
                mean=_per_channel("--mean", self.mean or mean, channels),
                std=_per_channel("--std", self.std or std, channels),
                grayscale=gray,
                interpolation=self.interpolation or (published.interpolation if published else "bilinear"),
                squash=published.squash if self.squash is None and published else bool(self.squash),
                antialias=self.antialias is not False and (self.antialias or not published or published.antialias),
            )
        except ValueError as error:
            raise UserError(f"--image-size, --resize, --crop, --mean or --std make no sense: {error}") from None

    def _sizes(self, published: Transform | None, native_size: int | None) -> tuple[int, int]:
        """Lengths to resize to and to crop; of the two said, one alone leaves no margin where it gives none."""
        if self.image_size is not None:
            return self.image_size, self.image_size
        if self.crop is not None:
            return self.resize or self.crop, self.crop
        if self.resize is not None:
            return self.resize, min(published.crop, self.resize) if published else self.resize
        if published is not None:
            return published.resize, published.crop
        size = native_size or _USUAL_SIZE
        return size, size

    def _check_fits(self, images: Images, gray: bool) -> None:
        """Raise `UserError` where the network takes no images of the size or the channels that were said."""
        if gray != (images.channels == 1):
            only = "color" if gray else "grayscale"
            raise UserError(f"the exported program takes {only} images alone; leave out --grayscale")
        option, size = ("--image-size", self.image_size) if self.crop is None else ("--crop", self.crop)
        if images.is_fixed and size not in (None, images.size):
            raise UserError(
                f"{option} {size}: the exported program takes images of {images.size} pixels alone; leave it out, "
                "or export the network for that size"
            )

    def unsaid(self, images: Images | None = None) -> list[str]:
        """List the options that would say what decides most and is left to be assumed.

        A network that takes one size alone leaves the margin open, which `--resize` says.
        """
        size = "--resize" if images is not None and images.is_fixed else "--image-size"
        said = {size: self.image_size or self.resize or self.crop, "--mean": self.mean, "--std": self.std}
        return [option for option, value in said.items() if value is None]


def assumption(transform: Transform, unsaid: list[str], published_for: str | None) -> str:
    """Tell in one line what was assumed, and which options would say it.

    Args:
        transform: What came of it.
        unsaid: The options that were left out.
        published_for: The architecture whose published weights it is taken from; None where it is from nowhere.
    """
    source = f", as for the published weights of {published_for}" if published_for else ""
    return f"preprocessing assumed{source}: {transform}; say {', '.join(unsaid)} if the network was trained otherwise"


def _per_channel(option: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise UserError(f"{option} has {len(values)} values; expected one, or one for each of {channels} channels")
    return values


def _input_channels(network: nn.Module) -> int | None:
    """Give the number of channels that the first convolution reads; None without one."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return None if first is None else first.in_channels
