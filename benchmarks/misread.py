"""Checkpoints that are easily misread, and what `ul train` says of each; fills the table of docs/misread.md.

    python benchmarks/misread.py --data-root ROOT [--keep FILE]

A ResNet18 is trained here on photographs of five kinds of clothes at 64 pixels (FashionMNIST, enlarged to images of
many sizes), and its weights are given to `ul train` as a user would. Takes minutes. ROOT/FashionMNIST/raw holds the
four files of FashionMNIST; with --keep, weights that are there are not trained again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torchvision import models

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.through_the_tool import REPOSITORY, pixels, train_told
from ulcli.data.transform import NORMALIZATIONS, Transform

NAMES = ("chinos", "dress", "gym shoe", "handbag", "high boot")  # sorted, as folders are
LABELS = (1, 3, 7, 8, 9)  # the same, in FashionMNIST
OTHERS = ("trouser", "dress", "sneaker", "bag", "boot")  # the same, not sorted
SIDE = 64
TRAINED_ON, EPOCHS = 2000, 2
PARTS = {"train": 40, "val": 20, "test": 20}  # images a class
TARGET = REPOSITORY / "docs" / "misread.md"
HEADER = """# What a misread checkpoint looks like

Written by `python benchmarks/misread.py --data-root ROOT`, which trains a ResNet18 on five kinds of
clothes at 64 pixels with ImageNet's normalization, saves a plain state dict, and gives it to
`ul train CHECKPOINT --arch resnet18 --data FOLDER` and the options shown; the images are of many sizes. Accuracies are
those of the validation images: of the cross-entropy classifier that is compared with and started from, and of the
fitted head.

| what is given | options | what is printed | cross-entropy | head |
| --- | --- | --- | --- | --- |
"""
RIGHT = ("--image-size", "64", "--mean", "imagenet", "--std", "imagenet")


@dataclass(frozen=True)
class Case:
    """A checkpoint and data, as they are given."""

    name: str
    checkpoint: Path
    data: Path
    options: tuple[str, ...] = RIGHT
    arch: str = "resnet18"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where the trained weights are kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for case in cases(arguments, Path(folder)):
            rows.append(row(case, Path(folder)))
            print(rows[-1], flush=True)
        TARGET.write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")


def cases(arguments: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """All that is tried; files are made on the way."""
    weights = arguments.keep or folder / "resnet18.pth"
    if not weights.exists():
        train(arguments.data_root, weights)
    state = torch.load(weights, weights_only=True)
    data = write_images(arguments.data_root, folder / "data", NAMES)
    yield Case("the weights, with the options that were right", weights, data)
    yield Case("the weights alone", weights, data, ())
    yield Case("the weights, of the options only the size", weights, data, RIGHT[:2])
    permuted = write_images(arguments.data_root, folder / "permuted", OTHERS)
    yield Case("folders in another order than when it was trained", weights, permuted)
    named = folder / "named.pth"
    torch.save({"state_dict": state, "class_to_idx": {name: index for index, name in enumerate(OTHERS)}}, named)
    yield Case("the same folders, `class_to_idx` in the file", named, permuted)
    yield Case("another task with as many classes", weights, write_shades(arguments.data_root, folder / "shades"))
    ema = folder / "ema.pth"
    torch.save({"model": noisy(state), "model_ema": state}, ema)
    yield Case("bad raw weights beside good EMA weights", ema, data)
    yield Case("the same, raw ones wanted", ema, data, (*RIGHT, "--weights-key", "model"))
    few = write_images(arguments.data_root, folder / "three", NAMES[:3])
    yield Case("three of its five classes, without names", weights, few)
    yield Case("a backbone without its classifier", without(state, "fc.", folder / "backbone.pth"), data)
    inception = models.inception_v3(num_classes=len(NAMES), init_weights=False).state_dict()
    path = without(inception, "AuxLogits.", folder / "inception.pth")
    yield Case("`inception_v3`, untrained, without auxiliary head", path, data, ("--image-size", "96"), "inception_v3")


def row(case: Case, folder: Path) -> str:
    """One run of `ul train`, as a line of the table."""
    model = folder / "model.pt"
    command = (str(case.checkpoint), "--arch", case.arch, "--data", str(case.data), *case.options)
    document, lines = train_told(*command, "-o", str(model))
    accuracies = "refused | "
    if document is not None:
        accuracies = " | ".join(f"{document[when]['accuracy']:.2f}" for when in ("before", "after"))
    told = "<br>".join(line.replace(str(folder) + os.sep, "").replace("|", "&#124;") for line in lines)
    options = f"`{' '.join(case.options)}`" if case.options else ""
    return f"| {case.name} | {options} | {told} | {accuracies} |"


def train(root: Path, weights: Path) -> None:
    """Plain cross-entropy at 64 pixels; `weights` is where they go."""
    torch.manual_seed(0)
    x, y = clothes(root, "train", TRAINED_ON)
    transform = Transform(SIDE, SIDE, *NORMALIZATIONS["imagenet"])
    x = torch.stack([transform(image) for image in x])
    network = models.resnet18(num_classes=len(NAMES))
    optimizer = torch.optim.SGD(network.parameters(), momentum=0.9, lr=0.02, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=EPOCHS * -(-len(x) // 32))
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    torch.save(network.state_dict(), weights)


def clothes(root: Path, part: str, most: int) -> tuple[list[Image.Image], torch.Tensor]:
    """Enlarged images of the five classes, as many of each, and their labels 0 to 4."""
    values, labels = pixels(root, part)
    images, classes, random = [], [], np.random.default_rng(0)
    for index, label in enumerate(LABELS):
        for row in (labels == label).nonzero()[: most // len(LABELS), 0]:
            image = Image.fromarray((values[row, 0] * 255).byte().numpy())
            side = int(random.integers(100, 160))
            images.append(image.resize((side, side), Image.Resampling.BICUBIC))
            classes.append(index)
    return images, torch.tensor(classes)


def write_images(root: Path, folder: Path, names: tuple[str, ...]) -> Path:
    """A folder with train, val and test, and in each a folder a class, which `names` name."""
    for part, each in PARTS.items():
        images, labels = clothes(root, "val" if part == "train" else "test", each * len(LABELS) * 2)
        for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            # Of the test part every other image is for validation.
            if label < len(names) and index % 2 == (part == "test"):
                save(image, folder / part / names[label] / f"{index:04}.png")
    return folder


def write_shades(root: Path, folder: Path) -> Path:
    """The same images by another question: how bright they are, in fifths."""
    for part, each in PARTS.items():
        images, _ = clothes(root, "val" if part == "train" else "test", each * len(LABELS))
        order = np.argsort([np.asarray(image).mean() for image in images])
        for place, index in enumerate(order):
            shade = place * len(LABELS) // len(order)
            if part == "train" or place % 2 == (part == "test"):
                save(images[index], folder / part / f"shade{shade}" / f"{index:04}.png")
    return folder


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def noisy(state: dict[str, Any]) -> dict[str, Any]:
    """Weights with as much noise as they are large."""
    torch.manual_seed(0)
    return {k: v + v.std() * torch.randn_like(v) if v.dim() > 1 else v for k, v in state.items()}


def without(state: dict[str, Any], prefix: str, path: Path) -> Path:
    torch.save({key: value for key, value in state.items() if not key.startswith(prefix)}, path)
    return path


if __name__ == "__main__":
    main()
