"""The evidential head: from features to Dirichlet parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ulcli.model.linear import Linear

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Head:
    """alpha = evidence(linear(features)) + prior."""

    linear: Linear
    evidence: str  # the name of an evidence function of `uncertainty_loss`
    prior: float

    def alpha(self, features: Tensor) -> Tensor:
        """Dirichlet parameters of shape (N, K), in double."""
        import uncertainty_loss as ul

        evidence: Tensor = ul.get_evidence_function(self.evidence)(self.linear(features))
        return evidence + self.prior
