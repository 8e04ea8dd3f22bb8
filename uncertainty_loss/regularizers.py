"""What takes back evidence for the wrong classes: KL divergence to no evidence, and the information term.

Each is a formula (see `_formula`) that losses add, and a public function of the tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from uncertainty_loss._blocks import temporary
from uncertainty_loss._checks import can_look
from uncertainty_loss._compile import in_graph
from uncertainty_loss._evaluate import evaluate
from uncertainty_loss._formula import Formula
from uncertainty_loss._polynomial import constants, number, numbers
from uncertainty_loss._special import (
    SHIFT,
    Excess,
    TotalExcess,
    information_slope,
    trigamma_and_tetragamma_series,
    trigamma_excess,
    trigamma_of_inverse,
    trigamma_rest,
)
from uncertainty_loss._terms import Term, first_largest, put


@in_graph
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
        >>> import torch
        >>> evidence = torch.tensor([[5.0, 0.0], [5.0, 1.0]])
        >>> uniform_dirichlet_kl(evidence, torch.tensor([0, 0]), reduction="none")
        tensor([0.0000, 0.1931])

    Source: Sensoy et al. 2018, arXiv 1806.01768, section 4.
    """
    return evaluate(WrongEvidenceKL(), evidence, target, reduction, weight, ignore_index, label_smoothing)


@dataclass(frozen=True)
class WrongEvidenceKL(Formula):
    """KL(Dir(ẽ + prior) ‖ Dir(prior)), ẽ the evidence without the candidate's."""

    prior: float = 1.0

    def terms(self, classes: int) -> tuple[Term, ...]:
        return (self._each,)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        (parts,) = sums
        large = self._each.large(rest.detach().amax(1, keepdim=True), classes)
        return parts - self._total(classes)(rest, large)

    def with_slopes(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        total = self._total(classes)
        if total.base < 1:
            return super().with_slopes(classes, own, rest, *sums)
        (parts,) = sums
        zero, one = constants((0, 1), rest.dtype)
        minus_value, minus_slope = total.minus_value_and_slope(rest)
        return parts + minus_value, (zero, minus_slope, one)

    @property
    def _each(self) -> Excess:
        return Excess(self.prior, self.prior, whole=True)

    def _total(self, classes: int) -> TotalExcess:
        return TotalExcess(classes * self.prior, classes * self.prior, whole=True)


@dataclass(frozen=True)
class EvidenceKL(Formula):
    """KL(Dir(e + prior) ‖ Dir(1)), with all evidence."""

    prior: float = 1.0

    @property
    def wide_rows(self) -> bool:
        # With an expected cross-entropy it has its least value where both pull alike: what is left of them is small.
        return True

    def terms(self, classes: int) -> tuple[Term, ...]:
        return (Excess(self.prior, 1),)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        (parts,) = sums
        each, total = Excess(self.prior, 1), Excess(classes * self.prior, classes)
        large = each.large(rest.detach().amax(1, keepdim=True), classes)
        return parts + each(own, large) - total(rest + own, large)


@in_graph
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
        >>> import torch
        >>> evidence = torch.tensor([[5.0, 0.0], [5.0, 1.0]])
        >>> dirichlet_fisher_regularizer(evidence, torch.tensor([0, 0]), reduction="none")
        tensor([0.0000, 0.1250])

    Source: Tsiligkaridis 2019, arXiv 1910.04819.
    """
    formula = InformationTerm(full_strength)
    return evaluate(formula, evidence, target, reduction, weight, ignore_index, label_smoothing)


dirichlet_fisher_regulizer = dirichlet_fisher_regularizer
"""The name's spelling up to 0.1.2."""


@dataclass(frozen=True)
class InformationTerm(Formula):
    """½ Σ_{j≠c} e_j² (ψ′(a_j) - ψ′(b)), a = e + 1, b = S̃, or b = S with full_strength."""

    full_strength: bool = False

    def terms(self, classes: int) -> tuple[Term, ...]:
        # Of two classes ψ′(a) - ψ′(a + 1) = 1 / a² is left; what the general form would take that from is far larger.
        return (HalfSquaredShare(),) if self._closed(classes) else (Information(),)

    def __call__(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> Tensor:
        if self._closed(classes):
            return sums[0]
        parts, squares = sums
        # The sum has a constant of the row in place of b, and only the largest part of its ψ′.
        # Of many candidates it has the least of all b, that of the one with most evidence.
        fixed = own.detach()
        gap = fixed.amax(1, keepdim=True) - fixed + (rest - rest.detach())
        if self.full_strength:
            gap = gap + own
        b = rest.detach().amin(1, keepdim=True) + classes
        return parts + squares / 2 * (gap / (b + SHIFT) / (b + gap + SHIFT) - trigamma_rest(b + gap))

    def with_slopes(self, classes: int, own: Tensor, rest: Tensor, *sums: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self._closed(classes) or self.full_strength:
            return super().with_slopes(classes, own, rest, *sums)
        parts, squares = sums
        shift, minus_half, zero, one = constants((classes + SHIFT, -0.5, 0, 1), rest.dtype)
        t = (rest + shift).reciprocal_()
        factor = (t * t).mul_(minus_half)
        by_squares, by_rest = trigamma_and_tetragamma_series(t).mul_(factor).unbind()
        by_rest = by_rest.mul_(squares)
        losses = torch.addcmul(parts, squares, by_squares)
        return losses, (zero, by_rest, one, by_squares)

    def _closed(self, classes: int) -> bool:
        return classes == 2 and not self.full_strength


class Information(Term):
    """½ e² (ψ′(a) - w), a = e + 1, w = 1 / (b + ¼), b = K + Σ e: of ψ′(b) what is largest. And e², which w wants.

    For an e that is nearly all evidence ψ′(a) - ψ′(b) has no digits, and b - a has none. So the largest parts are
    subtracted on paper, t - w = (b - a) t w for t = 1 / (a + ¼), and b - a is a sum of what is not negative.
    """

    count: ClassVar[int] = 2

    def rows(self, classes: int, rest: Tensor, least: Tensor) -> tuple[Tensor, ...]:
        # The evidence and w.
        return least, (least + number(classes + SHIFT, least)).reciprocal()

    def values(self, x: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        # The constant b is what all have but the second in the row: b - a is what the first has more than a, and all
        # that have less than the second.
        _, w = rows
        most = first_largest(x)
        others = put(x, most, 0.0)
        others = put(others, first_largest(others), 0.0).sum(1, keepdim=True)
        gap = x.gather(1, most) - x + (others + (x.shape[1] - 1))
        return _from_gap(x, gap * w) / 2, x * x

    def sums(self, x: Tensor, *rows: Tensor) -> list[Tensor]:
        # At most one class has most of the evidence. It is taken out, which leaves the sum of the others precise, and
        # treated by itself; for them the difference may be taken as it stands.
        total, w = rows
        share, shift, classes, half = numbers((_MOST, 1 + SHIFT, x.shape[1] - 1, 0.5), x)
        few = _up_to(x, share / w)
        rest = few.sum(1, keepdim=True)
        # If there is such a class this is it, up to rounding of the two sums; if not, rounding alone, of either sign.
        most = (total - rest).relu_()
        value = trigamma_of_inverse(torch.add(x, shift, out=temporary(x)).reciprocal_())
        squares = few.mul_(few)
        parts = value.mul_(squares).sum(1, keepdim=True)
        squares = squares.sum(1, keepdim=True)
        # Their ψ′(a) is at least nearly twice as large as w.
        parts = torch.addcmul(parts, squares, w, value=-1)
        parts = parts.add_(_from_gap(most, (rest + classes).mul_(w))).mul_(half)
        return [parts, torch.addcmul(squares, most, most)]

    def add_slopes(
        self, total: Tensor, grads: Sequence[Tensor], x: Tensor, *rows: Tensor, out: Tensor | None = None
    ) -> Tensor:
        # Other slopes of the row are of order 1, unless there are two classes: nothing small is left that matters.
        grad, grad_square = grads
        _, w = rows
        constant = torch.addcmul(grad_square + grad_square, w, grad, value=-1)
        return torch.addcmul(total, information_slope(x, grad, constant), x, out=out)


# Of the evidence of a row there is room for more than half only once.
_MOST = 0.51


def _up_to(x: Tensor, limit: Tensor) -> Tensor:
    """x where it is not above the limit, one a row; else 0."""
    if not can_look(x):
        return torch.where(x <= limit, x, 0.0)
    place = temporary(x)
    return torch.le(x, limit, out=torch.empty_like(x) if place is None else place).mul_(x)


def _from_gap(e: Tensor, gap: Tensor) -> Tensor:
    """e² (ψ′(a) - w) from (b - a) w."""
    t = (e + number(1 + SHIFT, e)).reciprocal_()
    return trigamma_excess(t, gap).mul_(t).mul_(e).mul_(e)


class HalfSquaredShare(Term):
    """½ (e / (e + 1))²."""

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        return (x / (x + 1)).square().mul_(0.5)

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        a = x + 1
        return x / a / a / a
