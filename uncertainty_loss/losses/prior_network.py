"""Prior networks: the predicted Dirichlet is drawn to a target Dirichlet, sharp in domain and flat outside.

Source: Malinin, Gales, "Reverse KL-Divergence Training of Prior Networks: Improved Uncertainty and
Adversarial Robustness", NeurIPS 2019, arXiv 1905.13472.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uncertainty_loss._checks import checked_factor, class_dimension, widened
from uncertainty_loss._compile import in_graph
from uncertainty_loss._evaluate import evaluate
from uncertainty_loss._formula import Formula
from uncertainty_loss._special import Excess
from uncertainty_loss._terms import Term
from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.regularizers import EvidenceKL


def prior_network_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 1.0,
    reduction: str | None = "mean",
    *,
    ood_evidence: Tensor | None = None,
    concentration: float = 100.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Reverse KL divergence from a target Dirichlet; on a batch of strange inputs, from the uniform one.

    The one loss that is told what strange inputs look like. With α = e + 1 and y one-hot:

        KL(Dir(α) ‖ Dir(1 + β y))   +   reg_factor · mean over the strange inputs of KL(Dir(α) ‖ Dir(1))

    For probabilities t the expectation over the classes has the gradient of KL(Dir(α) ‖ Dir(1 + β t)).

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the strange inputs, ≥ 0; without such inputs it has no effect.
        reduction: "mean", "sum", or "none" (None) for one value a row. Of the strange inputs' divergences
            "sum" takes the sum; "none" adds their mean to every row.
        ood_evidence: Evidence of strange inputs, shape (C), (M, C) or (M, C, d1, ...).
        concentration: β > 0, the evidence that the true class should have.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss, ≥ 0.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> import torch
        >>> prior_network_loss(torch.tensor([[100.0, 0.0]]), torch.tensor([0]))
        tensor(0.)

    Source: Malinin and Gales 2019, arXiv 1905.13472.
    """
    if concentration <= 0:
        raise ValueError(f"concentration must be > 0, got {concentration}")
    loss = _reverse_kl(evidence, target, concentration, reduction, weight, ignore_index, label_smoothing)
    if ood_evidence is None:
        return loss
    class_dim = 0 if ood_evidence.ndim == 1 else 1
    classes = evidence.shape[class_dimension("evidence", evidence)]
    if ood_evidence.ndim == 0 or ood_evidence.shape[class_dim] != classes:
        raise ValueError(
            f"ood_evidence must have {classes} classes, as evidence has, in dimension {class_dim}, "
            f"got {tuple(ood_evidence.shape)}"
        )
    return loss + checked_factor(reg_factor) * _all_evidence_kl(ood_evidence, "sum" if reduction == "sum" else "mean")


# Each by itself: for a number that an operation of a graph gets and does not use, torch would compile anew.
@in_graph
def _reverse_kl(evidence: Tensor, target: Tensor, concentration: float, *options: Any) -> Tensor:
    return evaluate(ReverseKL(concentration), evidence, target, *options)


@in_graph
def _all_evidence_kl(evidence: Tensor, reduction: str) -> Tensor:
    # The divergence has no true class: any will do.
    anything = torch.zeros_like(evidence.select(min(1, evidence.ndim - 1), 0), dtype=torch.long)
    return evaluate(EvidenceKL(), evidence, anything, reduction, None, -100, 0.0)


@dataclass(frozen=True)
class ReverseKL(Formula):
    """KL(Dir(e + 1) ‖ Dir(1 + β y)) for the candidate y."""

    concentration: float

    def terms(self, classes: int) -> tuple[Term, ...]:
        return (Excess(whole=True),)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        (others,) = sums
        large = Excess().large(rest.detach().amax(1, keepdim=True), classes)
        # Two numbers near 10 β that leave a small difference, one of each a row: worth the digits of double. Near the
        # target the loss is smaller than what rounding S alone would change.
        own, rest = widened(own), widened(rest)
        mine = Excess(1, 1 + self.concentration)(own, large)
        total = Excess(classes, classes + self.concentration)(rest + own, large)
        # The others are whole, for the sake of a thousand with a little evidence each: these two have to make up for
        # their linear parts, of which slopes know nothing.
        return others + (mine - total - rest.detach() * (1 - large)).to(others.dtype)


class PriorNetworkLoss(LossModule):
    """`prior_network_loss` as a module; option concentration, and ood_evidence as an input of `forward`."""

    function = staticmethod(prior_network_loss)
