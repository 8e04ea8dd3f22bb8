"""Strange images of many kinds, as folders of PNG files: what the tool is tested against."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images

COUNT = 1000
SIDE = 28


def write_strange_sets(folder: Path, familiar: list[Image.Image]) -> list[Path]:
    """A folder for each kind; some are made from familiar test images, the others from nothing."""
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
    font = ImageFont.load_default(size=24)
    for _ in range(COUNT):
        canvas = Image.new("L", (SIDE, SIDE), 0)
        left, top = random.integers(0, 10), random.integers(-4, 4)
        ImageDraw.Draw(canvas).text((int(left), int(top)), random.choice(list(string.ascii_letters)), 255, font)
        yield canvas


def _photos(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    pictures = [Image.fromarray(picture).convert("L") for picture in load_sample_images().images]
    for index in range(COUNT):
        picture = pictures[index % 2]
        side = int(random.integers(40, 400))
        left, top = random.integers(0, picture.width - side), random.integers(0, picture.height - side)
        box = (int(left), int(top), int(left) + side, int(top) + side)
        yield picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)


def _uniform(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for _ in range(COUNT):
        yield Image.fromarray(random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))


def _smooth(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for _ in range(COUNT):
        coarse = Image.fromarray(random.integers(0, 256, (5, 5), dtype=np.uint8))
        yield coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _stripes(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(COUNT):
        angle, wave = random.uniform(0, np.pi), random.uniform(0.3, 2.0)
        bright = np.sin(wave * (x * np.cos(angle) + y * np.sin(angle))) * 127 + 128
        yield Image.fromarray(bright.astype(np.uint8))


def _flat(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for _ in range(COUNT):
        yield Image.new("L", (SIDE, SIDE), int(random.integers(0, 256)))


def _pixels_shuffled(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        pixels = np.asarray(image).copy().ravel()
        yield Image.fromarray(random.permutation(pixels).reshape(image.size))


def _patches_shuffled(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        patches = np.asarray(image).reshape(4, 7, 4, 7).swapaxes(1, 2).reshape(16, 7, 7)
        shuffled = random.permutation(patches).reshape(4, 4, 7, 7).swapaxes(1, 2)
        yield Image.fromarray(np.ascontiguousarray(shuffled.reshape(SIDE, SIDE)))


def _inverted(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        yield Image.eval(image, lambda value: 255 - value)


def _rotated(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        yield image.transpose(Image.Transpose.ROTATE_90)


def _blurred(familiar: list[Image.Image], random: np.random.Generator) -> Iterator[Image.Image]:
    for image in familiar[:COUNT]:
        yield image.filter(ImageFilter.GaussianBlur(4))


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
