"""The evidential head: from features to evidence for each class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ulcli.model.linear import Linear

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Head:
    """evidence(linear(features) / temperature), and what follows from it."""

    linear: Linear
    evidence: str  # a name for `uncertainty_loss.get_evidence_function`
    prior: float  # the loss's: alpha = evidence + prior
    temperature: float = 1.0

    def alpha(self, features: Tensor) -> Tensor:
        """The loss's own Dirichlet parameters of shape (N, K), in double."""
        return self._evidence_of(self.linear(features)) + self.prior

    def shares(self, features: Tensor) -> Tensor:
        """What share of the evidence each class has, shape (N, K), in double: which class, whatever the amount."""
        return _shares(self._evidence_of(self.linear(features)))

    def with_calibrated_alpha(self, features: Tensor, labels: Tensor) -> Head:
        """The temperature by which the mean of `alpha` fits labelled validation features (N, D) best."""
        return self._calibrated(features, labels, self.prior)

    def with_calibrated_shares(self, features: Tensor, labels: Tensor) -> Head:
        """The temperature by which `shares` fit labelled validation features (N, D) best."""
        return self._calibrated(features, labels, 0.0)

    def _calibrated(self, features: Tensor, labels: Tensor, prior: float) -> Head:
        import uncertainty_loss as ul

        outputs = self.linear(features)
        if bool((outputs.argmax(1) == labels).all()):
            return self  # nothing was wrong: how much confidence would be too much cannot be seen

        def log_probability(temperature: float) -> Tensor:
            return _shares(replace(self, temperature=temperature)._evidence_of(outputs) + prior).log()

        return replace(self, temperature=ul.fit_temperature(log_probability, labels))

    def _evidence_of(self, outputs: Tensor) -> Tensor:
        import uncertainty_loss as ul

        # Inside the evidence function, so that outputs beyond a clamp, which still rank the classes, come back.
        return ul.get_evidence_function(self.evidence)(outputs / self.temperature)


def _shares(evidence: Tensor) -> Tensor:
    # No evidence at all, which relu can give, counts as the same for every class.
    evidence = evidence + 1e-12
    return evidence / evidence.sum(1, keepdim=True)
