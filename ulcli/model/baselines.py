"""What else tells strange images from familiar ones: the scores that the model's own must beat, on the same features.

Each score is higher for stranger images. Those of the classifier need its logits alone; the others need the features
of the training images.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ulcli.model.linear import Linear

if TYPE_CHECKING:
    from torch import Tensor

BASELINES = ("mahalanobis", "relative_mahalanobis", "knn", "vim")  # those that need training features
_NEIGHBOURS = 50  # as Sun et al. 2022 (arXiv 2204.06507) choose for small training sets
_BANK = 50_000  # training images that are searched for neighbours, at most
_CHUNK = 2**25  # distances held at a time


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


class FeatureBaselines:
    """Mahalanobis, relative Mahalanobis, nearest neighbours and ViM, fitted on features of training images."""

    def __init__(self, features: Tensor, labels: Tensor, classifier: Linear) -> None:
        import torch

        from uncertainty_loss import FeatureDensity, Moments

        moments = Moments(classifier.num_classes)
        for rows in torch.arange(len(features)).split(4096):  # type: ignore[no-untyped-call]
            moments.update(features[rows], labels[rows])
        self._density = FeatureDensity.fit(moments)
        spaced = torch.linspace(0, len(features) - 1, min(len(features), _BANK), dtype=torch.float64).round().long()
        self._bank = torch.nn.functional.normalize(features[spaced])
        self._classifier = classifier
        self._origin, self._minor = _vim_space(features, classifier)
        energy_scale = classifier(features[spaced]).amax(1).mean()
        self._scale = float(energy_scale / self._residual(features[spaced]).double().mean().clamp_min(1e-12))

    def scores(self, features: Tensor) -> dict[str, np.ndarray]:
        """One array of shape (N,) a baseline."""
        distance, relative = self._density.score(features)
        # ViM (Wang et al. 2022, arXiv 2203.10807, eq. 6), as the logarithm of the odds of its virtual class.
        virtual = self._scale * self._residual(features).double() - self._classifier(features).logsumexp(1)
        return {
            "mahalanobis": distance.double().numpy(),
            "relative_mahalanobis": relative.double().numpy(),
            "knn": self._neighbour_distance(features).numpy(),
            "vim": virtual.numpy(),
        }

    def _residual(self, features: Tensor) -> Tensor:
        residual: Tensor = ((features - self._origin) @ self._minor).norm(dim=1)
        return residual

    def _neighbour_distance(self, features: Tensor) -> Tensor:
        import torch

        count = min(_NEIGHBOURS, len(self._bank))
        unit = torch.nn.functional.normalize(features)
        chunks = unit.split(max(1, _CHUNK // len(self._bank)))  # type: ignore[no-untyped-call]
        nearest = [(chunk @ self._bank.T).topk(count, dim=1).values[:, -1] for chunk in chunks]
        return (2 - 2 * torch.cat(nearest).double()).clamp_min(0).sqrt()


def _vim_space(features: Tensor, classifier: Linear) -> tuple[Tensor, Tensor]:
    """ViM's origin, where all logits are zero, and the directions (D, d) in which training features hardly vary."""
    import torch

    origin = -(torch.linalg.pinv(classifier.weight.double()) @ classifier.bias.double()).float()
    centred = features - origin
    size = features.shape[1]
    # The paper's dimensions of the principal space: 1000 of 2048 features, 512 of 768 to 1535, half of fewer.
    principal = 1000 if size >= 1536 else 512 if size >= 768 else size // 2
    _, axes = torch.linalg.eigh((centred.T @ centred).double() / len(features))
    return origin, axes[:, : size - principal].float()
