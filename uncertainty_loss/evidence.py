"""From network outputs to evidence e ≥ 0, to Dirichlet parameters α = e + prior, and to probabilities.

The class dimension is 1, or 0 for a single sample of shape (C).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from uncertainty_loss._checks import checked_evidence
from uncertainty_loss.dirichlet import expected_probability


def clamped_exp(x: Tensor, clamp: float = 10.0) -> Tensor:
    """exp(x) with x held in [-clamp, clamp]: evidence between e^-clamp and e^clamp.

    The usual choice. Outputs beyond the clamp get no gradient; `soft_clamped_exp` gives them one.

    Args:
        x: Network outputs, any shape.
        clamp: Bound of x, positive.

    Returns:
        Evidence, the shape of x.

    Example:
        >>> clamped_exp(torch.tensor([0.0, 50.0]), clamp=1.0)
        tensor([1.0000, 2.7183])
    """
    return torch.exp(torch.clamp(x, -clamp, clamp))


def soft_clamped_exp(x: Tensor, clamp: float = 10.0) -> Tensor:
    """exp(x) within [-clamp, clamp], e^clamp (1 + u) above, e^-clamp / (1 + u) below, u the distance beyond.

    Grows linearly where exp would explode and falls like 1 / |x| where it would vanish, so that a sample
    without evidence can still be taught and none runs away. Positive, increasing, once continuously
    differentiable.

    Args:
        x: Network outputs, any shape.
        clamp: Where the exponential ends, positive.

    Returns:
        Evidence, the shape of x; for half precision in float32, since it outgrows float16.

    Example:
        >>> soft_clamped_exp(torch.tensor([0.0, 3.0, -3.0]), clamp=1.0)
        tensor([1.0000, 8.1548, 0.1226])
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    beyond = torch.log1p(torch.relu(x.abs() - clamp))
    return torch.exp(torch.where(x.abs() <= clamp, x, torch.sign(x) * (clamp + beyond)))


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)): evidence that grows linearly; its gradient vanishes only for very negative outputs.

    Args:
        x: Network outputs, any shape.

    Returns:
        Evidence, the shape of x.

    Example:
        >>> softplus(torch.tensor([0.0, 5.0]))
        tensor([0.6931, 5.0067])
    """
    return F.softplus(x)


def relu(x: Tensor) -> Tensor:
    """max(x, 0), as in the first evidential paper. A sample whose outputs are all negative gets no gradient.

    Args:
        x: Network outputs, any shape.

    Returns:
        Evidence, the shape of x.

    Example:
        >>> relu(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    return F.relu(x)


_EVIDENCE_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "clamped_exp": clamped_exp,
    "relu": relu,
    "soft_clamped_exp": soft_clamped_exp,
    "softplus": softplus,
}


def evidence_function_names() -> tuple[str, ...]:
    """Names of all evidence functions, sorted.

    Example:
        >>> evidence_function_names()
        ('clamped_exp', 'relu', 'soft_clamped_exp', 'softplus')
    """
    return tuple(sorted(_EVIDENCE_FUNCTIONS))


def get_evidence_function(name: str) -> Callable[[Tensor], Tensor]:
    """The evidence function called name.

    Raises:
        ValueError: None has this name; the message lists those that exist.

    Example:
        >>> get_evidence_function("relu")(torch.tensor(-1.0))
        tensor(0.)
    """
    if name not in _EVIDENCE_FUNCTIONS:
        names = ", ".join(evidence_function_names())
        raise ValueError(f"no evidence function is called {name!r}; there are {names}")
    return _EVIDENCE_FUNCTIONS[name]


def evidence_to_alpha(evidence: Tensor, prior: float = 1.0) -> Tensor:
    """Dirichlet parameters α = e + prior.

    Args:
        evidence: e ≥ 0, any shape.
        prior: What every class has before any evidence; 1 is the uniform Dirichlet.

    Returns:
        α, the shape of evidence.

    Example:
        >>> evidence_to_alpha(torch.tensor([0.0, 3.0]))
        tensor([1., 4.])
    """
    return evidence + prior


def alpha_to_evidence(alpha: Tensor, prior: float = 1.0) -> Tensor:
    """Evidence e = α - prior, and zero where α is below the prior.

    Args:
        alpha: Dirichlet parameters, any shape.
        prior: What every class has before any evidence.

    Returns:
        e, the shape of alpha.

    Example:
        >>> alpha_to_evidence(torch.tensor([1.0, 4.0]))
        tensor([0., 3.])
    """
    return torch.clamp(alpha - prior, min=0)


def evidence_to_proba(evidence: Tensor, prior: float = 1.0) -> Tensor:
    """Expected class probabilities (e_k + prior) / S: what the network predicts.

    Args:
        evidence: e ≥ 0, (C), (N, C) or (N, C, d1, ...).
        prior: What every class has before any evidence.

    Returns:
        Probabilities, the shape of evidence; they sum to 1 over the classes, also without evidence (uniform)
        and with infinite evidence (entries count up to 10¹²).

    Raises:
        ValueError: An entry is negative.

    Example:
        >>> evidence_to_proba(torch.tensor([[0.0, 2.0]]))
        tensor([[0.2500, 0.7500]])
    """
    return expected_probability(checked_evidence(evidence) + prior).to(evidence.dtype)
