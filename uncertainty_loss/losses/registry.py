"""Every loss by its name: what the command line offers, what the docs list and what the tests go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from uncertainty_loss.losses._module import LossModule
from uncertainty_loss.losses.evidential import (
    EvidentialDigammaLoss,
    EvidentialLogLoss,
    EvidentialLoss,
    evidential_digamma_loss,
    evidential_log_loss,
    evidential_loss,
)
from uncertainty_loss.losses.information import InformationLoss, information_loss
from uncertainty_loss.losses.maxnorm import MaxNormLoss, maxnorm_loss
from uncertainty_loss.losses.posterior import BeliefMatchingLoss, UCELoss, belief_matching_loss, uce_loss
from uncertainty_loss.losses.prior_network import PriorNetworkLoss, prior_network_loss
from uncertainty_loss.losses.relaxed import RelaxedLoss, relaxed_loss


@dataclass(frozen=True)
class Loss:
    """A loss and what a training loop has to know about it.

    Attributes:
        name: What the registry and the command line call it.
        function: Called as function(evidence, target, reg_factor), further options by name.
        module: The `nn.Module` form; `module(**options)` is `function`.
        summary: One line for people.
        source: The paper.
        prior: Added to the evidence: α = e + prior.
        default_reg: A sensible weight of the regulariser at the end of its annealing.
        evidence: The evidence function that suits it, a name for `get_evidence_function`.
        options: What `function` sets beside the defaults.
    """

    name: str
    function: Callable[..., Tensor]
    module: type[LossModule]
    summary: str
    source: str
    prior: float = 1.0
    default_reg: float = 0.01
    evidence: str = "clamped_exp"
    options: tuple[tuple[str, float], ...] = ()


_LOSSES = {
    loss.name: loss
    for loss in (
        Loss(
            name="evidential",
            function=evidential_loss,
            module=EvidentialLoss,
            summary="EDL: expected squared error; regulariser: KL to the uniform Dirichlet",
            source="Sensoy et al. 2018, arXiv 1806.01768",
        ),
        Loss(
            name="evidential-log",
            function=evidential_log_loss,
            module=EvidentialLogLoss,
            summary="EDL: cross-entropy of the expected probabilities, for many classes; regulariser: KL",
            source="Sensoy et al. 2018, arXiv 1806.01768",
        ),
        Loss(
            name="evidential-digamma",
            function=evidential_digamma_loss,
            module=EvidentialDigammaLoss,
            summary="EDL: expected cross-entropy; regulariser: KL to the uniform Dirichlet",
            source="Sensoy et al. 2018, arXiv 1806.01768",
        ),
        Loss(
            name="maxnorm",
            function=maxnorm_loss,
            module=MaxNormLoss,
            summary="bound of the expected largest error; regulariser: information term",
            source="Tsiligkaridis 2019, arXiv 1910.04819",
        ),
        Loss(
            name="i-edl",
            function=information_loss,
            module=InformationLoss,
            summary="I-EDL: squared error weighted by Fisher information; regulariser: KL",
            source="Deng et al. 2023, arXiv 2303.02045",
        ),
        Loss(
            name="r-edl",
            function=relaxed_loss,
            module=RelaxedLoss,
            summary="R-EDL: squared error of the expected probabilities; regulariser: KL to the prior",
            source="Chen et al. 2024, ICLR",
            prior=0.1,
        ),
        Loss(
            name="re-edl",
            function=partial(relaxed_loss, prior=0.8),
            module=RelaxedLoss,
            summary="Re-EDL: squared error of the expected probabilities, prior 0.8, no regulariser",
            source="Chen et al. 2024, arXiv 2410.00393",
            prior=0.8,
            default_reg=0.0,
            options=(("prior", 0.8),),
        ),
        Loss(
            name="uce",
            function=uce_loss,
            module=UCELoss,
            summary="posterior networks: expected cross-entropy; regulariser: negative entropy",
            source="Charpentier et al. 2020, arXiv 2006.09239",
            default_reg=1e-5,
        ),
        Loss(
            name="belief-matching",
            function=belief_matching_loss,
            module=BeliefMatchingLoss,
            summary="expected cross-entropy with evidence as parameters; regulariser: KL of all classes",
            source="Joo et al. 2020, arXiv 2002.07965",
            prior=0.0,
        ),
        Loss(
            name="prior-network",
            function=prior_network_loss,
            module=PriorNetworkLoss,
            summary="reverse KL to a sharp target Dirichlet; regulariser: KL to flat on given strange inputs",
            source="Malinin and Gales 2019, arXiv 1905.13472",
            default_reg=1.0,
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
