"""Train, validation and test parts of a set that comes in one piece."""

from __future__ import annotations

import numpy as np

SPLITS = ("train", "val", "test")
_SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


def stratified_parts(labels: np.ndarray, shares: dict[str, float] | None = None) -> dict[str, np.ndarray]:
    """Divide positions 0..N-1 into named parts, each class in the given proportions.

    The division is a function of the labels alone (a fixed seed), so that `train` today and `evaluate` next week
    agree on which images are the test images. Each part is in ascending order.
    """
    shares = shares or _SHARES
    random = np.random.default_rng(20191104)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        bounds = np.round(np.cumsum(list(shares.values())) * len(members)).astype(int)[:-1]
        for name, piece in zip(shares, np.split(members, bounds), strict=True):
            parts[name].append(piece)
    return {name: np.sort(np.concatenate(pieces)) for name, pieces in parts.items()}
