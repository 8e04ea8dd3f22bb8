"""Gamma-function relatives in the forms that the losses need: precise where the textbook forms cancel."""

from __future__ import annotations

import torch
from torch import Tensor


def log_rising(a: Tensor, p: int) -> Tensor:
    """log Γ(a + p) - log Γ(a) for a whole number p, as the sum of the logarithms of its factors.

    The difference of two log-gammas keeps no digit of float32 once a reaches 1e7.
    """
    total = torch.log(a)
    for i in range(1, p):
        total = total + torch.log(a + i)
    return total
