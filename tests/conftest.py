"""What tests of several rooms need: pictures, folders of them, a fitted model, a reporter that remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

settings.register_profile("unhurried", deadline=None)  # a loaded machine is not a failure
settings.load_profile("unhurried")
torch.set_num_threads(1)  # the arithmetic is too small to share, and one thread always adds up in the same order


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or fills the user's own feature cache; processes that tests start inherit this."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UL_CACHE_DIR", str(folder))
        patch.delenv("UL_CACHE_BYTES", raising=False)
        patch.delenv("UL_DATA_ROOT", raising=False)
        patch.delenv("UL_DEBUG", raising=False)
        yield folder


@pytest.fixture(autouse=True)
def _seeds() -> None:
    torch.manual_seed(0)


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    """A factory of pictures: random, but smooth enough for JPEG to keep them."""

    def make(width: int = 24, height: int = 16, mode: str = "RGB", seed: int = 0) -> Image.Image:
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).convert(mode)

    return make


@pytest.fixture
def image_folder(tmp_path: Path, picture: Callable[..., Image.Image]) -> Callable[..., Path]:
    """A factory of folders with one sub-folder a class: `image_folder({"cat": 3, "dog": 2}, suffix=".jpg")`."""

    def make(counts: dict[str, int], name: str = "images", suffix: str = ".png", mode: str = "RGB") -> Path:
        folder = tmp_path / name
        for label, (class_name, count) in enumerate(counts.items()):
            (folder / class_name).mkdir(parents=True)
            for number in range(count):
                image = picture(mode=mode, seed=1000 * label + number)
                image.save(folder / class_name / f"{number:03}{suffix}")
        return folder

    return make


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.pt` as `ul train` writes it without arguments: the sample classifier on scikit-learn's digits."""
    from ulcli.commands.settings import TrainSettings
    from ulcli.commands.train import train

    path = tmp_path_factory.mktemp("model") / "model.pt"
    train(TrainSettings(output=path))
    return path


class Recorder:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.tracks: list[tuple[str, int]] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        self.tracks.append((what, total))

        def advance(steps: int) -> None:
            self.steps += steps

        yield advance


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
