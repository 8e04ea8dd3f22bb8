"""Strange images of many kinds, as folders of PNG files: what the tool is tested against."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images

COUNT = 1000


def write_strange_sets(folder: Path, familiar: list[Image.Image]) -> list[Path]:
    """A folder for each kind, as large and as colourful as the familiar test images.

    Some are made from these, the others from nothing. They must be squares of one size that four divides.
    """
    places = []
    for name, make in KINDS.items():
        place = folder / name
        place.mkdir(parents=True)
        random = np.random.default_rng(0)
        for index, image in enumerate(make(familiar, random)):
            image.save(place / f"{index:04}.png")
        places.append(place)
    return places


def _letters(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    side = familiar[0].width
    font = ImageFont.load_default(size=6 * side / 7)
    for _ in range(COUNT):
        canvas = Image.new(familiar[0].mode, (side, side))
        left, top = random.integers(0, 10) * side / 28, random.integers(-4, 4) * side / 28
        ImageDraw.Draw(canvas).text((left, top), random.choice(list(string.ascii_letters)), "white", font)
        yield canvas


def _photos(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    pictures = [Image.fromarray(picture).convert(familiar[0].mode) for picture in load_sample_images().images]
    for index in range(COUNT):
        picture = pictures[index % 2]
        side = int(random.integers(40, 400))
        left, top = random.integers(0, picture.width - side), random.integers(0, picture.height - side)
        box = (int(left), int(top), int(left) + side, int(top) + side)
        yield picture.resize(familiar[0].size, Image.Resampling.BILINEAR, box)


def _uniform(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for _ in range(COUNT):
        yield Image.fromarray(random.integers(0, 256, np.asarray(familiar[0]).shape, dtype=np.uint8))


def _smooth(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for _ in range(COUNT):
        coarse = Image.fromarray(random.integers(0, 256, (5, 5, *_channels(familiar)), dtype=np.uint8))
        yield coarse.resize(familiar[0].size, Image.Resampling.BICUBIC)


def _stripes(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    side = familiar[0].width
    y, x = np.mgrid[:side, :side]
    for _ in range(COUNT):
        # From three pixels to three quarters of the image wide.
        angle, wave = random.uniform(0, np.pi), random.uniform(0.3 * 28 / side, 2.0)
        bright = np.sin(wave * (x * np.cos(angle) + y * np.sin(angle))) * 127 + 128
        yield Image.fromarray(bright.astype(np.uint8)).convert(familiar[0].mode)


def _flat(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for _ in range(COUNT):
        pixel = Image.fromarray(random.integers(0, 256, (1, 1, *_channels(familiar))).astype(np.uint8))
        yield pixel.resize(familiar[0].size)


def _pixels_shuffled(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        pixels = np.asarray(image).reshape(-1, *_channels(familiar))
        yield Image.fromarray(random.permutation(pixels).reshape(np.asarray(image).shape))


def _patches_shuffled(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    side, channels = familiar[0].width // 4, _channels(familiar)
    for image in familiar[:COUNT]:
        patches = (
            np.asarray(image).reshape(4, side, 4, side, *channels).swapaxes(1, 2).reshape(16, side, side, *channels)
        )
        shuffled = random.permutation(patches).reshape(4, 4, side, side, *channels).swapaxes(1, 2)
        yield Image.fromarray(np.ascontiguousarray(shuffled.reshape(4 * side, 4 * side, *channels)))


def _inverted(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        yield Image.eval(image, lambda value: 255 - value)


def _rotated(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        yield image.transpose(Image.Transpose.ROTATE_90)


def _blurred(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        yield image.filter(ImageFilter.GaussianBlur(image.width / 7))


def _channels(familiar: list[Image.Image]) -> tuple[int, ...]:
    """What follows height and width in the shape of an image's array."""
    return np.asarray(familiar[0]).shape[2:]


KINDS: dict[str, Callable[[list[Image.Image], np.random.Generator], Iterator[Image.Image]]] = {
    "letters": _letters,
    "photos": _photos,
    "uniform noise": _uniform,
    "smooth noise": _smooth,
    "stripes": _stripes,
    "flat": _flat,
    "pixels shuffled": _pixels_shuffled,
    "patches shuffled": _patches_shuffled,
    "inverted": _inverted,
    "rotated by 90": _rotated,
    "blurred": _blurred,
}
