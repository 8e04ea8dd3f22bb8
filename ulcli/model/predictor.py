"""Which class, and how much evidence: the head's word and the density's, put together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

import uncertainty_loss as ul
from ulcli.errors import UserError
from ulcli.model.choices import EvidenceFrom
from ulcli.model.head import Head
from ulcli.network.linear import Linear
from uncertainty_loss import Familiarity, FeatureDensity, Moments


@dataclass(frozen=True)
class Predictions:
    """Dirichlet parameters of a batch, in double."""

    alpha: Tensor  # (N, K)
    prior: float
    head_alpha: Tensor  # (N, K): as the loss left it, without temperature, whatever the evidence comes from
    typicality: Tensor  # (N,): share of familiar images that are at least as strange

    @property
    def vacuity(self) -> Tensor:
        """Lack of evidence, (N,), which flags are set by."""
        return ul.vacuity(self.alpha, prior=self.prior)


@dataclass(frozen=True)
class Predictor:
    """From features to Dirichlet parameters.

    The losses set the amount of evidence by their hyper-parameters; only the features know how much of the like was
    seen. So the head says which class, by the calibrated shares p of its evidence, and the density how much evidence,
    m comparable training images: alpha = 1 + K m p, vacuity 1 / (1 + m) (the form of natural posterior networks,
    arXiv 2105.04471).
    """

    head: Head
    baseline: Linear  # the cross-entropy classifier on the same features
    density: FeatureDensity
    familiarity: Familiarity
    images: int  # how many the density was fitted on
    fading: float  # typicality below which evidence fades with its square
    evidence_from: EvidenceFrom = EvidenceFrom.DENSITY

    @classmethod
    def fit(
        cls,
        head: Head,
        baseline: Linear,
        moments: Moments,
        features: Tensor,
        embedding: Tensor,
        labels: Tensor,
        *,
        fading: float,
        evidence_from: EvidenceFrom,
    ) -> Predictor:
        """Make one from a fitted head, the moments of the training images, and validation images with their labels."""
        if len(features) < 3:
            raise UserError(f"{len(features)} validation images are too few to calibrate anything; give many more")
        density = FeatureDensity.fit(moments)
        signs = _signs(density, baseline, features, embedding)
        familiarity = Familiarity.fit(signs)
        typicality = familiarity.typicality(familiarity.score(signs))  # no temperature changes it
        images = int(moments.counts.sum())
        raw = cls(head, baseline, density, familiarity, images, fading, evidence_from)

        def expected(candidate: Head) -> Tensor:
            return ul.expected_probability(replace(raw, head=candidate).predict(features, typicality).alpha)

        return replace(raw, head=head.calibrated(features, labels, expected))

    def __call__(self, features: Tensor, embedding: Tensor) -> Predictions:
        """Predictions for features (N, D) and embeddings (N, E)."""
        signs = _signs(self.density, self.baseline, features, embedding)
        return self.predict(features, self.familiarity.typicality(self.familiarity.score(signs)))

    def uncalibrated(self) -> Predictor:
        """The same with temperature 1."""
        return replace(self, head=replace(self.head, temperature=1.0))

    def predict(self, features: Tensor, typicality: Tensor) -> Predictions:
        """Predictions for features (N, D) of images whose typicality (N,) is known already."""
        raw = replace(self.head, temperature=1.0).alpha(features)
        if self.evidence_from is EvidenceFrom.HEAD:
            return Predictions(self.head.alpha(features), self.head.prior, raw, typicality)
        count = self.familiarity.comparable_images(typicality, self.images, self.fading)
        evidence = raw.shape[1] * count[:, None] * self.head.shares(features)
        return Predictions(1 + evidence, 1.0, raw, typicality)


def _signs(density: FeatureDensity, baseline: Linear, features: Tensor, embedding: Tensor) -> Tensor:
    distance, relative = density.score(embedding)
    energy = -baseline(features).logsumexp(1)
    return torch.stack([distance, relative, energy], 1)
