"""Relaxed evidential learning: a smaller prior and no variance term.

Sources: Chen, Gao, Xu, "R-EDL: Relaxing Nonessential Settings of Evidential Deep Learning", ICLR 2024; and
"Revisiting Essential and Nonessential Settings of Evidential Deep Learning" (Re-EDL), arXiv 2410.00393.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from uncertainty_loss._compile import in_graph
from uncertainty_loss._evaluate import evaluate
from uncertainty_loss._formula import Formula
from uncertainty_loss._terms import Square, Term
from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.regularizers import WrongEvidenceKL


@in_graph
def relaxed_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 0.0,
    reduction: str | None = "mean",
    *,
    prior: float = 0.1,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """R-EDL and, without regulariser, Re-EDL: squared error of the expected probabilities, prior of choice.

    The prior weighs a class against its evidence; EDL's 1 is one choice among many. Vacuity is then
    prior K / S. With α = e + prior, S = Σ α_k, p = α / S and ẽ = e but for ẽ_c = 0:

        Σ_k (y_k - p_k)²   +   reg_factor · KL(Dir(ẽ + prior) ‖ Dir(prior))

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the KL term, ≥ 0. R-EDL anneals it from 0, Re-EDL leaves it out.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        prior: λ > 0; R-EDL uses 0.1, Re-EDL 0.8 (CIFAR-10) or 0.1 (MNIST).
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss, ≥ 0.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> import torch
        >>> relaxed_loss(torch.tensor([[0.9, 0.0]]), torch.tensor([0]))
        tensor(0.0165)

    Source: Chen et al., ICLR 2024; arXiv 2410.00393.
    """
    if prior <= 0:
        raise ValueError(f"prior must be > 0, got {prior}")
    options = reduction, weight, ignore_index, label_smoothing
    return evaluate(SquaredErrorOfMean(prior), evidence, target, *options, reg_factor, WrongEvidenceKL(prior))


@dataclass(frozen=True)
class SquaredErrorOfMean(Formula):
    """(1 - p_c)² + Σ_{j≠c} p_j²."""

    prior: float

    def terms(self, classes: int) -> tuple[Term, ...]:
        return (Square(),)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        (squares,) = sums
        others = self.prior * (classes - 1)
        # Σ_{j≠c} α_j²
        squares = squares + 2 * self.prior * rest + self.prior * others
        total = rest + own + self.prior * classes
        return ((rest + others) / total).square() + squares / total / total


class RelaxedLoss(LossModule):
    """`relaxed_loss` as a module; option prior."""

    function = staticmethod(relaxed_loss)
