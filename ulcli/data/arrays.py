"""Images that lie in memory."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ulcli.data.imageset import ImageSet, LabelledSet, hash_parts


class ArraySet(ImageSet):
    """Images as one uint8 array of shape (N, H, W) or (N, H, W, 3)."""

    def __init__(self, name: str, images: np.ndarray) -> None:
        self.name = name
        self.images = images
        self.native_size = images.shape[1] if images.shape[1] == images.shape[2] else None

    def __len__(self) -> int:
        return len(self.images)

    def identify(self, index: int) -> str:
        return f"{self.name}/{index}"

    def load(self, index: int) -> Image.Image:
        return Image.fromarray(self.images[index])

    def digest(self) -> str:
        return hash_parts(self.images, self.labels)


class LabelledArrays(LabelledSet, ArraySet):
    """Images as an array, with an array of labels beside it."""

    def __init__(self, name: str, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> None:
        super().__init__(name, images)
        self.labels = labels
        self.classes = classes
