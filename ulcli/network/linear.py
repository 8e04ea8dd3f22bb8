"""One linear layer on features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Linear:
    """x W^T + b with weight (K, D) and bias (K,), both float32 on the CPU."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits of shape (N, K) in double.

        A matrix product in double hardly shows beside the network's own, and makes the result independent of how
        images were batched, far below what float32 features carry.
        """
        return features.double() @ self.weight.double().T + self.bias.double()

    @property
    def num_classes(self) -> int:
        return self.weight.shape[0]

    @classmethod
    def identity(cls, size: int) -> Linear:
        """For features that are logits already."""
        return cls(torch.eye(size), torch.zeros(size))

    @classmethod
    def zeros(cls, num_classes: int, num_features: int) -> Linear:
        """A classifier that prefers nothing."""
        return cls(torch.zeros(num_classes, num_features), torch.zeros(num_classes))
