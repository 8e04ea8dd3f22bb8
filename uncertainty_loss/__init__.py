"""Dirichlet (evidential) losses for PyTorch, in place of cross-entropy."""

from uncertainty_loss._checks import check_evidence
from uncertainty_loss.evidence import (
    alpha_to_evidence,
    alpha_to_proba,
    clamped_exp,
    evidence_function_names,
    evidence_to_alpha,
    evidence_to_proba,
    get_evidence_function,
    relu,
    soft_clamped_exp,
    softplus,
)
from uncertainty_loss.losses.evidential import (
    EvidentialDigammaLoss,
    EvidentialLogLoss,
    EvidentialLoss,
    dirichlet_mse_loss,
    evidential_digamma_loss,
    evidential_log_loss,
    evidential_loss,
)
from uncertainty_loss.losses.information import InformationLoss, information_loss
from uncertainty_loss.losses.maxnorm import MaxNormLoss, dirichlet_pnorm_loss, maxnorm_loss
from uncertainty_loss.losses.posterior import BeliefMatchingLoss, UCELoss, belief_matching_loss, uce_loss
from uncertainty_loss.losses.prior_network import PriorNetworkLoss, prior_network_loss
from uncertainty_loss.losses.registry import Loss, get_loss, loss_names
from uncertainty_loss.losses.relaxed import RelaxedLoss, relaxed_loss
from uncertainty_loss.regularizers import (
    dirichlet_fisher_regularizer,
    dirichlet_fisher_regulizer,
    uniform_dirichlet_kl,
)
from uncertainty_loss.schedules import ConstantSchedule, CosineSchedule, LinearSchedule

__all__ = [
    "BeliefMatchingLoss",
    "ConstantSchedule",
    "CosineSchedule",
    "EvidentialDigammaLoss",
    "EvidentialLogLoss",
    "EvidentialLoss",
    "InformationLoss",
    "LinearSchedule",
    "Loss",
    "MaxNormLoss",
    "PriorNetworkLoss",
    "RelaxedLoss",
    "UCELoss",
    "alpha_to_evidence",
    "alpha_to_proba",
    "belief_matching_loss",
    "check_evidence",
    "clamped_exp",
    "dirichlet_fisher_regularizer",
    "dirichlet_fisher_regulizer",
    "dirichlet_mse_loss",
    "dirichlet_pnorm_loss",
    "evidence_function_names",
    "evidence_to_alpha",
    "evidence_to_proba",
    "evidential_digamma_loss",
    "evidential_log_loss",
    "evidential_loss",
    "get_evidence_function",
    "get_loss",
    "information_loss",
    "loss_names",
    "maxnorm_loss",
    "prior_network_loss",
    "relaxed_loss",
    "relu",
    "soft_clamped_exp",
    "softplus",
    "uce_loss",
    "uniform_dirichlet_kl",
]
