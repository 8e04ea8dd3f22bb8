"""Gamma-function relatives: precise where the textbook forms cancel, and fast.

All of it rests on Binet's function, the remainder of Stirling's formula,

    μ(a) = log Γ(a) - (a - ½) log a + a - ½ log 2π,

which is small and smooth. What is large cancels on paper, in Stirling's elementary part; what is left is a
polynomial in 1/a. Background: NIST Digital Library of Mathematical Functions, §5.9(i) and §5.11(i).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from uncertainty_loss._checks import can_look
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

# The same kind of series for Z in Excess()(e) = -½ (log(1 + e) + s) + s² Z(t), t = 1 / (1 + e), s = 1 - t.
_UNIT = {
    torch.float32: (
        0.08106142164, -0.004539432188, -0.006880325665, 0.002360150499, 0.001901103459, -0.002004950552,
        0.0005691096168,
    ),
    torch.float64: (
        0.0810614667953271292, -0.00454373307588074307, -0.00681559963636380183,
        0.00202364647550439062, 0.00252950143460301786, -0.00172522067615481456,
        -0.00203229621869540103, 0.00265111837192868162, 0.00128745706766687804,
        0.00325381608105039831, -0.043637924845352168, 0.141044608233073029,
        -0.279103014893048292, 0.395906253815201196, -0.423680250619098603,
        0.346851745833879853, -0.215848632058278014, 0.0997576703298280468,
        -0.0327539896034962682, 0.00705029035612899361, -0.000846819468103979121,
        0.0000369397243936449475,
    ),
}

# And for W in (½ e² ψ′(1 + e))′ = s W(t).
_INFORMATION = {
    torch.float32: (
        0.4999999591, 0.5000007393, 0.416787911, 0.247383601, 0.07037681737, -0.1609750949,
        0.09066619705, -0.01930624379,
    ),
    torch.float64: (
        0.499999999999990239, 0.500000000009783931, 0.416666665032426523,
        0.250000108688977674, 0.0499961637565250113, -0.083250322984290264,
        -0.0607227434864838418, 0.0955298998839670353, 0.02626565462393603,
        0.347305423856413382, -2.37735866528821271, 6.51096705614367537,
        -11.1627936627667534, 13.2221527833491114, -10.7775172039633899,
        5.30248625488689633, -0.383195708133432194, -1.70640229282630298,
        1.48310317439456783, -0.64658272278642403, 0.154426498019798179,
        -0.0161422935625575531,
    ),
}
# fmt: on


def polynomial(coefficients: tuple[float, ...], t: Tensor, constant: Tensor | None = None) -> Tensor:
    """Σ_k c_k t^k by Horner's rule; with a constant, a tensor that broadcasts, t Σ_k c_k t^k + constant.

    Not differentiable.
    """
    if not can_look(t):
        total = (t * coefficients[-1]).add_(coefficients[-2])
        for coefficient in coefficients[-3::-1]:
            total.mul_(t).add_(coefficient)
        return total if constant is None else total.mul_(t).add_(constant)
    # A processor is faster with one operation a step, and with numbers that are tensors already.
    *lower, last, _ = _constants(coefficients, t.dtype)
    total = torch.add(last, t, alpha=coefficients[-1])
    for number in reversed(lower):
        torch.addcmul(number, total, t, out=total)
    return total if constant is None else torch.addcmul(constant, total, t, out=total)


@cache
def _constants(values: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return torch.tensor(values, dtype=dtype, device="cpu").unbind()


def binet_series(t: Tensor, order: int, factor: float = 1.0, constant: Tensor | None = None) -> Tensor:
    """factor · R_n(t), where μ⁽ⁿ⁾(a) = (-1)ⁿ tⁿ⁺¹ R_n(t), t = 1 / a; with a constant as `polynomial` has it."""
    return polynomial(_scaled(_REMAINDER[t.dtype][order], factor), t, constant)


@cache
def _scaled(coefficients: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(factor * coefficient for coefficient in coefficients)


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
        return apply(_Binet, a, order)
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
    t = a.reciprocal()
    return binet(a, 3) - t.square() * (1 + t)


def information_slope(evidence: Tensor, constant: Tensor) -> Tensor:
    """The derivative of ½ e² ψ′(1 + e), divided by e, plus a constant that broadcasts.

    Example:
        >>> information_slope(torch.tensor([0.0, 1e6]), torch.tensor(0.0))
        tensor([1.6449e+00, 5.0000e-07])
    """
    a = evidence + 1
    if torch.is_grad_enabled():
        return trigamma(a) + evidence / 2 * tetragamma(a) + constant
    t = a.reciprocal_()
    return polynomial(_INFORMATION[t.dtype], t, constant)


def digamma_difference(a: Tensor, gap: Tensor) -> Tensor:
    """ψ(a + gap) - ψ(a) for a > 0 and gap ≥ 0, without cancellation.

    Example:
        >>> digamma_difference(torch.tensor(1e7), torch.tensor(3.0))
        tensor(3.0000e-07)
    """
    b = a + 1
    stirling = torch.log1p(gap / b) + gap / b / (2 * (b + gap)) + (binet(b + gap, 1) - binet(b, 1))
    # ψ(a) = ψ(a + 1) - 1 / a
    return stirling + gap / a / (a + gap)


@dataclass(frozen=True)
class Excess(Term):
    """A class's part in a KL divergence: D - (a - b), D = log Γ(b) - log Γ(a) + (a - b) ψ(a).

    Here a = evidence + prior, b = base. D is the Bregman divergence of log Γ, and that of two Dirichlets is

        KL(Dir(α) ‖ Dir(β)) = Σ_k D(β_k, α_k) - D(Σ β, Σ α).

    D grows like a - b. Those linear parts cancel between the sum and what is taken off it, and would take the
    digits of much evidence with them, so they are left out of the value. Of the slope they are left out for much
    evidence, where it goes to zero without them, and kept for little, where it does with them. Which of the two a
    row is, `large` says, the same for all its classes and for their total; so only the difference above has a slope
    in the usual sense.

    Args:
        prior: a - evidence; below 1 costs one more logarithm.
        base: b > 0.

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

    @property
    def absent(self) -> float:
        return self.base - self.prior

    def __call__(self, evidence: Tensor, large: Tensor) -> Tensor:
        """(N, C, ...) with flags (N, 1, ...), 1 or 0."""
        return elementwise(self, evidence, large)

    def large(self, rest: Tensor, classes: int) -> Tensor:
        """The flags, for total evidence (N, 1, ...)."""
        return (rest > classes * self.base).to(rest.dtype)

    def rows(self, classes: int, rest: Tensor, total: Tensor) -> tuple[Tensor, ...]:
        return (self.large(rest, classes),)

    def value(self, x: Tensor, *rows: Tensor) -> Tensor:
        if self.prior == self.base == 1:
            return _unit_excess(x)
        base = self.base
        gain, a = x if self.prior == base else x + (self.prior - base), x + self.prior
        logarithm = _log_ratio(x, a, self.prior, base)
        if self.prior < 1:
            # One step of the recurrence of Γ: the series below want an argument of at least 1.
            value = logarithm - gain / a
            base, a = base + 1, a + 1
            value = value - (base - 0.5) * torch.log1p(gain / base)
        else:
            value = -(base - 0.5) * logarithm
        # gain / (2 a) - gain μ′(a) + μ(a)
        t = a.reciprocal()
        series = polynomial((0.5, *_REMAINDER[t.dtype][1]), t).mul_(gain * t)
        return value + (_binet_at(base, a) - series.add_(binet_series(t, 0).mul_(t)))

    def slope(self, x: Tensor, *rows: Tensor) -> Tensor:
        # The slope is (a - b) ψ′(a), less 1 where large.
        (large,) = rows
        base = self.base
        gain = x if self.prior == base else x + (self.prior - base)
        a = x + self.prior
        step = None
        if self.prior < 1:
            step = gain / a.square()
            base, a = base + 1, a + 1
        t = a.reciprocal()
        share = gain * t
        # a ψ′(a) = 1 + t / 2 + t² R; share = 1 - base · t, and its 1 is the one to take off.
        if torch.is_grad_enabled():
            slope = t / 2 + a * binet(a, 2) + (1 - large)
        else:
            slope = polynomial((0.5, *_REMAINDER[a.dtype][2]), t, 1 - large)
        slope = slope.mul_(share).sub_(t * (base * large))
        return slope if step is None else slope.add_(step)


def _binet_at(base: float, like: Tensor) -> float | Tensor:
    """μ(base) as rounded as that of a tensor."""
    return _binet_number(base, like.dtype) if can_look(like) else binet(torch.full_like(like, base))


@cache
def _binet_number(base: float, dtype: torch.dtype) -> float:
    with torch.no_grad():
        return binet(torch.tensor(base, dtype=dtype, device="cpu")).item()


def _unit_excess(evidence: Tensor) -> Tensor:
    # Every term is proportional to the evidence, so that a thousand classes without any add up to nothing.
    t = (evidence + 1).reciprocal_()
    value = polynomial(_UNIT[evidence.dtype], t)
    s = t.mul_(evidence)
    value = torch.addcmul(value.new_full((), -0.5), value, s).mul_(s)
    return value.add_(torch.log1p(evidence), alpha=-0.5)


def _log_ratio(evidence: Tensor, a: Tensor, prior: float, base: float) -> Tensor:
    """log(a / base), keeping the digits of a small evidence and of an a near zero."""
    if prior == base:
        return torch.log1p(evidence / base)
    x = evidence + (prior - base)
    near = x.abs() < base / 2
    return torch.where(near, torch.log1p(torch.where(near, x, 0.0) / base), torch.log(a / base))
