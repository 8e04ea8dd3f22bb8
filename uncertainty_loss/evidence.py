"""From network outputs to evidence, e ≥ 0."""

from __future__ import annotations

import torch
from torch import Tensor


def clamped_exp(x: Tensor, clamp: float = 10.0) -> Tensor:
    """exp(x) with x held in [-clamp, clamp]: evidence between e^-clamp and e^clamp.

    Args:
        x: Network outputs, any shape.
        clamp: Bound of x; outputs beyond it get no gradient.

    Returns:
        Evidence, the shape of x.

    Example:
        >>> clamped_exp(torch.tensor([0.0, 50.0]), clamp=1.0)
        tensor([1.0000, 2.7183])
    """
    return torch.exp(torch.clamp(x, -clamp, clamp))
