"""What else tells strange images from familiar ones: the scores that the model's own must beat, on the same features.

Each score is higher for stranger images. Those of the classifier need its logits alone; the others are fitted on the
features of the training images, and either have a fixed size, so that a model file may hold them, or search these
features themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ulcli.network.linear import Linear
from uncertainty_loss import FeatureDensity, Moments

FITTED = ("mahalanobis", "relative_mahalanobis", "vim")  # of `FeatureBaselines`
SEARCHED = ("knn",)  # of `Neighbours`
BASELINES = (*FITTED, *SEARCHED)  # those that need training features
# Bytes of `FeatureBaselines` that a model file takes in. They grow with the square of the number of features: 1,024 of
# a hundred classes fit, a fraction of the weights that make them; 2,048 take 25 MB, for a comparison only.
SMALL = 8 * 2**20
_NEIGHBOURS = 50  # as Sun et al. 2022 (arXiv 2204.06507) choose for small training sets
_BANK = 50_000  # training images that are searched for neighbours, at most
_CHUNK = 2**25  # distances held at a time
_ROWS = 4096  # images taken in at a time


def logit_scores(logits: Tensor) -> dict[str, np.ndarray]:
    """Maximum probability, entropy and energy (arXiv 1610.02136, 2010.03759) of logits (N, K)."""
    log_p = logits.log_softmax(1)
    top, place = logits.max(1, keepdim=True)
    others = logits.scatter(1, place, -math.inf).logsumexp(1)
    return {
        # As logarithm of its odds: probabilities that round to 1, or logarithms to 0, would tie images that differ.
        "max_probability": (others - top[:, 0]).numpy(),
        "entropy": -(log_p.exp() * log_p).sum(1).numpy(),
        "energy": -logits.logsumexp(1).numpy(),
    }


@dataclass(frozen=True)
class FeatureBaselines:
    """Mahalanobis, relative Mahalanobis and ViM: what is left of the training images does not grow with them."""

    density: FeatureDensity
    origin: Tensor  # (D,), where all logits are zero
    minor: Tensor  # (D, d): directions in which training features hardly vary
    scale: float  # of the distance along these beside the logits

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor, classifier: Linear) -> FeatureBaselines:
        """Make one from features (N, D) and labels (N,) of training images, and the classifier that reads them."""
        moments = Moments(classifier.num_classes)
        for rows in torch.arange(len(features)).split(_ROWS):  # type: ignore[no-untyped-call]
            moments.update(features[rows], labels[rows])
        origin, minor = _vim_space(features, classifier)
        sample = features[_spaced(len(features))]
        energy, residual = classifier(sample).amax(1).mean(), _residual(sample, origin, minor).mean()
        return cls(FeatureDensity.fit(moments), origin, minor, float(energy / residual.clamp_min(1e-12)))

    @staticmethod
    def size(num_features: int, num_classes: int) -> int:
        """Bound the bytes of what `state_dict` gives, before anything is fitted."""
        axes = min(num_features, num_classes - 1)
        density = num_features * (1 + num_features + axes) + axes * (num_classes + 1)
        return 4 * (density + num_features * (1 + num_features - _principal(num_features)))

    def scores(self, features: Tensor, logits: Tensor) -> dict[str, np.ndarray]:
        """One array of shape (N,) a baseline, from features (N, D) and the classifier's logits of them (N, K)."""
        distance, relative = self.density.score(features)
        # ViM (Wang et al. 2022, arXiv 2203.10807, eq. 6), as the logarithm of the odds of its virtual class.
        virtual = self.scale * _residual(features, self.origin, self.minor) - logits.logsumexp(1)
        return {"mahalanobis": distance.numpy(), "relative_mahalanobis": relative.numpy(), "vim": virtual.numpy()}

    def state_dict(self) -> dict[str, Any]:
        """Tensors in single precision, and a number, that `from_state_dict` restores."""
        vim = {"origin": self.origin, "minor": self.minor, "scale": self.scale}
        return {"density": self.density.state_dict(), "vim": vim}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> FeatureBaselines:
        """The inverse of `state_dict`; ValueError where its parts do not fit each other."""
        density, vim = FeatureDensity.from_state_dict(state["density"]), state["vim"]
        size = len(density.centre)
        if vim["origin"].shape != (size,) or vim["minor"].dim() != 2 or len(vim["minor"]) != size:
            shapes = tuple(vim["origin"].shape), tuple(vim["minor"].shape)
            raise ValueError(f"expected an origin and minor directions of {size} features, got {shapes}")
        return cls(density, vim["origin"], vim["minor"], float(vim["scale"]))


class Neighbours:
    """Distance to the k-th nearest training image, among features of length 1."""

    def __init__(self, features: Tensor) -> None:
        self._bank = torch.nn.functional.normalize(features[_spaced(len(features))])

    def scores(self, features: Tensor, logits: Tensor) -> dict[str, np.ndarray]:
        """Score as `FeatureBaselines.scores` does."""
        count = min(_NEIGHBOURS, len(self._bank))
        unit = torch.nn.functional.normalize(features)
        chunks = unit.split(max(1, _CHUNK // len(self._bank)))  # type: ignore[no-untyped-call]
        nearest = [(chunk @ self._bank.T).topk(count, dim=1).values[:, -1] for chunk in chunks]
        return {"knn": (2 - 2 * torch.cat(nearest).double()).clamp_min(0).sqrt().numpy()}


def _spaced(count: int) -> Tensor:
    """Positions of training images spread evenly over all of them: they come by class."""
    return torch.linspace(0, count - 1, min(count, _BANK), dtype=torch.float64).round().long()


def _residual(features: Tensor, origin: Tensor, minor: Tensor) -> Tensor:
    """Measure how far features (N, D) lie from the origin along the minor directions: (N,), in double."""
    parts = features.split(_ROWS)  # type: ignore[no-untyped-call]
    return torch.cat([((part.double() - origin.double()) @ minor.double()).norm(dim=1) for part in parts])


def _vim_space(features: Tensor, classifier: Linear) -> tuple[Tensor, Tensor]:
    """ViM's origin, where all logits are zero, and the directions (D, d) in which training features hardly vary."""
    origin = -(torch.linalg.pinv(classifier.weight.double()) @ classifier.bias.double()).float()
    size = features.shape[1]
    scatter = torch.zeros(size, size, dtype=torch.float64)
    for part in features.split(_ROWS):  # type: ignore[no-untyped-call]
        scatter += (part - origin).T @ (part - origin)
    _, axes = torch.linalg.eigh(scatter / len(features))
    return origin, axes[:, : size - _principal(size)].float()


def _principal(size: int) -> int:
    """Dimensions of ViM's principal space: in the paper 1000 of 2048 features, 512 of 768 to 1535, half of fewer."""
    return 1000 if size >= 1536 else 512 if size >= 768 else size // 2
