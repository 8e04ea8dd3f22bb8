"""Warnings where the method is weak: what a user would otherwise have to know."""

from __future__ import annotations

from torch import Tensor

from ulcli.errors import shorten
from ulcli.model.choices import EvidenceFrom
from ulcli.model.predictor import Predictor
from ulcli.network.features import LabelledFeatures
from ulcli.reporting import Reporter

_FEW = 10  # images of a class below which its mean says little
_CLAMP = 10.0  # of `uncertainty_loss.clamped_exp`
_SATURATED = 0.1  # share of images with evidence at the clamp that is worth a warning
_FLAT = 2.0  # effective dimensions below which features count as collapsed
_SAMPLE = 10_000  # images are enough to see any of this


def warn_of_weakness(
    predictor: Predictor, features: LabelledFeatures, classes: tuple[str, ...], reporter: Reporter
) -> None:
    """Warn of what makes this model's uncertainty less trustworthy than usual."""
    counts = features.labels.bincount(minlength=len(classes)).tolist()
    few = [name for name, count in zip(classes, counts, strict=True) if count < _FEW]
    if few:
        reporter.warn(f"fewer than {_FEW} images of class {shorten(few)}: how familiar others are to it is a guess")
    sample = features.values[:: -(-len(features) // _SAMPLE)]
    if len(classes) > 2 and _effective_dimensions(sample) < _FLAT:
        reporter.warn(
            f"the features vary along one direction only, for {len(classes)} classes: a collapsed network makes "
            "strange images look familiar"
        )
    if predictor.evidence_from is EvidenceFrom.HEAD and predictor.head.evidence == "clamped_exp":
        outputs = predictor.head.linear(sample) / predictor.head.temperature
        share = float((outputs.amax(1) >= _CLAMP).double().mean())
        if share > _SATURATED:
            reporter.warn(
                f"the evidence of {100 * share:.0f}% of the training images is at its upper bound, where vacuity "
                "tells nothing apart; use --evidence-from density"
            )


def _effective_dimensions(features: Tensor) -> float:
    """Return the participation ratio of the variances along all directions: (sum v)^2 / sum v^2."""
    centred = (features - features.mean(0)).double()
    covariance = centred.T @ centred
    power = float(covariance.square().sum())
    return float(covariance.trace()) ** 2 / power if power > 0 else 0.0
