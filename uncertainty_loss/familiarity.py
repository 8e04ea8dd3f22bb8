"""From distances to how much evidence an image deserves: what share of familiar images is as strange as this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_KEPT = 10_000  # validation scores kept at most; the survival function between their ranks is interpolated

_LEAST = 1e-12  # typicality; how much further out an image lies is beyond any extrapolation


class Familiarity:
    """A familiarity score, and its distribution over images of the training kind.

    Three signs of strangeness are joined, each in units of its spread over validation images, z:

        score = z(distance) + max(z(z(relative) + z(energy)), the least of validation images)

    Far images are far from everything (`distance`); near ones lie between the known classes, which the other two
    see, and those count as one sign. It may speak for an image no more than for any validation image: the energy of
    features that grow falls without end, faster than their distance rises. `typicality` is the share of familiar
    images that score at least as high: by rank up to the 90% point, beyond it by a generalised Pareto tail (Pickands
    1975; probability-weighted moments of Hosking and Wallis 1987), for no rank can tell how far outside an image
    lies.

    Fit it on images that neither the network's head nor the density was fitted on.
    """

    def __init__(self, mean: Tensor, std: Tensor, pair_std: float, pair_least: float, scores: Tensor) -> None:
        self.mean = mean  # (3,): of distance, relative distance and energy over validation images
        self.std = std  # (3,)
        self.pair_std = pair_std  # of z(relative) + z(energy)
        self.pair_least = pair_least  # the least of their joint sign over validation images
        self.scores = scores  # validation scores in ascending order, at most _KEPT of them
        self._shape, self._scale = _pareto_tail(scores, self._knot)

    @classmethod
    def fit(cls, signs: Tensor) -> Familiarity:
        """From validation images.

        Args:
            signs: Shape (n, 3): distance, relative distance (`FeatureDensity.score`) and energy, -logsumexp of the
                logits of a cross-entropy classifier.

        Raises:
            ValueError: Fewer than three images, another shape, or values that are not finite.
        """
        if signs.dim() != 2 or signs.shape[1] != 3 or len(signs) < 3:
            raise ValueError(f"expected signs of shape (n, 3) with n >= 3, got {tuple(signs.shape)}")
        if not signs.isfinite().all():
            raise ValueError("expected finite signs")
        signs = signs.double()
        mean, std = signs.mean(0), signs.std(0).clamp_min(1e-12)
        z = (signs - mean) / std
        pair_std = max(float((z[:, 1] + z[:, 2]).std()), 1e-12)
        pair = (z[:, 1] + z[:, 2]) / pair_std
        scores = (z[:, 0] + pair).sort().values
        kept = torch.linspace(0, len(scores) - 1, min(len(scores), _KEPT), dtype=torch.float64).round().long()
        return cls(mean, std, pair_std, float(pair.min()), scores[kept])

    def score(self, signs: Tensor) -> Tensor:
        """Strangeness, shape (N,), of signs (N, 3); higher is less familiar."""
        z = (signs.double() - self.mean) / self.std
        pair = (z[:, 1] + z[:, 2]) / self.pair_std
        return z[:, 0] + pair.clamp_min(self.pair_least)

    def typicality(self, score: Tensor) -> Tensor:
        """Share of familiar images with at least this score, shape (N,), double.

        It falls from the least strange validation image on, n / (n + 1), until it rests at 1e-12.
        """
        count = len(self.scores)
        place = torch.searchsorted(self.scores, score).clamp(1, count - 1)
        low, high = self.scores[place - 1], self.scores[place]
        between = ((score - low) / (high - low).clamp_min(1e-300)).clamp(0, 1)
        body = (count - (place - 1 + between)) / (count + 1)
        excess = (score - self.scores[self._knot]).clamp_min(0) / self._scale
        tail = torch.exp(-excess) if self._shape < 1e-9 else (1 + self._shape * excess) ** (-1 / self._shape)
        return torch.where(excess > 0, (count - self._knot) / (count + 1) * tail, body).clamp_min(_LEAST)

    def comparable_images(self, typicality: Tensor, total: int, fading: float) -> Tensor:
        """How many of `total` training images are at least as strange: the evidence that an image deserves.

        Args:
            typicality: From `typicality`, shape (N,).
            total: Number of training images.
            fading: Typicality below which evidence fades with its square, so that images far outside come to rest
                on none at all however large the training set. The share of images that one is ready to flag.

        Returns:
            m of shape (N,), 1e-9 <= m <= total. With alpha = 1 + K m p the vacuity is 1 / (1 + m) for any K.
        """
        count = total * typicality * (typicality / fading).clamp(max=1.0)
        return count.clamp_min(1e-9)  # in alpha = 1 + K m p the order of the classes shall survive

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers that `from_state_dict` restores."""
        return {name: getattr(self, name) for name in ("mean", "std", "pair_std", "pair_least", "scores")}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Familiarity:
        """The inverse of `state_dict`; ValueError where the shapes are others."""
        if state["mean"].shape != (3,) or state["std"].shape != (3,) or len(state["scores"]) < 3:
            raise ValueError("expected mean and std of three signs and at least three scores")
        return cls(state["mean"], state["std"], float(state["pair_std"]), float(state["pair_least"]), state["scores"])

    @property
    def _knot(self) -> int:
        """Where the tail begins: the last score below the upper tenth (two scores at least)."""
        return len(self.scores) - max(len(self.scores) // 10, 2) - 1


def _pareto_tail(scores: Tensor, knot: int) -> tuple[float, float]:
    """Shape and scale of the excesses over the knot; the shape is held in [0, 0.9].

    A shape below 0 would end the tail at a finite score and call everything beyond it equally strange.
    """
    excess = scores[knot + 1 :] - scores[knot]
    count = len(excess)
    ranks = torch.arange(1, count + 1, dtype=scores.dtype)
    first = float(excess.mean())
    second = float((excess * (1 - (ranks - 0.35) / count)).mean())
    spread = first - 2 * second
    shape = min(max(2 - first / spread if spread > 0 else 0.0, 0.0), 0.9)
    # Where the shape is held, the mean of the excesses, scale / (1 - shape), still fixes the scale.
    return shape, max(first * (1 - shape), 1e-12)
