"""How familiar a feature vector is: one Gaussian a class, one covariance for all of them, fitted in one stream.

The losses of this package set evidence by their hyper-parameters, not by how much was seen (docs/theory.md). What
was seen is in the features: `Moments` collects what a Gaussian needs from batches of them, `FeatureDensity` turns
that into distances. Feed it what `embed` makes of raw features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_CHUNK = 2**20  # features that are scored at a time: in double, and several times over, a whole set takes gigabytes


def pool_map(activation: Tensor) -> Tensor:
    """What a convolutional layer's output says of a whole image: six figures a channel.

    Means of the four quadrants, which keep some of the layout, and the standard deviation and the maximum over all
    positions, which noise and flat areas change first.

    Args:
        activation: Shape (N, C, H, W), any floating dtype.

    Returns:
        Shape (N, 6 C), in the dtype of the activation.

    Example:
        >>> pool_map(torch.ones(2, 3, 8, 8)).shape
        torch.Size([2, 18])
    """
    if activation.dtype in (torch.float16, torch.bfloat16):
        return pool_map(activation.float()).to(activation.dtype)  # squares would overflow, and differences cancel
    flat = activation.flatten(2)
    quadrants = torch.nn.functional.adaptive_avg_pool2d(activation, 2).flatten(1)
    mean = flat.mean(2)
    # torch.std over the positions takes five to ten times as long as a norm does on a CPU.
    mean_square = torch.linalg.vector_norm(flat, dim=2).square() / flat.shape[2]
    deviation = (mean_square - mean.square()).clamp_min(0).sqrt()
    return torch.cat([quadrants, deviation, flat.amax(2)], 1)


def embed(blocks: Sequence[Tensor], limit: int | None = None) -> Tensor:
    """Direction and log-length of every block of features, side by side.

    A network's layers have no unit of measure in common. A block's direction has none at all, and in the logarithm
    of its length a unit is only a shift, which a covariance does not see; so nothing has to be weighted.

    Args:
        blocks: Features of the same images, shapes (N, D_1), (N, D_2), ...
        limit: Most dimensions of a direction. Wider ones are summed in groups after a fixed shuffle and fixed
            random signs, which keeps angles on average (a random projection that needs no matrix; Charikar et al.
            2002 call it a count sketch).

    Returns:
        Shape (N, sum of min(D_b, limit) + number of blocks), float32.

    Example:
        >>> embed([torch.tensor([[3.0, 4.0]])])
        tensor([[0.6000, 0.8000, 1.6094]])
    """
    parts = []
    for block in blocks:
        length = block.float().norm(dim=1, keepdim=True).clamp_min(1e-12)
        direction = block.float() / length
        if limit is not None and direction.shape[1] > limit:
            direction = _sketch(direction, limit)
        parts += [direction, length.log()]
    return torch.cat(parts, 1)


class Moments:
    """Counts, sums and products of embedded features by class: all that a `FeatureDensity` is made of.

    Batches come in any size and order; the features themselves are not kept. Sums are in double; products of a batch
    are in single precision, about the mean of each class in the first batch that has it: about one mean for all,
    classes that lie far apart would leave nothing but rounding errors of the spread within them.

    Args:
        num_classes: K; labels lie in 0..K-1.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.shift: Tensor | None = None  # (K, D), near the class means
        self.counts = torch.zeros(num_classes, dtype=torch.float64)
        self.sums = torch.zeros(num_classes, 0, dtype=torch.float64)  # (K, D)
        self.products = torch.zeros(0, 0, dtype=torch.float64)  # (D, D)

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in a batch.

        Args:
            features: Shape (N, D), from `embed`.
            labels: Shape (N,), class indices.

        Raises:
            ValueError: The shapes do not fit each other, or the batches before.
        """
        if features.dim() != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"expected features (N, D) and labels (N,), got {tuple(features.shape)} and {tuple(labels.shape)}"
            )
        if not len(features):
            return
        size = features.shape[1]
        if self.shift is None:
            self.shift = torch.zeros(self.num_classes, size)
            self.sums = torch.zeros(self.num_classes, size, dtype=torch.float64)
            self.products = torch.zeros(size, size, dtype=torch.float64)
        if size != self.shift.shape[1]:
            raise ValueError(f"expected {self.shift.shape[1]} features as in the batches before, got {size}")
        counts = torch.bincount(labels, minlength=self.num_classes)
        new = (self.counts == 0) & (counts > 0)
        if new.any():
            sums = torch.zeros(self.num_classes, size).index_add_(0, labels, features.float())
            self.shift[new] = sums[new] / counts[new, None]
        centred = features.float() - self.shift[labels]
        self.counts += counts
        self.sums.index_add_(0, labels, centred.double())
        self.products += centred.T @ centred

    def state_dict(self) -> dict[str, Any]:
        """Tensors that `from_state_dict` restores."""
        return {"shift": self.shift, "counts": self.counts, "sums": self.sums, "products": self.products}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Moments:
        """The inverse of `state_dict`."""
        moments = cls(len(state["counts"]))
        moments.shift, moments.counts = state["shift"], state["counts"]
        moments.sums, moments.products = state["sums"], state["products"]
        return moments


class FeatureDensity:
    """Distances of feature vectors from the training data, in units of its own spread.

    With class means m_c, their overall mean m, within-class covariance W (shrunk, see below) and between-class
    covariance B:

        distance(x) = min_c (x - m_c)' W^-1 (x - m_c)
        relative(x) = distance(x) - (x - m)' (W + B)^-1 (x - m)

    `distance` says how unlike every class x is (Lee et al. 2018, arXiv 1807.03888); `relative` says how much less
    x is like its nearest class than like images at large (Ren et al. 2021, arXiv 2106.09022), which sees what lies
    between known classes. W is shrunk towards a multiple of the identity by the oracle-approximating rule (Chen et
    al. 2010, arXiv 0907.4698), so that fewer images than features will do. Both use one whitening by W: shrinking
    W and W + B each on its own would make their difference meaningless.
    """

    def __init__(self, centre: Tensor, whiten: Tensor, axes: Tensor, means: Tensor, between: Tensor) -> None:
        # Kept in single precision, used in double: thousands of terms add up in a distance, and single precision
        # would add them up in another way for every size of batch.
        self.centre = centre.double()  # (D,), the overall mean
        self.whiten = whiten.double()  # (D, D): (x - centre) @ whiten has within-class covariance 1
        self.axes = axes.double()  # (D, r): where class means differ, r <= K - 1
        self.means = means.double()  # (K', r): class means in those axes, of the classes that were seen
        self.between = between.double()  # (r,): between-class variance along them

    @classmethod
    def fit(cls, moments: Moments) -> FeatureDensity:
        """The density of everything that `moments` took in.

        Raises:
            ValueError: Nothing was taken in, or features that are not finite.
        """
        if moments.shift is None:
            raise ValueError("expected moments of at least one batch")
        total = moments.counts.sum()
        seen = moments.counts > 0
        offsets = moments.sums[seen] / moments.counts[seen, None]
        means = moments.shift[seen] + offsets
        share = moments.counts[seen] / total
        centre = (share @ means).float()
        factor = _cholesky(_shrink(moments.products / total - (offsets.T * share) @ offsets, int(total)))
        identity = torch.eye(len(factor), dtype=torch.float64)
        whiten = torch.linalg.solve_triangular(factor, identity, upper=False).T
        whitened = (means - centre) @ whiten
        variances, axes = _principal_axes(whitened, share)
        # Rounded as it is stored, so that a model gives the same before it is saved and after it is loaded.
        parts = (centre, whiten, axes, whitened @ axes, variances)
        return cls(*(part.float() for part in parts))

    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Distance and relative distance; higher is less familiar.

        Args:
            features: Shape (N, D), from `embed`.

        Returns:
            Two tensors of shape (N,), in double.

        Raises:
            ValueError: The features are not as wide as those that the density was fitted on.
        """
        if features.dim() != 2 or features.shape[1] != len(self.centre):
            raise ValueError(f"expected features (N, {len(self.centre)}), got {tuple(features.shape)}")
        parts = features.split(max(1, _CHUNK // max(1, len(self.centre))))  # type: ignore[no-untyped-call]
        distance, relative = zip(*map(self._score, parts), strict=True)
        return torch.cat(distance), torch.cat(relative)

    def _score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        whitened = (features.double() - self.centre) @ self.whiten
        along = whitened @ self.axes
        # Neither by |a|^2 - 2ab + |b|^2 nor by |whitened|^2 - |along|^2: far apart classes would make these cancel.
        nearest = torch.cdist(along, self.means, compute_mode="donot_use_mm_for_euclid_dist").square().amin(1)
        across = (whitened - along @ self.axes.T).square().sum(1)
        return across + nearest, nearest - along.square() @ (1 / (1 + self.between))

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors that `from_state_dict` restores."""
        return {name: getattr(self, name).float() for name in ("centre", "whiten", "axes", "means", "between")}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> FeatureDensity:
        """The inverse of `state_dict`; ValueError where the shapes do not fit together."""
        density = cls(**state)
        size, axes = density.axes.shape
        shapes = density.centre.shape, density.whiten.shape, density.means.shape[1:], density.between.shape
        if shapes != ((size,), (size, size), (axes,), (axes,)):
            raise ValueError(f"expected tensors that fit {size} features and {axes} axes, got {shapes}")
        return density


def _sketch(x: Tensor, size: int) -> Tensor:
    """Sum groups of shuffled, randomly signed columns."""
    # A hash of the column's number, and not torch's generator, whose numbers may change with its version: a model
    # file must mean the same tomorrow. One multiplication would not do, it leaves the signs in a pattern.
    hashed = torch.arange(1, x.shape[1] + 1, device=x.device)
    for _ in range(3):
        hashed = (hashed >> 16 ^ hashed) * 0x45D9F3B % 2**32
    signs = (1 - 2 * ((hashed >> 15) & 1)).to(x.dtype)
    group = hashed.argsort().argsort() % size
    return x.new_zeros(len(x), size).index_add_(1, group, x * signs)


def _shrink(covariance: Tensor, count: int) -> Tensor:
    """Oracle-approximating shrinkage (Chen et al. 2010, eq. 23) towards the mean variance times the identity."""
    size = len(covariance)
    trace, power = covariance.trace(), covariance.square().sum()
    excess = (count + 1 - 2 / size) * (power - trace.square() / size)
    # Where all features vary alike, or none does, there is nothing to weigh: then all is shrunk.
    weight = min(float(((1 - 2 / size) * power + trace.square()) / excess), 1.0) if excess > 0 else 1.0
    return (1 - weight) * covariance + weight * trace / size * torch.eye(size, dtype=covariance.dtype)


def _cholesky(covariance: Tensor) -> Tensor:
    """The lower factor of a covariance that rounding may have left without an inverse."""
    if not covariance.isfinite().all():
        raise ValueError("expected finite features")
    # What float32 features resolve; and where they do not vary at all, what keeps whitened ones finite.
    floor = float(torch.finfo(torch.float32).eps * covariance.diagonal().mean().clamp_min(1e-11))
    while True:
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(covariance + floor * torch.eye(len(covariance)))
        if not failed:
            return factor
        floor *= 10


def _principal_axes(means: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Variances and directions in which whitened class means (K', D) differ, through a K' x K' problem."""
    scaled = means * share.sqrt()[:, None]
    _, singular, right = torch.linalg.svd(scaled, full_matrices=False)
    rank = min(len(means) - 1, means.shape[1])
    return singular[:rank].square(), right[:rank].T
