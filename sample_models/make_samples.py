"""Make the sample models: a digits classifier trained with plain cross-entropy, and images to score.

    python sample_models/make_samples.py

The classifier is what a user would bring: it knows nothing of evidence. It sees the train part of scikit-learn's
digits only; the digits among the images come from the test part.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.data.imageset import ImageSet
from ulcli.data.sources.builtin import photos
from ulcli.data.transform import Transform
from ulcli.model.sample import digits_cnn

SAMPLE_ARCH = "ulcli.model.sample:digits_cnn"
HERE = Path(__file__).parent
TRANSFORM = Transform(resize=8, crop=8, mean=(0.0,), std=(1.0,), grayscale=True)


def main() -> None:
    network = train_classifier()
    # With the architecture's name beside the weights, as torchvision's training scripts save it.
    torch.save({"arch": SAMPLE_ARCH, "state_dict": network.state_dict()}, HERE / "digits_cnn.pt")
    draw_images()


def train_classifier(epochs: int = 30) -> torch.nn.Module:
    """Cross-entropy with Adam; prints the test accuracy, which nothing here is chosen by."""
    torch.manual_seed(0)
    x, y = tensors(labelled_set(DataName("digits"), "train", Places()))
    network = digits_cnn()
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    x, y = tensors(labelled_set(DataName("digits"), "test", Places()))
    with torch.inference_mode():
        accuracy = (network(x).argmax(1) == y).float().mean()
    print(f"digits classifier: test accuracy {accuracy:.4f}")
    return network


def tensors(images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """A whole set in memory."""
    assert images.labels is not None
    pixels = torch.stack([TRANSFORM(images.load(index)) for index in range(len(images))])
    return pixels, torch.from_numpy(images.labels)


def draw_images() -> None:
    """What a user meets: plain digits, and things that are none."""
    test = labelled_set(DataName("digits"), "test", Places())
    assert test.labels is not None
    of_class = {k: [test.load(int(i)) for i in np.flatnonzero(test.labels == k)] for k in range(10)}
    random = np.random.default_rng(0)
    images = {
        "digit_0": of_class[0][0],
        "digit_3": of_class[3][1],
        "digit_5": of_class[5][2],
        "digit_7": of_class[7][0],
        "digit_9": of_class[9][3],
        "blend_of_3_and_8": Image.blend(of_class[3][0], of_class[8][0], 0.5),
        "rotated_4": of_class[4][0].rotate(90),
        "inverted_2": Image.eval(of_class[2][0], lambda value: 255 - value),
        "letter_like_scribble": scribble(),
        "photograph_crop": Image.fromarray(photos((1, 64, 64)).images[0]),
        "noise": Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)),
        "blank": Image.new("L", (8, 8), 0),
    }
    folder = HERE / "images"
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")


def scribble() -> Image.Image:
    """Strokes like a handwritten M, which no digit resembles."""
    canvas = Image.new("L", (64, 64), 0)
    ImageDraw.Draw(canvas).line([(8, 56), (14, 8), (32, 44), (50, 8), (56, 56)], fill=255, width=7, joint="curve")
    return canvas


if __name__ == "__main__":
    main()
