"""Small images of four classes in folders, sets that are none of these, and models that were fitted on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ulcli.commands.settings import TrainSettings
from ulcli.commands.train import train
from ulcli.model.sample import digits_cnn

CLASSES = ("ant", "bee", "cat", "dog")


def write_stripes(folder: Path, counts: dict[str, int], seed: int = 0, contrast: int = 30) -> Path:
    """Write one sub-folder a class: a stripe in a place of its own, hard to see in noise where the contrast is low."""
    random = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 90, (8, 8))
            pixels[2 * CLASSES.index(name)] += contrast + 40 * random.integers(0, 2)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def stripes() -> Callable[..., Path]:
    """`write_stripes`, for sets of a test's own."""
    return write_stripes


@pytest.fixture(scope="session")
def stripes_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train, val and test, four classes each."""
    folder = tmp_path_factory.mktemp("stripes")
    for seed, (split, count) in enumerate({"train": 20, "val": 12, "test": 8}.items()):
        write_stripes(folder / split, dict.fromkeys(CLASSES, count), seed)
    return folder


@pytest.fixture(scope="session")
def ood_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two OOD sets: pictures without a stripe are hard to tell from the data, noise of all grays is easy."""
    random, folder = np.random.default_rng(7), tmp_path_factory.mktemp("ood")
    for name, highest in (("hard", 90), ("easy", 256)):
        (folder / name).mkdir()
        for number in range(25):
            pixels = random.integers(0, highest, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    return {name: folder / name for name in ("hard", "easy")}


@pytest.fixture(scope="session")
def small_cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the small network, with the weights that it starts from."""
    path = tmp_path_factory.mktemp("checkpoint") / "cnn.pt"
    torch.manual_seed(0)
    torch.save(digits_cnn().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def fit(small_cnn: Path) -> Callable[..., Path]:
    """Fit a head on small images and return the model file: `fit(data, output, flag_rate=0.1)`."""

    def run(data: Path | str, output: Path, **options: object) -> Path:
        arch = "ulcli.model.sample:digits_cnn"
        shape = {"image_size": 8, "grayscale": True}
        train(TrainSettings(checkpoint=small_cnn, arch=arch, data=str(data), output=output, **shape, **options))
        return output

    return run


@pytest.fixture(scope="session")
def stripes_model(stripes_data: Path, fit: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of all four classes."""
    return fit(stripes_data, tmp_path_factory.mktemp("model") / "all.pt")


@pytest.fixture(scope="session")
def held_out_model(stripes_data: Path, fit: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that does not know the dogs, takes its evidence from the head and flags by two thresholds."""
    from ulcli.model.choices import EvidenceFrom

    output = tmp_path_factory.mktemp("model") / "held_out.pt"
    return fit(
        stripes_data,
        output,
        hold_out=("dog",),
        evidence_from=EvidenceFrom.HEAD,
        flag_rate=0.2,
        target_accuracy=0.6,
    )
