"""What the benchmarks share: a classifier of FashionMNIST as a user would train it, and `ul` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent


def train_classifier(
    root: Path,
    checkpoint: Path,
    arch: str,
    seed: int,
    *,
    epochs: int = 6,
    without: tuple[str, ...] = (),
    channels: int = 1,
) -> None:
    """Plain cross-entropy on the train part, pixels in [0, 1]; `without` leaves classes out."""
    import torch
    from torch.nn import functional as F

    from ulcli.network.loading.build import build_network

    torch.manual_seed(seed)
    x, y = pixels(root, "train", without)
    network = build_network(arch, int(y.max()) + 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows].expand(-1, channels, -1, -1)), y[rows]).backward()
            optimizer.step()
    torch.save(network.state_dict(), checkpoint)


def pixels(root: Path, part: str, without: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """One part of FashionMNIST as tensors."""
    import numpy as np
    import torch

    from ulcli.data.catalog import DataName, Places, labelled_set
    from ulcli.data.imageset import of_classes

    images = labelled_set(DataName("fashion-mnist"), part, Places(root))
    assert images.classes is not None
    images = of_classes(images, [name for name in images.classes if name not in without], images.name)
    assert images.labels is not None
    values = np.stack([np.asarray(images.load(index)) for index in range(len(images))])
    return torch.from_numpy(values).float().div(255).unsqueeze(1), torch.from_numpy(images.labels)


def evaluate(model: Path, strange: list[Path], *words: str) -> dict[str, Any]:
    """`ul evaluate` against folders of strange images."""
    ood = [word for place in strange for word in ("--ood", str(place))]
    report: dict[str, Any] = json.loads(ul("evaluate", str(model), *ood, *words, "-f", "json"))
    return report


def train_told(*words: str) -> tuple[dict[str, Any] | None, list[str]]:
    """`ul train`: its figures, None where it refuses, and what it says that it does not say of every checkpoint."""
    command = [sys.executable, "-m", "ulcli", "train", *words, "-f", "json", "--no-progress"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    routine = ("wrote ", "what is promised holds")
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(routine)]
    return (None if done.returncode else json.loads(done.stdout)), lines


def ul(*words: str) -> str:
    """Run the tool; what it prints to standard output."""
    command = [sys.executable, "-m", "ulcli", *map(str, words), "--quiet"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout
