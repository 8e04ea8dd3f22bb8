"""The evidential head: from features to evidence for each class."""

from __future__ import annotations

from collections.abc import Callable
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
        if self.evidence == "clamped_exp":
            # Shares of an exponential do not depend on its level. With the clamp, outputs beyond it would tie.
            return (self.linear(features) / self.temperature).softmax(1)
        # No evidence at all, which relu can give, counts as the same for every class.
        evidence = self._evidence_of(self.linear(features)) + 1e-12
        return evidence / evidence.sum(1, keepdim=True)

    def calibrated(self, features: Tensor, labels: Tensor, expected: Callable[[Head], Tensor]) -> Head:
        """This head with the temperature that suits labelled validation features (N, D) best.

        `expected` gives the probabilities (N, K) that are to fit, from a head with another temperature.
        """
        import uncertainty_loss as ul

        if bool((self.linear(features).argmax(1) == labels).all()):
            return self  # nothing was wrong: how much confidence would be too much cannot be seen
        temperature = ul.fit_temperature(lambda t: expected(replace(self, temperature=t)).log(), labels)
        return replace(self, temperature=temperature)

    def _evidence_of(self, outputs: Tensor) -> Tensor:
        import uncertainty_loss as ul

        # Inside the evidence function, so that outputs beyond a clamp, which still rank the classes, come back.
        return ul.get_evidence_function(self.evidence)(outputs / self.temperature)
