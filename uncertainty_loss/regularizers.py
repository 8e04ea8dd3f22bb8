"""What takes back evidence for the wrong classes: KL divergence to no evidence, and the information term.

Each is a formula of a `Split` (see `_targets`) that losses add, and a public function of the tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from uncertainty_loss._special import Excess, binet, tetragamma, trigamma
from uncertainty_loss._targets import IndexSplit, Split, leave_one_out, split_by_target
from uncertainty_loss._terms import apply, in_blocks, put, summed


def uniform_dirichlet_kl(
    evidence: Tensor,
    target: Tensor,
    reduction: str | None = "mean",
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """KL divergence from the uniform Dirichlet once the evidence for the true class is taken out.

    With α̃ = e + 1 except α̃_c = 1, S̃ = Σ α̃_k:

        KL(Dir(α̃) ‖ Dir(1)) = log Γ(S̃) - log Γ(K) - Σ log Γ(α̃_k) + Σ (α̃_k - 1) (ψ(α̃_k) - ψ(S̃))

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The divergence, ≥ 0; 0 where no wrong class has evidence.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> evidence = torch.tensor([[5.0, 0.0], [5.0, 1.0]])
        >>> uniform_dirichlet_kl(evidence, torch.tensor([0, 0]), reduction="none")
        tensor([0.0000, 0.1931])

    Source: Sensoy et al. 2018, arXiv 1806.01768, section 4.
    """
    split = split_by_target(evidence, target, reduction, weight, ignore_index, label_smoothing)
    return split.reduce(wrong_evidence_kl(split), reduction)


def regularized(
    losses: Tensor, reg_factor: float | Tensor, regularizer: Callable[[Split], Tensor], split: Split
) -> Tensor:
    """losses + reg_factor · regularizer(split); a factor that is the number 0 costs nothing."""
    if not isinstance(reg_factor, Tensor) and reg_factor == 0:
        return losses
    return losses + reg_factor * regularizer(split)


def wrong_evidence_kl(split: Split, prior: float = 1.0) -> Tensor:
    """KL(Dir(ẽ + prior) ‖ Dir(prior)), ẽ = evidence without the candidate's; (N, M, ...)."""
    total = split.classes * prior
    large = (split.rest.detach().amax(1, keepdim=True) > total).to(split.rest.dtype)
    parts = split.others(Excess(prior, prior), large)
    return parts - Excess(total, total)(split.rest, large)


def evidence_kl(evidence: Tensor, prior: float = 1.0) -> Tensor:
    """KL(Dir(e + prior) ‖ Dir(1)), (N, 1, ...), for evidence (N, C, ...)."""
    classes = evidence.shape[1]
    total = evidence.sum(1, keepdim=True)
    large = (total.detach() > classes).to(total.dtype)
    parts = summed(Excess(prior, 1), evidence, large)
    return parts - Excess(classes * prior, classes)(total, large)


def dirichlet_fisher_regularizer(
    evidence: Tensor,
    target: Tensor,
    reduction: str | None = "mean",
    *,
    full_strength: bool = False,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Information term of the max-norm loss: evidence for wrong classes, weighted by how much they tell.

    With α̃ = e + 1 except α̃_c = 1, S̃ = Σ α̃_k:

        ½ Σ_{j≠c} (α̃_j - 1)² (ψ′(α̃_j) - ψ′(S̃))

    Args:
        evidence: e ≥ 0, shape (C), (N, C) or (N, C, d1, ...).
        target: Class indices, evidence's shape without C; or probabilities of evidence's shape, for the
            expectation over the classes.
        reduction: "mean", "sum", or "none" (None) for one value a row.
        full_strength: Take ψ′ of S, evidence for the true class included, as the package did up to 0.1.2.
            That penalises evidence for the true class as well.
        weight, ignore_index, label_smoothing: As in `torch.nn.functional.cross_entropy`.

    Returns:
        The term, ≥ 0; 0 where no wrong class has evidence.

    Raises:
        TypeError, ValueError: A dtype, shape or value that does not fit; the message says what was expected.

    Example:
        >>> evidence = torch.tensor([[5.0, 0.0], [5.0, 1.0]])
        >>> dirichlet_fisher_regularizer(evidence, torch.tensor([0, 0]), reduction="none")
        tensor([0.0000, 0.1250])

    Source: Tsiligkaridis 2019, arXiv 1910.04819.
    """
    split = split_by_target(evidence, target, reduction, weight, ignore_index, label_smoothing)
    return split.reduce(information_term(split, full_strength), reduction)


dirichlet_fisher_regulizer = dirichlet_fisher_regularizer
"""The name's spelling up to 0.1.2."""


def information_term(split: Split, full_strength: bool = False) -> Tensor:
    """½ Σ_{j≠c} e_j² (ψ′(e_j + 1) - ψ′(S̃)), or with S in place of S̃; (N, M, ...)."""
    own = split.own if full_strength else torch.zeros_like(split.own)
    if isinstance(split, IndexSplit):
        return apply(_Information, split.evidence, split.index, own)
    squares = split.evidence.square()
    others = leave_one_out(squares * trigamma(split.evidence + 1))
    return 0.5 * (others - trigamma(split.rest + own + split.classes) * leave_one_out(squares))


class _Information(torch.autograd.Function):
    """½ Σ_j e_j² (ψ′(a_j) - ψ′(b)), a = e + 1, b = K + Σ e + own, for e with zero at the true class.

    Where one class has nearly all evidence, a is nearly b, and the difference of the trigammas has no digits
    left; nor has the sum of the gradient's terms. Both are written here in δ = b - a, which is a sum of what
    is ≥ 0, and with the remainders μ″ and μ‴ of ψ′ and ψ″, after whatever cancels has cancelled on paper.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(evidence: Tensor, index: Tensor, own: Tensor) -> Tensor:
        return in_blocks(_information_value, evidence, index, own)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None]:
        evidence, index, own = ctx.saved_tensors
        slopes = in_blocks(lambda *x: _information_slope(*x[:3]).mul_(x[3]), evidence, index, own, grad)
        if not ctx.needs_input_grad[2]:
            return slopes, None, None
        return slopes, None, grad * in_blocks(_information_slope_own, evidence, index, own)


def _information_value(evidence: Tensor, index: Tensor, own: Tensor) -> Tensor:
    wrong = put(evidence, index, 0.0)
    a, t, w, gap = _information_parts(wrong, own)
    leading = (t + w).mul_(0.5).add_(1).mul_(t).mul_(w).mul_(gap)
    slopes = leading.add_(binet(a, 2)).sub_(binet(1 / w, 2))
    return slopes.mul_(wrong).mul_(wrong).sum(1, keepdim=True).mul_(0.5)


def _information_slope(evidence: Tensor, index: Tensor, own: Tensor) -> Tensor:
    wrong = put(evidence, index, 0.0)
    a, t, w, gap = _information_parts(wrong, own)
    b = 1 / w
    share = gap.mul_(w)
    leading = (t + w).mul_(1 + t).add_(share).add_(w.square()).mul_(t).sub_(w.square()).mul_(share)
    second = (binet(a, 2) - binet(b, 2)).mul_(2)
    third = (binet(a, 3) - binet(b, 3)).mul_(wrong)
    squares = wrong.square()
    others = squares.sum(1, keepdim=True) - squares
    slope = leading.add_(second).add_(third).mul_(wrong).sub_(others.mul_(tetragamma(b))).mul_(0.5)
    return put(slope, index, 0.0)


def _information_slope_own(evidence: Tensor, index: Tensor, own: Tensor) -> Tensor:
    """By the evidence for the true class, which makes b larger."""
    wrong = put(evidence, index, 0.0)
    b = wrong.sum(1, keepdim=True) + own + wrong.shape[1]
    return -0.5 * tetragamma(b) * wrong.square().sum(1, keepdim=True)


def _information_parts(wrong: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """a, 1 / a, 1 / b and b - a."""
    classes = wrong.shape[1]
    a = wrong + 1
    w = (wrong.sum(1, keepdim=True) + own + classes).reciprocal()
    return a, a.reciprocal(), w, leave_one_out(wrong).add_(own + (classes - 1))
