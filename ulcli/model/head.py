"""The evidential head: from features to Dirichlet parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ulcli.model.linear import Linear

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Head:
    """alpha = evidence(linear(features) / temperature) + prior."""

    linear: Linear
    evidence: str  # a name for `uncertainty_loss.get_evidence_function`
    prior: float
    temperature: float = 1.0

    def alpha(self, features: Tensor) -> Tensor:
        """Dirichlet parameters of shape (N, K), in double."""
        return self._alpha_of(self.linear(features), self.temperature)

    def calibrated(self, features: Tensor, labels: Tensor) -> Head:
        """The same head with the temperature that suits labelled validation features (N, D) best."""
        import uncertainty_loss as ul

        outputs = self.linear(features)

        def log_probability(temperature: float) -> Tensor:
            return ul.expected_probability(self._alpha_of(outputs, temperature)).log()

        predicted = self._alpha_of(outputs, 1.0).argmax(1)
        if bool((predicted == labels).all()):
            return self  # nothing was wrong: how much confidence would be too much cannot be seen
        return replace(self, temperature=ul.fit_temperature(log_probability, labels))

    def _alpha_of(self, outputs: Tensor, temperature: float) -> Tensor:
        import uncertainty_loss as ul

        evidence: Tensor = ul.get_evidence_function(self.evidence)(outputs / temperature)
        return evidence + self.prior
