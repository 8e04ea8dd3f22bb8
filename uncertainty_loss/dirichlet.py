"""What a Dirichlet distribution over class probabilities says: how sure, of what, and why not.

Every measure takes concentrations ``alpha`` above 0 of shape (N, C, d1, ...) or (C,); the class dimension is
found as in ``torch.nn.functional.cross_entropy``: 1, or 0 for a single distribution. Per-class functions keep
that shape, all others return one value a distribution, (N, d1, ...) or a scalar. Half-precision input is
computed and returned in float32; float64 stays float64. Everything is differentiable, twice where needed.

In the formulas S = sum_k alpha_k is the precision, p_k = alpha_k / S the expected probability of class k,
K the number of classes, psi the digamma function, and pi ~ Dir(alpha) a draw of class probabilities.

The last five functions keep the names of ``uncertainty-loss`` 0.1.2. They take evidence, where
alpha = evidence + 1, or probabilities, or logits, as their arguments say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uncertainty_loss._checks import check_floating, checked_evidence, class_dimension, widened
from uncertainty_loss._expansions import digamma, digamma_excess, digamma_rise, entropy_kernel


class ExpectedVariance(NamedTuple):
    """The variance of a one-hot label by where it comes from; see `expected_variance`."""

    data: Tensor
    model: Tensor

    @property
    def total(self) -> Tensor:
        """sum_k p_k (1 - p_k), the variance of a label drawn from the expected probabilities."""
        return self.data + self.model


def precision(alpha: Tensor) -> Tensor:
    r"""The precision S, also called strength: how concentrated the distribution is around its mean.

    Formula: S = sum_k alpha_k, shape (N, C, d1, ...) -> (N, d1, ...).

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Values above 0, shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> precision(torch.tensor([[1.0, 1.0], [9.0, 1.0]]))
        tensor([ 2., 10.])
    """
    alpha, dim = _checked("alpha", alpha)
    return alpha.sum(dim)


def expected_probability(alpha: Tensor) -> Tensor:
    r"""The mean of the distribution: the class probabilities to predict with.

    Formula: p_k = alpha_k / S, shape (N, C, d1, ...) -> (N, C, d1, ...).

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Probabilities that sum to 1 over the classes, in the shape of ``alpha``.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> expected_probability(torch.tensor([[1.0, 1.0], [9.0, 1.0]]))
        tensor([[0.5000, 0.5000],
                [0.9000, 0.1000]])
    """
    alpha, dim = _checked("alpha", alpha)
    return alpha / alpha.sum(dim, keepdim=True)


def vacuity(alpha: Tensor, *, prior: float = 1.0) -> Tensor:
    r"""How much evidence is missing: 1 when there is none, towards 0 as it grows.

    It depends on the amount of evidence alone, not on whether the evidence agrees; for that see `dissonance`.

    Formula: u = prior K / S, shape (N, C, d1, ...) -> (N, d1, ...). `belief` sums to 1 - u.

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).
        prior: What every class holds without evidence: alpha = evidence + prior. Above 0; 1 for the uniform
            Dirichlet, 0.1 in R-EDL.

    Returns:
        Values in (0, 1] for ``alpha`` of at least ``prior``, shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> vacuity(torch.tensor([[1.0, 1.0], [9.0, 1.0]]))
        tensor([1.0000, 0.2000])

    Source: Sensoy et al. 2018, arXiv 1806.01768, after subjective logic.
    """
    alpha, dim = _checked("alpha", alpha)
    return prior * alpha.shape[dim] / alpha.sum(dim)


def belief(alpha: Tensor, *, prior: float = 1.0) -> Tensor:
    r"""The share of all mass that evidence gives to each class; `vacuity` is the share that it leaves open.

    Formula: b_k = (alpha_k - prior) / S, shape (N, C, d1, ...) -> (N, C, d1, ...); sum_k b_k + u = 1.

    Args:
        alpha: Concentrations of at least ``prior``, shape (N, C, d1, ...) or (C,);
            belief is negative below it.
        prior: What every class holds without evidence: alpha = evidence + prior.

    Returns:
        Values in [0, 1), in the shape of ``alpha``.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> belief(torch.tensor([[1.0, 1.0], [9.0, 1.0]]))
        tensor([[0.0000, 0.0000],
                [0.8000, 0.0000]])

    Source: Sensoy et al. 2018, arXiv 1806.01768, after subjective logic.
    """
    alpha, dim = _checked("alpha", alpha)
    return (alpha - prior) / alpha.sum(dim, keepdim=True)


def dissonance(alpha: Tensor, *, prior: float = 1.0) -> Tensor:
    r"""How much the evidence contradicts itself: high where classes hold strong and equal belief.

    Unlike `predictive_entropy` it is 0 where there is no evidence: it tells "torn" from "does not know".

    Formula: with belief b and balance Bal(x, y) = 2 min(x, y) / (x + y), where 0 / 0 counts as 0,

        sum_k b_k [ sum_{j != k} b_j Bal(b_j, b_k) ] / [ sum_{j != k} b_j ]

    Shape (N, C, d1, ...) -> (N, d1, ...). Time grows with the square of C, memory does not: the
    pairs are visited in blocks. Only second derivatives hold them all.

    Args:
        alpha: Concentrations of at least ``prior``, shape (N, C, d1, ...) or (C,). Less counts as no belief.
        prior: What every class holds without evidence: alpha = evidence + prior.

    Returns:
        Values in [0, 1 - vacuity], shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> dissonance(torch.tensor([[1.0, 1.0], [50.0, 50.0], [99.0, 1.0]]))
        tensor([0.0000, 0.9800, 0.0000])

    Source: Jøsang, Cho and Chen 2018, "Uncertainty Characteristics of Subjective Opinions".
    """
    alpha, dim = _checked("alpha", alpha)
    mass = belief(alpha, prior=prior).clamp(min=0).movedim(dim, -1)
    rows = mass.reshape(-1, mass.shape[-1])
    # A compiler fuses the pairs away, and would unroll the loop over blocks.
    whole = rows.numel() * rows.shape[1] <= _pairs_at_once(rows.device) or torch.compiler.is_compiling()
    conflict: Tensor = _conflict(rows, slice(None)) if whole else _BlockwiseConflict.apply(rows)
    others = _others(rows, 1).clamp(min=torch.finfo(rows.dtype).tiny)
    return (rows * conflict / others).sum(1).reshape(mass.shape[:-1])


def predictive_entropy(alpha: Tensor) -> Tensor:
    r"""The entropy of the prediction: total uncertainty about the label, whatever its cause.

    It is the sum of `expected_entropy` (data) and `mutual_information` (model).

    Formula: H[p] = -sum_k p_k log p_k in nats, shape (N, C, d1, ...) -> (N, d1, ...).

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Values in [0, log C], shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> predictive_entropy(torch.tensor([[1.0, 1.0], [9.0, 1.0]]))
        tensor([0.6931, 0.3251])
    """
    alpha, dim = _checked("alpha", alpha)
    p, rest = _probability_and_complement(_precise(alpha), dim)
    # Next to 1, log p has digits only as a function of 1 - p. What is not used is held where its logarithm is finite.
    low, smallest = p < 0.5, torch.finfo(p.dtype).tiny
    log_p = torch.where(low, torch.where(low, p.clamp(min=smallest), 0.5).log(), torch.log1p(-rest.masked_fill(low, 0)))
    return (p * -log_p).sum(dim).to(alpha.dtype)


def expected_entropy(alpha: Tensor) -> Tensor:
    r"""The entropy that is left when the class probabilities are known: uncertainty in the data.

    High where a label would be a matter of chance even to an observer who has seen everything.

    Formula: E[H[pi]] = sum_k p_k (psi(S + 1) - psi(alpha_k + 1)) in nats,
    shape (N, C, d1, ...) -> (N, d1, ...).

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Values in [0, log C), shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> expected_entropy(torch.tensor([[1.0, 1.0], [9.0, 1.0]]))
        tensor([0.5000, 0.2829])
    """
    alpha, dim = _checked("alpha", alpha)
    precise = _precise(alpha)
    p, _ = _probability_and_complement(precise, dim)
    return (p * digamma_rise(precise, _others(precise, dim))).sum(dim).to(alpha.dtype)


def mutual_information(alpha: Tensor) -> Tensor:
    r"""What the label would tell about the class probabilities: uncertainty in the model.

    High where the probabilities themselves are not known; it vanishes with growing precision, about
    (C - 1) / (2 S), however ambiguous the input. Relative precision in float32 is kept at any S.

    Formula: I = H[p] - E[H[pi]] in nats, shape (N, C, d1, ...) -> (N, d1, ...).

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Values in [0, log C], shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> mutual_information(torch.tensor([[1.0, 1.0], [9.0, 1.0]]))
        tensor([0.1931, 0.0422])
    """
    alpha, dim = _checked("alpha", alpha)
    precise = _precise(alpha)
    s = precise.sum(dim)
    # The logarithms in the excesses add up to S H[p], their digammas to S E[H[pi]]. Rounding may leave -1e-8.
    return ((digamma_excess(precise).sum(dim) - digamma_excess(s)).clamp(min=0) / s).to(alpha.dtype)


def differential_entropy(alpha: Tensor) -> Tensor:
    r"""The entropy of the distribution of class probabilities itself: how widely it spreads.

    Highest, at -log((C - 1)!), for the uniform Dirichlet, and unbounded below. Compare it only between
    distributions with the same number of classes.

    Formula: h = sum_k lgamma(alpha_k) - lgamma(S) - sum_k (alpha_k - 1) (psi(alpha_k) - psi(S)) in nats,
    shape (N, C, d1, ...) -> (N, d1, ...).

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Values of at most 0, shape (N, d1, ...) or a scalar; 0 for a single class.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> differential_entropy(torch.tensor([[1.0, 1.0, 1.0], [9.0, 9.0, 1.0]]))
        tensor([-0.6931, -2.7502])
    """
    alpha, dim = _checked("alpha", alpha)
    precise = _precise(alpha)
    s = precise.sum(dim)
    # The kernels hold alpha and S as a summand, so that both are gone from the difference.
    difference = entropy_kernel(precise).sum(dim) - entropy_kernel(s)
    return (difference - (alpha.shape[dim] - 1) * digamma(s)).to(alpha.dtype)


def expected_pairwise_kl(alpha: Tensor) -> Tensor:
    r"""How far two draws of class probabilities lie apart on average: uncertainty in the model.

    An upper bound of `mutual_information`; it depends on the precision alone.

    Formula: E[KL(pi || pi')] = (C - 1) / S for independent pi, pi' ~ Dir(alpha), in nats,
    shape (N, C, d1, ...) -> (N, d1, ...).

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Values of at least 0, shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> expected_pairwise_kl(torch.tensor([[1.0, 1.0], [9.0, 1.0]]))
        tensor([0.5000, 0.1000])
    """
    alpha, dim = _checked("alpha", alpha)
    return (alpha.shape[dim] - 1) / alpha.sum(dim)


def expected_variance(alpha: Tensor) -> ExpectedVariance:
    r"""The variance of a one-hot label, summed over classes, split by the law of total variance.

    The same split as `expected_entropy` and `mutual_information`, in squared probability instead of nats,
    and bounded by 1 whatever the number of classes.

    Formula: with total = sum_k p_k (1 - p_k),

        data  = sum_k E[pi_k (1 - pi_k)] = total S / (S + 1)
        model = sum_k Var[pi_k]          = total / (S + 1)

    Shape (N, C, d1, ...) -> (N, d1, ...) each.

    Args:
        alpha: Concentrations above 0, shape (N, C, d1, ...) or (C,).

    Returns:
        A named tuple (data, model) with the property ``total``; each value is in [0, 1 - 1 / C], its shape
        (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``alpha`` is not a floating-point tensor.
        ValueError: ``alpha`` has no class dimension, or no class.

    Example:
        >>> expected_variance(torch.tensor([[1.0, 1.0], [9.0, 1.0]])).model
        tensor([0.1667, 0.0164])
    """
    alpha, dim = _checked("alpha", alpha)
    precise = _precise(alpha)
    s = precise.sum(dim)
    p, rest = _probability_and_complement(precise, dim)
    total = (p * rest).sum(dim)
    return ExpectedVariance(data=(total * (s / (s + 1))).to(alpha.dtype), model=(total / (s + 1)).to(alpha.dtype))


def entropy(y_proba: Tensor, normalize: bool = False) -> Tensor:
    r"""The entropy of class probabilities, where 0 log 0 = 0: a one-hot row has none.

    Formula: -sum_k p_k log p_k in nats, shape (N, C, d1, ...) -> (N, d1, ...).

    Args:
        y_proba: Probabilities that sum to 1 over the classes, shape (N, C, d1, ...) or (C,). The gradient of
            a probability of exactly 0, infinite in theory, is 0.
        normalize: Divide by the largest possible value, log C.

    Returns:
        Values in [0, log C], or [0, 1] with ``normalize``, shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``y_proba`` is not a floating-point tensor.
        ValueError: ``y_proba`` has no class dimension, or no class.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), normalize=True)
        tensor([1., 0.])
    """
    y_proba, dim = _checked("y_proba", y_proba)
    log_p = torch.where(y_proba > 0, y_proba, 1).log()
    result = (y_proba * -log_p).sum(dim)
    return _share_of_largest(result, y_proba.shape[dim]) if normalize else result


def uncertainty(evidence: Tensor, normalize: bool = False) -> Tensor:
    r"""Total uncertainty about the label, from evidence: `predictive_entropy` of evidence + 1.

    Args:
        evidence: Values of at least 0, shape (N, C, d1, ...) or (C,).
        normalize: Divide by the largest possible value, log C.

    Returns:
        Values in [0, log C], or [0, 1] with ``normalize``, shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``evidence`` is not a floating-point tensor.
        ValueError: ``evidence`` has no class dimension, or no class, or a negative entry.

    Example:
        >>> uncertainty(torch.tensor([[0.0, 0.0], [8.0, 0.0]]), normalize=True)
        tensor([1.0000, 0.4690])
    """
    alpha, dim = _from_evidence(evidence)
    result = predictive_entropy(alpha)
    return _share_of_largest(result, alpha.shape[dim]) if normalize else result


def model_uncertainty(evidence: Tensor) -> Tensor:
    r"""Uncertainty in the model, from evidence: `mutual_information` of evidence + 1.

    Args:
        evidence: Values of at least 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Values in [0, log C], shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``evidence`` is not a floating-point tensor.
        ValueError: ``evidence`` has no class dimension, or no class, or a negative entry.

    Example:
        >>> model_uncertainty(torch.tensor([[0.0, 0.0], [8.0, 0.0]]))
        tensor([0.1931, 0.0422])
    """
    alpha, _ = _from_evidence(evidence)
    return mutual_information(alpha)


def data_uncertainty(evidence: Tensor) -> Tensor:
    r"""Uncertainty in the data, from evidence: `expected_entropy` of evidence + 1.

    Args:
        evidence: Values of at least 0, shape (N, C, d1, ...) or (C,).

    Returns:
        Values in [0, log C), shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``evidence`` is not a floating-point tensor.
        ValueError: ``evidence`` has no class dimension, or no class, or a negative entry.

    Example:
        >>> data_uncertainty(torch.tensor([[0.0, 0.0], [8.0, 0.0]]))
        tensor([0.5000, 0.2829])
    """
    alpha, _ = _from_evidence(evidence)
    return expected_entropy(alpha)


def cross_entropy_uncertainty(logits: Tensor) -> Tensor:
    r"""The entropy of softmax probabilities: the baseline from a classifier trained with cross-entropy.

    Formula: H[softmax(logits)] in nats, shape (N, C, d1, ...) -> (N, d1, ...).

    Args:
        logits: Unnormalised log-probabilities, shape (N, C, d1, ...) or (C,); -inf rules a class out.

    Returns:
        Values in [0, log C], shape (N, d1, ...) or a scalar.

    Raises:
        TypeError: ``logits`` is not a floating-point tensor.
        ValueError: ``logits`` has no class dimension, or no class.

    Example:
        >>> cross_entropy_uncertainty(torch.tensor([[0.0, 0.0], [5.0, 0.0]]))
        tensor([0.6931, 0.0402])
    """
    logits, dim = _checked("logits", logits)
    log_p = logits.log_softmax(dim)
    # A class that is ruled out adds 0, not 0 times infinity.
    return (log_p.exp() * -log_p.masked_fill(log_p == -math.inf, 0)).sum(dim)


def _checked(name: str, x: Tensor) -> tuple[Tensor, int]:
    """The tensor, in single precision at least, and its class dimension."""
    check_floating(name, x)
    dim = class_dimension(name, x)
    return (x if x.dtype == torch.float64 else x.float()), dim


def _from_evidence(evidence: Tensor) -> tuple[Tensor, int]:
    """The concentrations evidence + 1, and their class dimension."""
    evidence, dim = _checked("evidence", evidence)
    return checked_evidence(evidence) + 1, dim


def _precise(alpha: Tensor) -> Tensor:
    """alpha, in double where a gradient will be asked for.

    Entropies and variances are largest where all classes are equal. Around there the gradient is a small
    difference of what single precision rounds; values keep their digits.
    """
    return widened(alpha) if alpha.requires_grad and torch.is_grad_enabled() else alpha


def _others(x: Tensor, dim: int) -> Tensor:
    """sum_{j != k} x_j, without the cancellation in S - x_k for a class that holds almost everything."""
    largest = torch.zeros_like(x, dtype=torch.bool).scatter(dim, x.argmax(dim, keepdim=True), True)
    rest = x.masked_fill(largest, 0).sum(dim, keepdim=True)
    return torch.where(largest, rest, x.sum(dim, keepdim=True) - x)


def _probability_and_complement(alpha: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """p_k and 1 - p_k, each to full relative precision."""
    s = alpha.sum(dim, keepdim=True)
    return alpha / s, _others(alpha, dim) / s


def _conflict(mass: Tensor, own: slice) -> Tensor:
    """sum_{j != k} b_j Bal(b_j, b_k) for classes k in ``own``: (n, K) -> (n, len(own)), through all pairs."""
    mine, other = mass[:, own].unsqueeze(2), mass.unsqueeze(1)
    # Added to the denominator, so that 0 / 0 becomes 0 and no class is weighed against itself.
    guard = mass.new_full((mine.shape[1], mass.shape[1]), torch.finfo(mass.dtype).tiny)
    guard.diagonal(own.start or 0).fill_(math.inf)
    return 2 * (torch.minimum(mine, other) / (mine + other + guard) * other).sum(2)


class _BlockwiseConflict(torch.autograd.Function):
    """`_conflict` for all classes, a block of pairs at a time: forwards and, evaluated anew, backwards."""

    @staticmethod
    def forward(ctx: Any, mass: Tensor) -> Tensor:
        ctx.save_for_backward(mass)
        result = torch.empty_like(mass)
        for rows, own in _blocks(mass):
            result[rows, own] = _conflict(mass[rows], own)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (mass,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            once: Tensor = torch.autograd.grad(_conflict(mass, slice(None)), mass, grad, create_graph=True)[0]
            return once
        result = torch.zeros_like(mass)
        for rows, own in _blocks(mass):
            block = mass[rows].detach().requires_grad_()
            with torch.enable_grad():
                conflict = _conflict(block, own)
            result[rows] += torch.autograd.grad(conflict, block, grad[rows, own])[0]
        return result


def _pairs_at_once(device: torch.device) -> int:
    # A processor works out of its cache, and gets larger temporaries from the system anew every time, which
    # costs ten times the arithmetic; an accelerator wants enough at once to keep all its cores busy.
    return 2**16 if device.type == "cpu" else 2**24


def _blocks(mass: Tensor) -> Iterator[tuple[slice, slice]]:
    """Blocks of rows and classes, each small enough to be paired with all classes."""
    count, classes = mass.shape
    at_once = max(1, _pairs_at_once(mass.device) // classes)
    rows, own = max(1, at_once // classes), min(at_once, classes)
    for row in range(0, count, rows):
        for first in range(0, classes, own):
            yield slice(row, row + rows), slice(first, first + own)


def _share_of_largest(entropy: Tensor, classes: int) -> Tensor:
    # A single class leaves nothing to share: 0, not 0 / 0.
    return entropy / math.log(classes) if classes > 1 else entropy
