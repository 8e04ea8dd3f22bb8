"""Image sets that need no download: scikit-learn's digits, and strange images to test a model with."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ulcli.data.arrays import ArraySet, LabelledArrays
from ulcli.data.imageset import ImageSet, LabelledSet, hash_parts
from ulcli.data.sources.source import NamedSource, Places

_STRANGE_COUNT = 500


class Digits(NamedSource):
    """scikit-learn's handwritten digits."""

    spellings = ("digits",)
    meaning = "scikit-learn's 1,797 handwritten digits, 8 x 8 pixels"

    def has_test_split(self, name: str) -> bool:
        # They come whole, but are the same everywhere, and so is what is cut from them.
        return True

    def open_whole(self, name: str, places: Places) -> LabelledSet:
        return digits()


class Strange(NamedSource):
    """Images that no classifier was trained on, of the size that the network reads."""

    spellings = ("noise", "photos")
    meaning = "strange images for `--ood`: pixels without content, crops of two photographs"
    has_labels = False

    def open_unlabelled(self, name: str, shape: tuple[int, int, int], places: Places) -> ImageSet:
        return STRANGE[name](shape)


class _DigitsSet(LabelledArrays):
    def digest(self) -> str:
        # The name is there for model files of old, which were fitted on digits and hold this hash.
        return hash_parts("digits", self.images, self.labels)


def digits() -> LabelledArrays:
    """1,797 handwritten digits of 8 x 8 pixels (scikit-learn, from the UCI repository)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(name) for name in data.target_names)
    return _DigitsSet("digits", images, data.target.astype(np.int64), classes)


def noise(shape: tuple[int, int, int]) -> ArraySet:
    """Images without content, at the network's own resolution (resizing would average the noise away).

    A quarter each: independent uniform pixels, Gaussian pixels around gray, salt and pepper, one flat gray level.
    """
    channels, height, width = shape
    random = np.random.default_rng(0)
    size = (_STRANGE_COUNT // 4, height, width, channels)
    kinds = [
        random.uniform(0, 256, size),
        random.normal(128, 48, size),
        255.0 * random.integers(0, 2, size),
        np.broadcast_to(random.uniform(0, 256, (size[0], 1, 1, 1)), size),
    ]
    images = np.concatenate(kinds).clip(0, 255).astype(np.uint8)
    return ArraySet("noise", images[..., 0] if channels == 1 else images)


def photos(shape: tuple[int, int, int]) -> ArraySet:
    """Random square crops of scikit-learn's two sample photographs, a building and a flower."""
    from sklearn.datasets import load_sample_images

    _, height, width = shape
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(picture) for picture in load_sample_images().images]
    crops = []
    for index in range(_STRANGE_COUNT):
        picture = pictures[index % len(pictures)]
        side = int(random.integers(48, min(picture.size)))
        left = int(random.integers(0, picture.width - side + 1))
        top = int(random.integers(0, picture.height - side + 1))
        crops.append(picture.resize((width, height), Image.Resampling.BILINEAR, (left, top, left + side, top + side)))
    return ArraySet("photos", np.stack([np.asarray(crop) for crop in crops]))


STRANGE = {"noise": noise, "photos": photos}
