"""Targets and reductions, by the rules of `torch.nn.functional.cross_entropy`."""

from __future__ import annotations

from torch import Tensor


def reduce(rows: Tensor, reduction: str | None) -> Tensor:
    """Mean, sum or nothing over the losses of single samples."""
    if reduction == "mean":
        return rows.mean()
    if reduction == "sum":
        return rows.sum()
    if reduction is None or reduction == "none":
        return rows
    raise ValueError(f"reduction must be 'mean', 'sum', 'none' or None, got {reduction!r}")
