"""One family of losses a file; `registry` knows them by name."""

from uncertainty_loss.losses.evidential import evidential_loss
from uncertainty_loss.losses.maxnorm import maxnorm_loss
from uncertainty_loss.losses.registry import Loss, get_loss, loss_names

__all__ = ["Loss", "evidential_loss", "get_loss", "loss_names", "maxnorm_loss"]
