"""Losses that read the Dirichlet as a posterior: expected cross-entropy with an entropy or a KL term.

Sources: Charpentier, Zügner, Günnemann, "Posterior Network", NeurIPS 2020, arXiv 2006.09239; Joo, Chung, Seo,
"Being Bayesian about Categorical Probability", ICML 2020, arXiv 2002.07965.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from uncertainty_loss._checks import checked_evidence
from uncertainty_loss._compile import in_graph
from uncertainty_loss._evaluate import evaluate
from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.losses.evidential import ExpectedCrossEntropy
from uncertainty_loss.regularizers import EvidenceKL


@in_graph
def uce_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 0.0,
    reduction: str | None = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Uncertain cross-entropy: expected cross-entropy, rewarded for the Dirichlet's entropy.

    The loss of posterior networks. With α = e + 1 and S = Σ α_k:

        ψ(S) - ψ(α_c)   -   reg_factor · H[Dir(α)]

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the differential entropy, ≥ 0; the authors use 1e-5.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss, ≥ 0: the differential entropy of a Dirichlet is never positive.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> import torch
        >>> uce_loss(torch.tensor([[9.0, 0.0]]), torch.tensor([0]), reg_factor=1e-5)
        tensor(0.1000)

    Source: Charpentier et al. 2020, arXiv 2006.09239.
    """
    options = reduction, weight, ignore_index, label_smoothing
    return evaluate(ExpectedCrossEntropy(), evidence, target, *options, reg_factor, NegativeEntropy())


class NegativeEntropy(EvidenceKL):
    """-H[Dir(α)]: the divergence from the uniform Dirichlet, whose density is (K - 1)! everywhere."""

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        return super().__call__(classes, own, rest, *sums) + math.lgamma(classes)


@in_graph
def belief_matching_loss(
    evidence: Tensor,
    target: Tensor,
    reg_factor: float | Tensor = 0.0,
    reduction: str | None = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Belief matching: expected cross-entropy and divergence from the uniform Dirichlet, a variational bound.

    Evidence is α itself here, as exp of the logits gives it; entries below 1e-8 count as 1e-8. With
    S = Σ α_k:

        ψ(S) - ψ(α_c)   +   reg_factor · KL(Dir(α) ‖ Dir(1))

    Args:
        evidence: α > 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reg_factor: Weight of the KL term, ≥ 0; the authors use 0.01.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The loss, ≥ 0.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> import torch
        >>> belief_matching_loss(torch.tensor([[10.0, 1.0]]), torch.tensor([0]), reg_factor=0.01)
        tensor(0.1140)

    Source: Joo et al. 2020, arXiv 2002.07965.
    """
    # Checked first: the bound would hide negative evidence, and is zero in half precision. Not by clamp, which gives
    # NaN a gradient of zero.
    alpha = checked_evidence(evidence)
    alpha = torch.where(alpha < _SMALLEST_ALPHA, _SMALLEST_ALPHA, alpha)
    options = reduction, weight, ignore_index, label_smoothing
    return evaluate(ExpectedCrossEntropy(prior=0), alpha, target, *options, reg_factor, EvidenceKL(prior=0))


# 1 / α² must fit in float32, and sums of it too.
_SMALLEST_ALPHA = 1e-8


class UCELoss(LossModule):
    """`uce_loss` as a module."""

    function = staticmethod(uce_loss)


class BeliefMatchingLoss(LossModule):
    """`belief_matching_loss` as a module."""

    function = staticmethod(belief_matching_loss)
