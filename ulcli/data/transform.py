"""From a decoded image to the tensor that a network was trained on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# Mean and deviation that networks are usually trained with, by the name of what made them usual.
NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}

_LARGEST = 8192  # pixels; a model file from a stranger may not ask for all memory


# What torch calls them; Lanczos it has not.
UNSMOOTHED = {"nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic"}


@dataclass(frozen=True)
class Transform:
    """Resize the shorter side (or squash both sides), crop the centre, scale to [0, 1], normalise.

    The steps, and the pixels that come out, are those of torchvision's `ImageClassification` preset, so that a
    network sees what it was trained on; this needs Pillow alone, where importing torchvision costs a second. With
    `antialias` they are those of the preset on Pillow images, without it those on 8-bit tensors with `antialias=False`.
    """

    resize: int  # length of the shorter side, in pixels
    crop: int  # side of the square that the network sees, in pixels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    grayscale: bool = False
    interpolation: str = "bilinear"
    squash: bool = False  # both sides become `resize` pixels long, whatever the aspect
    antialias: bool = True

    def __post_init__(self) -> None:
        channels = self.channels
        if not 0 < self.crop <= self.resize <= _LARGEST:
            raise ValueError(
                f"expected 0 < crop <= resize <= {_LARGEST}, got crop {self.crop} and resize {self.resize}"
            )
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"expected {channels} values of mean and std, got {self.mean} and {self.std}")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"expected a positive std, got {self.std}")
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ValueError(f"expected finite mean and std, got {self.mean} and {self.std}")
        if self.interpolation not in RESAMPLING:
            raise ValueError(f"expected interpolation in {sorted(RESAMPLING)}, got '{self.interpolation}'")
        if not self.antialias and self.interpolation not in UNSMOOTHED:
            raise ValueError(f"expected antialias with {self.interpolation} interpolation")

    @property
    def channels(self) -> int:
        return 1 if self.grayscale else 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the tensor that comes out: (channels, height, width)."""
        return self.channels, self.crop, self.crop

    def __str__(self) -> str:
        """Tell what is done, for people: `resize 256, crop 224, bilinear, imagenet normalization`."""
        size = f"{self.crop} pixels" if self.resize == self.crop else f"resize {self.resize}, crop {self.crop}"
        steps = [size, *(["squashed"] if self.squash else []), self.interpolation]
        steps += [] if self.antialias else ["no antialiasing"]
        return ", ".join([*steps, *(["grayscale"] if self.grayscale else []), self._normalization()])

    def _normalization(self) -> str:
        if not any(self.mean) and all(value == 1 for value in self.std):
            return "no normalization"
        for name, values in NORMALIZATIONS.items():
            if values == (self.mean, self.std):
                return f"{name} normalization"
        mean, std = (",".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return f"mean {mean}, std {std}"

    def __call__(self, image: Image.Image) -> Tensor:
        """A float32 tensor of shape `self.shape`."""
        import torch

        pixels = self._resized(image.convert("L" if self.grayscale else "RGB"))
        values = torch.from_numpy(np.array(pixels)).reshape(self.crop, self.crop, self.channels).permute(2, 0, 1)
        mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (self.mean, self.std))
        return ((values.float() / 255 - mean) / std).contiguous()

    def _resized(self, image: Image.Image) -> Image.Image:
        if not self.squash:
            image = _limit_aspect(image)
        size = self._size_after(*image.size)
        if image.size != size:
            image = self._resampled(image, size)
        left, top = (round((side - self.crop) / 2) for side in size)  # torchvision rounds the crop's offset
        return image.crop((left, top, left + self.crop, top + self.crop))

    def _size_after(self, width: int, height: int) -> tuple[int, int]:
        if self.squash:
            return self.resize, self.resize
        longer = int(self.resize * max(width, height) / min(width, height))  # torchvision truncates the longer side
        return (self.resize, longer) if width <= height else (longer, self.resize)

    def _resampled(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        if self.antialias:
            return image.resize(size, RESAMPLING[self.interpolation])
        import torch
        from torch.nn import functional as F

        mode = UNSMOOTHED[self.interpolation]
        pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, self.channels)
        values = pixels.permute(2, 0, 1)[None].float()
        values = F.interpolate(values, size[::-1], mode=mode, align_corners=None if mode == "nearest" else False)
        resized = values[0].round().clamp(0, 255).byte().permute(1, 2, 0).squeeze(2).numpy()
        return Image.fromarray(resized)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the model file; lists, for `torch.load(weights_only=True)` gives tuples back as such."""
        fields = asdict(self)
        return {**fields, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Transform:
        """The inverse of `to_dict`; of older files, too, which say nothing of the last fields."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


def _limit_aspect(image: Image.Image) -> Image.Image:
    """The middle of a very long image: all of it, resized by its short side, could fill the memory."""
    width, height = image.size
    limit = 16 * min(width, height)
    if max(width, height) <= limit:
        return image
    left, top = max(width - limit, 0) // 2, max(height - limit, 0) // 2
    return image.crop((left, top, left + min(width, limit), top + min(height, limit)))
