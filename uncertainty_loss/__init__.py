"""Dirichlet (evidential) losses for PyTorch in place of cross-entropy."""

from uncertainty_loss.calibration import conformal_threshold
from uncertainty_loss.dirichlet import (
    belief,
    differential_entropy,
    dissonance,
    expected_entropy,
    expected_probability,
    mutual_information,
    predictive_entropy,
    vacuity,
)
from uncertainty_loss.evidence import clamped_exp
from uncertainty_loss.losses.evidential import evidential_loss
from uncertainty_loss.losses.maxnorm import maxnorm_loss
from uncertainty_loss.losses.registry import Loss, get_loss, loss_names

__all__ = [
    "Loss",
    "belief",
    "clamped_exp",
    "conformal_threshold",
    "differential_entropy",
    "dissonance",
    "evidential_loss",
    "expected_entropy",
    "expected_probability",
    "get_loss",
    "loss_names",
    "maxnorm_loss",
    "mutual_information",
    "predictive_entropy",
    "vacuity",
]
