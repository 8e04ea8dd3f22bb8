"""Dirichlet (evidential) losses for PyTorch in place of cross-entropy."""

from uncertainty_loss.evidence import clamped_exp
from uncertainty_loss.losses.evidential import evidential_loss
from uncertainty_loss.losses.maxnorm import maxnorm_loss
from uncertainty_loss.losses.registry import Loss, get_loss, loss_names

__all__ = ["Loss", "clamped_exp", "evidential_loss", "get_loss", "loss_names", "maxnorm_loss"]
