"""The user's own images, made worse in a known way: covariate shift to test a model with.

Each kind has five severities, 1 for what a careless photographer does and 5 for what a person can still just read.
The steps follow the idea, not the code, of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", arXiv 1903.12261; lengths are relative to the image, which may be of any size.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from ulcli.data.imageset import LabelledSet, hash_parts
from ulcli.errors import UserError, unknown_name

_SEVERITIES = range(1, 6)
_DEFAULT_SEVERITY = 3
# To be changed together with what a kind does: features computed from the old one are in the caches of users.
_VERSION = "1"


@dataclass(frozen=True)
class Shift:
    """What is done to the images: `KIND` or `KIND:SEVERITY`, taken apart."""

    kind: str
    severity: int = _DEFAULT_SEVERITY

    @classmethod
    def parse(cls, text: str) -> Shift:
        kind, colon, severity = text.partition(":")
        if kind not in KINDS:
            raise unknown_name("shift", kind, KINDS, "give KIND or KIND:SEVERITY, such as blur:3")
        if not colon:
            return cls(kind)
        if severity not in map(str, _SEVERITIES):
            raise UserError(f"'{text}': the severity of a shift is a number from {_SEVERITIES[0]} to {_SEVERITIES[-1]}")
        return cls(kind, int(severity))

    def __str__(self) -> str:
        return f"{self.kind}:{self.severity}"


class Shifted(LabelledSet):
    """Another set with one thing done to each image; labels, order and paths are the parent's."""

    def __init__(self, parent: LabelledSet, kind: str, severity: int = _DEFAULT_SEVERITY) -> None:
        self.parent = parent
        self.shift = Shift(kind, severity)
        self.name = f"{parent.name}+{self.shift}"
        self.classes = parent.classes
        self.labels = parent.labels
        self.native_size = parent.native_size

    def __len__(self) -> int:
        return len(self.parent)

    def identify(self, index: int) -> str:
        return self.parent.identify(index)

    def load(self, index: int) -> Image.Image:
        # The severity stays out of the seed: an image shows the same grain at each, only coarser.
        random = np.random.default_rng([index, *self.shift.kind.encode()])
        return KINDS[self.shift.kind](self.parent.load(index), self.shift.severity, random)

    def digest(self) -> str:
        return hash_parts(self.parent.digest(), str(self.shift), _VERSION)

    def file_marks(self) -> Iterable[str]:
        return self.parent.file_marks()


def blur(image: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Out of focus: a Gaussian whose deviation is 1% to 8% of the shorter side."""
    # On thumbnails that would be less than a pixel and change nothing.
    deviation = max((0.01, 0.02, 0.03, 0.05, 0.08)[severity - 1] * min(image.size), 0.2 * severity)
    return image.filter(ImageFilter.GaussianBlur(deviation))


def noise(image: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """A sensor in the dark: independent Gaussian noise on every pixel and channel."""
    deviation = 255 * (0.06, 0.10, 0.16, 0.24, 0.36)[severity - 1]
    pixels = np.asarray(image, np.float64)
    return _image(pixels + deviation * random.standard_normal(pixels.shape))


def contrast(image: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Fog: every pixel moves towards the image's mean."""
    share = (0.6, 0.45, 0.3, 0.2, 0.1)[severity - 1]
    pixels = np.asarray(image, np.float64)
    mean = pixels.mean((0, 1))
    return _image(mean + share * (pixels - mean))


def rotation(image: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """A tilted camera: 10 to 60 degrees to either side; the corners take the colour of the border."""
    degrees = (10, 20, 30, 45, 60)[severity - 1] * random.choice([-1, 1])
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(border, axis=0).astype(int)
    fill = int(colour) if image.mode == "L" else tuple(map(int, colour))
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill)


def inversion(image: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """A negative: a fifth of the image a severity, from the left."""
    # Not by brightness: to invert the brightest pixels first would wipe out white digits at the least severity.
    changed = image.copy()
    left = image.crop((0, 0, -(-image.width * severity // 5), image.height))
    changed.paste(ImageOps.invert(left), (0, 0))
    return changed


def jpeg(image: Image.Image, severity: int, random: np.random.Generator) -> Image.Image:
    """Saved to a small file: JPEG of quality 25 to 5."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=(25, 18, 13, 9, 5)[severity - 1])
    with Image.open(file) as saved:
        return saved.convert(image.mode)


KINDS: dict[str, Callable[[Image.Image, int, np.random.Generator], Image.Image]] = {
    function.__name__: function for function in (blur, noise, contrast, rotation, inversion, jpeg)
}


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.round(pixels).clip(0, 255).astype(np.uint8))
