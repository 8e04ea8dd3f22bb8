"""The evidential head: from features to evidence for each class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import uncertainty_loss as ul
from ulcli.network.linear import Linear


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
        """Give each class's share of the evidence, shape (N, K), in double: which class, whatever the amount."""
        if self.evidence == "clamped_exp":
            # Shares of an exponential do not depend on its level. With the clamp, outputs beyond it would tie.
            return (self.linear(features) / self.temperature).softmax(1)
        # No evidence at all, which relu can give, counts as the same for every class.
        evidence = self._evidence_of(self.linear(features)) + 1e-12
        return evidence / evidence.sum(1, keepdim=True)

    def calibrated(self, features: Tensor, labels: Tensor, expected: Callable[[Head], Tensor]) -> Head:
        """Fit the temperature that makes this head's confidence on labelled validation features (N, D) likeliest.

        `expected` gives the probabilities (N, K) that are to fit, from a head with another temperature. What has to
        come true is the confidence: that the prediction is right, as often as it says. The likelihood of the labels
        would also weigh how the rest is shared among the other classes, and where a loss shares it badly (max-norm is
        no proper scoring rule) no temperature suits both (the reduction of arXiv 2411.02988).
        """
        predicted = self.linear(features).argmax(1)
        right = predicted == labels
        if bool(right.all()):
            return self  # nothing was wrong: how much confidence would be too much cannot be seen

        def wrong_or_right(temperature: float) -> Tensor:
            p = expected(replace(self, temperature=temperature))
            confidence = p.gather(1, predicted[:, None])
            # 1 - confidence would have lost the digits that count.
            doubt = p.scatter(1, predicted[:, None], 0.0).sum(1, keepdim=True)
            return torch.cat([doubt, confidence], 1).log()

        return replace(self, temperature=ul.fit_temperature(wrong_or_right, right.long()))

    def _evidence_of(self, outputs: Tensor) -> Tensor:
        # Inside the evidence function, so that outputs beyond a clamp, which still rank the classes, come back.
        return ul.get_evidence_function(self.evidence)(outputs / self.temperature)
