"""Test data decide nothing: with other test images a training gives the same model, to the bit."""

import numpy as np
import pytest
import torch
from PIL import Image

from ulcli.commands import better_preprocessing
from ulcli.commands.evaluate import evaluate
from ulcli.commands.settings import EvaluateSettings, TrainSettings
from ulcli.commands.train import train
from ulcli.model.sample import digits_cnn
from ulcli.network.files.archive import read_archive


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch):
    """Random weights fit no classes, so other sizes are tried as the cause: small ones, to be quick."""
    monkeypatch.setattr(better_preprocessing, "_SIZES", (16,))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "cnn.pt"
    torch.save(digits_cnn().state_dict(), path)
    return path


def write_split(folder, seed, per_class):
    """Small images of ten classes: a bright stripe somewhere of its own, in noise."""
    random = np.random.default_rng(seed)
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
        for number in range(per_class):
            image = random.integers(0, 90, (8, 8), dtype=np.uint8)
            image[label % 8, label // 8 :] = 220
            Image.fromarray(image).save(folder / str(label) / f"{number}.png")


def write(folder, test_seed):
    write_split(folder / "train", 1, 12)
    write_split(folder / "val", 2, 6)
    write_split(folder / "test", test_seed, 4)
    return str(folder)


def settings(checkpoint, data, output):
    return TrainSettings(
        checkpoint=checkpoint,
        arch="ulcli.model.sample:digits_cnn",
        data=data,
        output=output,
        target_accuracy=0.5,
        image_size=8,
        grayscale=True,
    )


def flat(content, path=""):
    if isinstance(content, dict):
        for key, value in content.items():
            yield from flat(value, f"{path}.{key}")
    else:
        yield path, content


def test_test_images_change_no_threshold(checkpoint, tmp_path):
    contents = []
    for seed in (3, 4):
        output = tmp_path / f"{seed}.pt"
        train(settings(checkpoint, write(tmp_path / f"data{seed}", seed), output))
        contents.append(dict(flat(read_archive(output))))
    first, second = contents
    assert first.keys() == second.keys()
    placed = {".data.name", ".data.digest"}  # where the images lie, and when they were written
    for name, value in first.items():
        if name not in placed:
            same = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
            assert same, name


def test_an_evaluation_changes_nothing(checkpoint, tmp_path):
    data, output = write(tmp_path / "data", 3), tmp_path / "m.pt"
    train(settings(checkpoint, data, output))
    before = output.read_bytes()
    evaluate(EvaluateSettings(model=output, bootstrap=0))
    assert output.read_bytes() == before


def test_validation_images_do_decide(checkpoint, tmp_path):
    """The test above could not fail if nothing changed anything."""
    contents = []
    for seed in (2, 5):
        data = write(tmp_path / f"data{seed}", 3)
        for path in (tmp_path / f"data{seed}" / "val").rglob("*.png"):
            path.unlink()
        write_split(tmp_path / f"data{seed}" / "more", seed, 6)
        for path in (tmp_path / f"data{seed}" / "more").rglob("*.png"):
            path.rename(tmp_path / f"data{seed}" / "val" / path.parent.name / path.name)
        train(settings(checkpoint, data, tmp_path / f"{seed}.pt"))
        contents.append(read_archive(tmp_path / f"{seed}.pt"))
    first, second = contents
    assert torch.equal(first["head"]["weight"], second["head"]["weight"])
    assert torch.equal(first["density"]["whiten"], second["density"]["whiten"])
    assert first["flags"]["vacuity"] != second["flags"]["vacuity"]
    assert not torch.equal(first["sets"]["lac"], second["sets"]["lac"])
