"""Gamma-function relatives: precise where the textbook forms cancel, and fast.

All of it rests on Binet's function, the remainder of Stirling's formula,

    μ(a) = log Γ(a) - (a - ½) log a + a - ½ log 2π,

which is small and smooth. What is large cancels on paper, in Stirling's elementary part; what is left is a
polynomial in 1 / a, or, with fewer coefficients, in 1 / (a + ¼). Background: NIST Digital Library of Mathematical
Functions, §5.9(i) and §5.11(i).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from uncertainty_loss._blocks import temporary
from uncertainty_loss._checks import can_look, widened
from uncertainty_loss._polynomial import constants, number, numbers, polynomial, polynomials
from uncertainty_loss._terms import Term, apply, elementwise, with_signature

# Row n holds R_n, constant term first: μ⁽ⁿ⁾(a) = (-1)ⁿ tⁿ⁺¹ R_n(t), t = 1/a in (0, 1]. Chebyshev series of 60-digit
# values, cut where the error no longer shows in what is made of them: 3e-6 at most (of R_2, a tenth of ψ′), and 2e-13.
# fmt: off
_REMAINDER = {
    torch.float32: (
        (
            0.08333333419, -1.822395576e-7, -0.002772524576, -5.343459392e-5, 0.001049638091, -0.0006336787229,
            0.0001383177419,
        ),
        (
            0.08333331153, 1.538743619e-6, -0.008342950032, -9.193212067e-5, 0.004987177052, -0.003546859232,
            0.0008754194274,
        ),
        (
            0.1666663372, 2.862480979e-5, -0.03369191451, 0.001076888448, 0.0266304572, -0.02160857851,
            0.00583265138,
        ),
        (
            0.5000002125, -4.212053893e-5, -0.1653305128, -0.01605188723, 0.2614191362, -0.2985449361,
            0.1552894335, -0.0326257688,
        ),
    ),
    torch.float64: (
        (
            0.0833333333333333044, 2.81795825444891733e-14, -0.00277777778233693819,
            2.92186445068876438e-10, 0.000793640921313449477, 2.02726738140930726e-7,
            -0.000597983899170628471, 0.0000257474964380711883, 0.000670498683551578503,
            0.000806625843413100776, -0.00447972912625262867, 0.00439096789672988023,
            0.00932410305284618881, -0.0402162476374384162, 0.0762987368953984191,
            -0.0958166176949302362, 0.0864784752797948919, -0.0569841079733672344,
            0.0269493402963429518, -0.00870278156360878149, 0.00172307912017511278,
            -0.000158039365857612364,
        ),
        (
            0.0833333333333328761, 4.52173655038607214e-13, -0.00833333340770236969,
            4.85879233191257914e-9, 0.00396808599792808762, 3.54636125145070784e-6,
            -0.00421638912314486637, 0.000487535315662727085, 0.00412929698982734024,
            0.0177789976920836594, -0.0873100625357092987, 0.168601838446641636,
            -0.155963282170546024, -0.0410825666877733808, 0.371229349377103033,
            -0.637160460490947872, 0.668154225629893116, -0.4824833827931314,
            0.24300899746071705, -0.082210919521461877, 0.0168737221299375536,
            -0.00159287196167334375,
        ),
        (
            0.166666666666660139, 6.54300543782898884e-12, -0.0333333344260704312,
            7.26458275705101825e-8, 0.0238069618204499596, 0.0000553552783782102416,
            -0.0341307882528862001, 0.00807712800460087493, 0.0163286377910008949,
            0.322838118689211468, -1.54607992512725192, 3.71063281317393086,
            -5.81542030844057598, 6.22297327546307363, -4.19249600371401716,
            0.907608859582216091, 1.51817628424094205, -2.04905964687179441,
            1.33501346766881228, -0.522958533889636985, 0.118184441635531002,
            -0.0119494750967215231,
        ),
        (
            0.499999999999915447, 8.62047762697434518e-11, -0.166666681335374516,
            9.95540324880187835e-7, 0.166630743499452881, 0.000796230925425753389,
            -0.311803273600485828, 0.123474473810716685, -0.109343262106847185,
            5.34717805623216169, -25.8674692907566345, 69.5288373321755562,
            -129.270382327727285, 178.730389493823365, -188.550679598566717,
            152.217963513527996, -92.7900655071345186, 41.4099971961304553,
            -12.7679732451020835, 2.42490010062331201, -0.210627081839240043,
            -0.00104406188654064316,
        ),
    ),
}

# The ¼ of the series in t = 1 / (a + ¼).
SHIFT = 0.25

# Other series of the kind need fewer coefficients in t = 1 / (a + ¼): Y in ψ′(a) = t + t² Y(t),
_TRIGAMMA = {
    torch.float32: (
        0.7500002475, 0.4791454974, 0.2346406039, 0.06354500561, -0.007170579177, 0.02174471901,
    ),
    torch.float64: (
        0.750000000000007072, 0.479166666660266927, 0.234375000973240847, 0.0643228573254355607,
        -0.00488088162609995513, 0.00546029733837890761, 0.0282896591979728308, -0.00428795194264820245,
        -0.0136209130881756552, -0.172324695072677804, 0.781913227339960673, -1.76159566799684702,
        2.64355056071822251, -2.85170583821093341, 2.24637005597963395, -1.27021563373005238,
        0.490329929820027368, -0.115948450449519132, 0.0126814187644322431,
    ),
}

# V in ψ″(a) = t² V(t),
_TETRAGAMMA = {
    torch.float32: (
        -0.9999998548, -1.500023064, -1.436928766, -0.9423972511, -0.3054218028, 0.02564633152, -0.1433230515,
    ),
    torch.float64: (
        -1.00000000000003585, -1.4999999999677127, -1.43750000479177871, -0.937499720682451455,
        -0.321623071658835668, 0.0294512042051851079, -0.0403004462473273767, -0.208067196532924293,
        -0.0780090101727147309, 0.692191429075648359, -0.116493783299575654, -3.80131180445452935,
        10.9857426643401023, -17.4819230881385963, 18.4307147755231183, -13.2790200132150864,
        6.34411889533363192, -1.82205303955866895, 0.23894990921088507,
    ),
}

# and Z in Excess()(e) = -½ (log(1 + e) + s) + s² Z(t), a = 1 + e, t scaled to 1 where e is 0, s = e t.
_UNIT = {
    torch.float32: (
        0.1318793408, 0.03442461394, 0.005252887631, 6.749873768e-05, 0.0009006239144, -5.794364633e-05,
    ),
    torch.float64: (
        0.131879338749009117, 0.0344253441649225292, 0.00523801621851273828, 0.000171578581924565442,
        0.000566437041472159875, 0.000454773440629113241, -0.000251151447176150425, -0.000254059269265239781,
        0.000111893055233177316, 0.00105824862653191984, -0.00239737554755012546, 0.00260438959892728749,
        -0.00135344376380120865, -0.000309895273845845971, 0.00115332600853713565, -0.000984334778922864516,
        0.000460014458576197009, -0.000119755308195325543, 0.0000136888685941558405,
    ),
}

# And in t = 1 / (a + ⅛), W in (½ e² ψ′(1 + e))′ = e t W(t).
_INFORMATION = {
    torch.float32: (
        0.499999942, 0.562487029, 0.5500098798, 0.4241275411, 0.2546732915, -0.1083284609, 0.03898929321,
    ),
    torch.float64: (
        0.499999999999929561, 0.56250000005744119, 0.549479158758073402, 0.430664501038494102,
        0.21807778840203023, -0.00401786054577688322, -0.101872610142080041, 0.0355037326474222336,
        0.00210467385235504117, 0.790050062914259249, -3.1268270359946762, 6.59222754782327284,
        -9.38609877590501089, 9.65987630986384298, -7.28522467754008092, 3.95586498305573644,
        -1.47079369760713124, 0.336043434109914192, -0.0356323765448447878,
    ),
}
# fmt: on


def binet_series(t: Tensor, order: int) -> Tensor:
    """R_n(t), where μ⁽ⁿ⁾(a) = (-1)ⁿ tⁿ⁺¹ R_n(t), t = 1 / a."""
    return polynomial(_REMAINDER[t.dtype][order], t)


def trigamma_and_tetragamma_series(t: Tensor) -> Tensor:
    """Y(t) and V(t), stacked: ψ′(a) = t + t² Y(t), ψ″(a) = t² V(t), t = 1 / (a + ¼)."""
    return polynomials((_TRIGAMMA[t.dtype], _TETRAGAMMA[t.dtype]), t)


def trigamma_rest(a: Tensor) -> Tensor:
    """ψ′(a) - 1 / (a + ¼) for a ≥ 1, of the order of 1 / a²."""
    t = (a + number(SHIFT, a)).reciprocal()
    if torch.is_grad_enabled():
        inverse = a.reciprocal()
        return inverse * (t / 4 + inverse / 2) + binet(a, 2)
    return polynomial(_TRIGAMMA[t.dtype], t).mul_(t).mul_(t)


def trigamma_excess(t: Tensor, constant: Tensor) -> Tensor:
    """ψ′(a) / t - 1 + constant, a tensor that broadcasts, from t = 1 / (a + ¼) for a ≥ 1."""
    return polynomial(_TRIGAMMA[t.dtype], t, constant)


def trigamma_of_inverse(t: Tensor) -> Tensor:
    """ψ′(a) from t = 1 / (a + ¼) for a ≥ 1."""
    return polynomial(_WHOLE_TRIGAMMA[t.dtype], t).mul_(t)


# Of ψ′(a) / t.
_WHOLE_TRIGAMMA = {dtype: (1.0, *coefficients) for dtype, coefficients in _TRIGAMMA.items()}


class _Binet(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(a: Tensor, order: int) -> Tensor:
        t = a.reciprocal()
        value = binet_series(t, order)
        for _ in range(order + 1):
            value.mul_(t)
        return value.neg_() if order % 2 else value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        a, ctx.order = inputs
        ctx.save_for_backward(a)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (a,) = ctx.saved_tensors
        return grad * binet(a, ctx.order + 1), None


def binet(a: Tensor, order: int = 0) -> Tensor:
    """μ⁽ⁿ⁾(a): Binet's function or a derivative of it, a ≥ 1, float32 or float64.

    Example:
        >>> a = torch.tensor(3.0)
        >>> torch.allclose(binet(a), torch.lgamma(a) - 2.5 * a.log() + a - 0.5 * math.log(2 * math.pi))
        True
    """
    if order <= 3:
        result: Tensor = apply(_Binet, a, order)
        return result
    # Only second derivatives of trigamma come here. Torch's polygamma is slow, and differentiable for good.
    elementary = math.factorial(order - 2) * a ** (1 - order) + math.factorial(order - 1) / 2 * a**-order
    polygamma: Tensor = torch.polygamma(order - 1, a)
    return polygamma + elementary if order % 2 else polygamma - elementary


def trigamma(a: Tensor) -> Tensor:
    """ψ′(a), the derivative of digamma, for a > 0.

    Example:
        >>> trigamma(torch.tensor([1.0, 1e7]))
        tensor([1.6449e+00, 1.0000e-07])
    """
    # ψ′(a) = 1/a² + ψ′(a + 1) brings every a > 0 to where the series holds.
    t = (a + 1).reciprocal()
    return a.reciprocal().square() + t * (1 + t / 2) + binet(a + 1, 2)


def tetragamma(a: Tensor) -> Tensor:
    """ψ″(a), the derivative of trigamma, for a ≥ 1.

    Example:
        >>> tetragamma(torch.tensor(1.0))
        tensor(-2.4041)
    """
    if torch.is_grad_enabled():
        inverse = a.reciprocal()
        return binet(a, 3) - inverse.square() * (1 + inverse)
    t = (a + number(SHIFT, a)).reciprocal()
    return polynomial(_TETRAGAMMA[t.dtype], t).mul_(t).mul_(t)


def information_slope(evidence: Tensor, factor: Tensor, constant: Tensor) -> Tensor:
    """factor · the derivative of ½ e² ψ′(1 + e) over e, plus a constant; both broadcast to its shape.

    Example:
        >>> information_slope(torch.tensor([0.0, 1e6]), torch.tensor(1.0), torch.tensor(0.0))
        tensor([1.6449e+00, 5.0000e-07])
    """
    if torch.is_grad_enabled():
        a = evidence + 1
        return (trigamma(a) + evidence / 2 * tetragamma(a)) * factor + constant
    t = torch.add(evidence, number(1.125, evidence), out=temporary(evidence)).reciprocal_()
    slope = polynomial(_INFORMATION[t.dtype], t)
    if not can_look(factor, constant):
        return slope * (t * factor) + constant
    return torch.addcmul(constant, slope, t.mul_(factor), out=slope)


def digamma_difference(a: Tensor, gap: Tensor) -> Tensor:
    """ψ(a + gap) - ψ(a) for a > 0 and gap ≥ 0, without cancellation.

    Example:
        >>> digamma_difference(torch.tensor(1e7), torch.tensor(3.0))
        tensor(3.0000e-07)
    """
    b = a + 1
    stirling = torch.log1p(gap / b) + gap / b / (2 * (b + gap)) + (binet(b + gap, 1) - binet(b, 1))
    # ψ(a) = ψ(a + 1) - 1 / a
    step: Tensor = apply(_ReciprocalFall, a, gap)
    return stirling + step


class _ReciprocalFall(torch.autograd.Function):
    """1 / a - 1 / (a + gap) with derivatives that do not cancel: at a of 1e-8 automatic ones have no digits left."""

    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(a: Tensor, gap: Tensor) -> Tensor:
        return gap / a / (a + gap)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, gap = ctx.saved_tensors
        end = a + gap
        by_a = -(gap / a / end) * (1 / a + 1 / end)
        return (grad * by_a).sum_to_size(a.shape), (grad / end / end).sum_to_size(gap.shape)


# To look at all rows takes as long as what it may save of this many classes.
_CLASSES_WORTH_A_LOOK = 16


@dataclass(frozen=True)
class Excess(Term):
    """A class's part in a KL divergence: D - (a - b), D = log Γ(b) - log Γ(a) + (a - b) ψ(a).

    Here a = evidence + prior, b = base. D is the Bregman divergence of log Γ, and that of two Dirichlets is

        KL(Dir(α) ‖ Dir(β)) = Σ_k D(β_k, α_k) - D(Σ β, Σ α).

    D grows like a - b. Those linear parts cancel between the sum and what is taken off it, and would take the
    digits of much evidence with them; those of little evidence go with them where they are left out. So they are left
    out where a row's evidence is large: of the slope always, of the value where it is `whole`, and otherwise they are
    never in the value. Which rows are, `large` says, the same for all classes of a row and for their total; so only
    the difference above has a slope in the usual sense.

    Args:
        prior: a - evidence; below 1 costs one more logarithm.
        base: b > 0.
        whole: See above.

    Example:
        >>> e = torch.tensor([[2.0, 0.5, 0.0]])
        >>> total, large = e.sum(1, keepdim=True), torch.tensor([[0.0]])
        >>> kl = Excess()(e, large).sum(1) - Excess(3, 3)(total, large).squeeze(1)
        >>> flat, mine = (torch.distributions.Dirichlet(a) for a in (torch.ones(1, 3), e + 1))
        >>> torch.allclose(kl, torch.distributions.kl_divergence(mine, flat))
        True
    """

    prior: float = 1.0
    base: float = 1.0
    whole: bool = False

    @property
    def absent(self) -> float:
        return self.base - self.prior

    def __call__(self, evidence: Tensor, large: Tensor) -> Tensor:
        """(N, C, ...) with flags (N, 1, ...), 1 or 0."""
        (result,) = elementwise(self, evidence, large)
        return result

    def large(self, rest: Tensor, classes: int) -> Tensor:
        """The flags, for total evidence (N, 1, ...)."""
        bound = number(classes * self.base, rest)
        if not can_look(rest):
            return (rest > bound).to(rest.dtype)
        return torch.gt(rest, bound, out=torch.empty_like(rest))

    def rows(self, classes: int, rest: Tensor, least: Tensor) -> tuple[Tensor, ...]:
        return (self.large(rest, classes),)

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        (large,) = rows
        # Where all rows are large there is nothing more to do for a whole one.
        look = can_look(large) and x.numel() > _CLASSES_WORTH_A_LOOK * large.numel()
        whole = self.whole and not (look and large.sum().item() == large.numel())
        if self.prior == self.base == 1:
            return _unit_excess(x, large if whole else None)
        base = self.base
        prior, half = numbers((self.prior, 0.5), x)
        gain, a = x if self.prior == base else x + (self.prior - base), x + prior
        logarithm = _log_ratio(x, a, self.prior, base)
        step = None
        if self.prior < 1:
            # One step of the recurrence of Γ: the series below want an argument of at least 1.
            step = logarithm - gain / a
            base, a = base + 1, a + 1
            logarithm = torch.log1p(gain / base)
        # gain / (2 a) - gain μ′(a) + μ(a) - μ(b), all of it in proportion to the gain: a thousand classes without any
        # add up to nothing.
        t = a.reciprocal()
        value = logarithm * half - polynomial(_remainders(base, t), t).mul_(gain * t)
        value = value.add_(self._lead(gain, logarithm, base, large) if whole else -base * logarithm)
        return value if step is None else value.add_(step)

    def _lead(self, gain: Tensor, logarithm: Tensor, base: float, large: Tensor) -> Tensor:
        """-b log(1 + gain / b), and the gain unless large."""
        return gain * (1 - large) - base * logarithm

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        # The slope is (a - b) ψ′(a), less 1 where large.
        (large,) = rows
        base, dtype = self.base, x.dtype
        if self.prior == base < 0.5:
            # Then (a - b) ψ′(a) is 1 at some small evidence: what is left there may be all that others' slopes are.
            x, large = widened(x), widened(large)
        gain = x if self.prior == base else x + (self.prior - base)
        prior, step = self.prior, None
        if prior < 1:
            step = gain / (x + prior).square()
            base, prior = base + 1, prior + 1
        # With ψ′(a) = t + t² Y that is t (gain (1 + t Y) - 1 / t) where large; 1 / t = gain + base + ¼.
        t = torch.add(x, number(prior + SHIFT, x), out=temporary(x)).reciprocal_()
        kept = number(1, x) - large
        slope = trigamma_rest(x + prior) / t + kept if torch.is_grad_enabled() else trigamma_excess(t, kept)
        slope = slope.mul_(gain).sub_(number(base + SHIFT, x) * large).mul_(t)
        return slope if step is None else slope.add_(step).to(dtype)

    def add_slopes(
        self, total: Tensor, grads: Sequence[Tensor], x: Tensor, *rows: Tensor, out: Tensor | None = None
    ) -> Tensor:
        (grad,), (large,) = grads, rows
        if torch.is_grad_enabled() or self.prior != self.base or self.prior < 1 or not can_look(grad):
            return super().add_slopes(total, grads, x, large, out=out)
        # The same slope in the order in which what there is one of for a row comes in fewest steps.
        shift, minus_others = constants((self.prior + SHIFT, -self.base - SHIFT), x.dtype)
        grad_large = grad * large
        t = torch.add(x, shift, out=temporary(x)).reciprocal_()
        slope = polynomial(_TRIGAMMA[t.dtype], t)
        slope = torch.addcmul(grad - grad_large, slope, torch.mul(t, grad, out=temporary(x)), out=slope)
        slope = torch.addcmul(grad_large * minus_others, slope, x, out=slope)
        return torch.addcmul(total, slope, t, out=out)


class TotalExcess(Excess):
    """A `whole` one for a total: its gain is the sum of many, and may take more digits with it than they do."""

    def minus_value_and_slope(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both in the steps that they have in common, in double; for a prior that is the base, at least 1."""
        # Decided in the dtype in which the classes' terms decide it.
        dtype, large = x.dtype, self.large(x, 1).double()
        x = x.double()
        base, more, one = constants((self.base, self.base - 0.5, 1), x.dtype)
        minus_kept = large - one
        t = (x + base).reciprocal_()
        each = _remainders_in(self.base, dtype), _MINUS_TRIGAMMA_REST[dtype]
        remainders, minus_series = polynomials(each, t).unbind()
        minus_value = torch.addcmul(minus_kept * x, torch.log1p(x / base), more)
        minus_value = torch.addcmul(minus_value, remainders, x * t)
        minus_slope = torch.addcmul(minus_kept, minus_series, t).mul_(x)
        minus_slope = torch.addcmul(minus_slope, large, base).mul_(t)
        return minus_value.to(dtype), minus_slope.to(dtype)

    def _lead(self, gain: Tensor, logarithm: Tensor, base: float, large: Tensor) -> Tensor:
        # y - log(1 + y) = y z - 2 z³ (1/3 + z²/5 + z⁴/7 + ⋯), z = y / (2 + y), at most 1/3 unless large.
        two, factor, minus_factor = numbers((2, base, -base), gain)
        y = gain / factor
        z = y / (y + two)
        square = z * z
        minus_little = z * (square * polynomial(_TWICE_ATANH[y.dtype], square) - y)
        return torch.lerp(minus_little, logarithm, large) * minus_factor


# Of -(½ + t R_2(t)), where ψ′(a) = t + t² (½ + t R_2(t)): t = 1 / a serves values, too, where Y would want another.
_MINUS_TRIGAMMA_REST = {dtype: (-0.5, *(-c for c in second)) for dtype, (_, _, second, _) in _REMAINDER.items()}

_TWICE_ATANH = {
    torch.float32: tuple(2 / k for k in range(3, 17, 2)),
    torch.float64: tuple(2 / k for k in range(3, 35, 2)),
}


def _remainders(base: float, t: Tensor) -> tuple[float, ...]:
    """W in gain t W(t) = gain / (2 a) - gain μ′(a) + μ(a) - μ(b), t = 1 / a."""
    # A number of classes that a compiler leaves open is no key of a cache.
    return _remainders_in(base, t.dtype) if can_look(t) else _remainders_of(base, t.dtype)


def _remainders_of(base: float, dtype: torch.dtype) -> tuple[float, ...]:
    # μ(b) - μ(a) = u R_0(u) - t R_0(t), u = 1 / b, u - t = gain t u, is gain t u times the polynomial's divided
    # difference; -μ′(a) = t² R_1(t).
    value, first, _, _ = _REMAINDER[dtype]
    quotient: list[float] = []
    for c in reversed(value):
        quotient.append(c + (quotient[-1] / base if quotient else 0.0))
    constant, *others = quotient[::-1]
    return (
        0.5 - constant / base,
        *(more - c / base for more, c in zip(first, [*others, 0.0], strict=True)),
    )


_remainders_in = cache(_remainders_of)


def _unit_excess(evidence: Tensor, large: Tensor | None) -> Tensor:
    """For a prior and a base of 1; whole, unless large is None."""
    # Every term is proportional to the evidence, so that a thousand classes without any add up to nothing.
    minus_half, half, one = numbers((-0.5, 0.5, 1), evidence)
    if isinstance(one, Tensor):
        t = torch.add(one, evidence, alpha=0.8, out=temporary(evidence)).reciprocal_()
    else:
        t = (evidence * 0.8 + one).reciprocal()
    value = polynomial(_UNIT[evidence.dtype], t)
    if large is None:
        s = t.mul_(evidence)
        value = value.mul_(s).sub_(half).mul_(s)
        return value.add_(torch.log1p(evidence, out=temporary(evidence)), alpha=-0.5)
    # (e - s) / 2 is 0.4 e s.
    little = torch.mul(evidence, one - large, out=temporary(evidence))
    s = t.mul_(evidence)
    constant = torch.add(minus_half * large, little, alpha=0.4, out=temporary(evidence))
    value = torch.addcmul(constant, value, s, out=value if can_look(value) else None).mul_(s)
    return value.add_(torch.log1p(evidence, out=temporary(evidence)).sub_(little), alpha=-0.5)


def _log_ratio(evidence: Tensor, a: Tensor, prior: float, base: float) -> Tensor:
    """log(a / base), keeping the digits of a small evidence and of an a near zero."""
    if prior == base:
        return torch.log1p(evidence / number(base, evidence))
    x = evidence + (prior - base)
    near = x.abs() < base / 2
    return torch.where(near, torch.log1p(torch.where(near, x, 0.0) / base), torch.log(a / base))
