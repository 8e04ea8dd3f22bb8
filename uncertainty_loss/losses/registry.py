"""Every loss by its name: what the command line offers, what the docs list and what the tests go through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from uncertainty_loss.losses.evidential import evidential_loss
from uncertainty_loss.losses.maxnorm import maxnorm_loss


class LossFunction(Protocol):
    """What all losses have in common: a training loop needs no more."""

    def __call__(self, evidence: Tensor, target: Tensor, reg_factor: float = 0.0) -> Tensor: ...


@dataclass(frozen=True)
class Loss:
    """A loss and what a training loop has to know about it.

    Attributes:
        name: What the registry and the command line call it.
        function: Called as function(evidence, target, reg_factor).
        summary: One line for people.
        source: The paper.
        prior: Added to the evidence: α = e + prior.
        default_reg: A sensible weight of the regulariser at the end of its annealing.
        evidence: The evidence function that the paper or its code uses, a name in `uncertainty_loss`.
    """

    name: str
    function: LossFunction
    summary: str
    source: str
    prior: float = 1.0
    default_reg: float = 0.0
    evidence: str = "clamped_exp"


_LOSSES = {
    loss.name: loss
    for loss in (
        Loss(
            name="evidential",
            function=evidential_loss,
            summary="expected squared error; regulariser: KL to the uniform Dirichlet",
            source="Sensoy et al. 2018, arXiv 1806.01768",
            default_reg=0.01,
        ),
        Loss(
            name="maxnorm",
            function=maxnorm_loss,
            summary="bound of the expected largest error; regulariser: information term",
            source="Tsiligkaridis 2019, arXiv 1910.04819",
            default_reg=0.01,
        ),
    )
}


def loss_names() -> tuple[str, ...]:
    """Names of all losses, sorted.

    Example:
        >>> "maxnorm" in loss_names()
        True
    """
    return tuple(sorted(_LOSSES))


def get_loss(name: str) -> Loss:
    """The loss called name.

    Raises:
        ValueError: No loss has this name; the message lists those that exist.

    Example:
        >>> get_loss("maxnorm").prior
        1.0
    """
    if name not in _LOSSES:
        raise ValueError(f"no loss is called {name!r}; there are {', '.join(loss_names())}")
    return _LOSSES[name]
