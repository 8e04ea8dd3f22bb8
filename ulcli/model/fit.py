"""Fitting a linear layer on features that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

import uncertainty_loss as ul
from ulcli.data.splits import stratified_parts
from ulcli.errors import UserError
from ulcli.network.features import LabelledFeatures
from ulcli.network.linear import Linear
from ulcli.reporting import Reporter
from uncertainty_loss import Loss

# (logits, target, progress of the annealing in [0, 1]) -> mean loss
Objective = Callable[["Tensor", "Tensor", float], "Tensor"]


@dataclass(frozen=True)
class Recipe:
    """How a linear layer is fitted; the same for every data set and network."""

    epochs: int = 60
    patience: int = 10  # epochs without a better validation loss before the fit stops
    batch_size: int = 256
    learning_rate: float = 3e-3  # on standardised features
    weight_decay: float = 1e-4
    anneal: float = 0.2  # share of the epochs over which the regulariser's weight grows to its full value
    validation: float = 0.1  # share of the training rows that only watch


@dataclass(frozen=True)
class Fitted:
    """A fitted layer and how the fit went."""

    linear: Linear
    epochs: int


def cross_entropy_objective() -> Objective:
    """Plain cross-entropy, for a classifier to compare with where the checkpoint brings none."""
    return lambda logits, target, _: F.cross_entropy(logits, target)


def evidential_objective(loss: Loss, reg_factor: float) -> Objective:
    """A Dirichlet loss on the evidence of the logits, its regulariser annealed up to `reg_factor`."""
    evidence = ul.get_evidence_function(loss.evidence)
    return lambda logits, target, progress: loss.function(evidence(logits), target, reg_factor * progress)


def fit_linear(
    features: LabelledFeatures,
    start: Linear,
    objective: Objective,
    *,
    seed: int,
    reporter: Reporter,
    what: str,
    recipe: Recipe | None = None,
) -> Fitted:
    """Minimise the objective over a linear layer, from `start`, with Adam and early stopping.

    A tenth of the rows take no part in the steps: the loss on them, at the full weight of the regulariser (while it
    grows, later epochs would look worse for no other reason), decides which epoch is kept. So the set that later
    calibrates the model stays untouched. The same seed and thread count give the same weights to the bit.
    """
    recipe = recipe or Recipe()
    random = torch.Generator().manual_seed(seed)
    fitting, watching = _divide(features.labels, recipe.validation)
    scale = Standardiser.of(features.values[fitting])
    x, y = scale(features.values[fitting]), features.labels[fitting]
    x_watch, y_watch = scale(features.values[watching]), features.labels[watching]
    first = scale.absorb(start)
    weight, bias = first.weight.clone().requires_grad_(), first.bias.clone().requires_grad_()
    # Few images: smaller batches, so that an epoch still has steps enough to learn in.
    batch = min(recipe.batch_size, max(16, len(x) // 20))
    optimizer = torch.optim.AdamW([weight, bias], lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    annealing = max(1, round(recipe.anneal * recipe.epochs))

    def watched_loss() -> float:
        with torch.no_grad():
            return float(objective(x_watch @ weight.T + bias, y_watch, 1.0))

    best, best_loss, best_epoch = (weight.detach().clone(), bias.detach().clone()), watched_loss(), 0
    epoch = 0
    with reporter.track(what, recipe.epochs) as advance:
        for epoch in range(1, recipe.epochs + 1):
            progress = min(1.0, epoch / annealing)
            for rows in torch.randperm(len(x), generator=random).split(batch):  # type: ignore[no-untyped-call]
                optimizer.zero_grad(set_to_none=True)
                objective(x[rows] @ weight.T + bias, y[rows], progress).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            schedule.step()
            advance(1)
            loss = watched_loss()
            if loss < best_loss:
                best, best_loss, best_epoch = (weight.detach().clone(), bias.detach().clone()), loss, epoch
            # While the regulariser grows the fit is still on its way.
            if epoch - max(best_epoch, annealing) >= recipe.patience or math.isnan(loss):
                break
        advance(recipe.epochs - epoch)
    if not math.isfinite(best_loss):
        raise UserError(f"{what} failed: its loss is not finite; check --reg-factor and the checkpoint")
    return Fitted(scale.restore(Linear(*best)), epoch)


@dataclass(frozen=True)
class Standardiser:
    """Features with mean 0 and variance 1: one learning rate then fits every network."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardiser:
        """Make one from rows; a feature that never changes keeps its scale."""
        std = features.double().std(0, correction=0)
        flat = std <= 1e-6 * max(float(std.max()), 1e-30)
        std[flat] = 1.0
        return cls(features.double().mean(0).float(), std.float())

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std

    def absorb(self, linear: Linear) -> Linear:
        """Make the layer that does on standardised features what `linear` does on raw ones."""
        return Linear(linear.weight * self.std, linear.bias + linear.weight @ self.mean)

    def restore(self, linear: Linear) -> Linear:
        """The inverse of `absorb`."""
        weight = linear.weight / self.std
        return Linear(weight, linear.bias - weight @ self.mean)


def _divide(labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Rows to fit on and rows to watch, each class in proportion; of a tiny set every row does both."""
    parts = stratified_parts(labels.numpy(), {"fit": 1 - share, "watch": share})
    fit, watch = torch.from_numpy(parts["fit"]), torch.from_numpy(parts["watch"])
    return (fit, watch) if len(watch) and len(fit) else (torch.arange(len(labels)), torch.arange(len(labels)))


def best_affine_start(classifier: Linear, features: LabelledFeatures, objective: Objective, rows: int = 4096) -> Linear:
    """Stretch and shift the logits of a cross-entropy classifier to where an evidential loss can start from.

    Cross-entropy sees only differences of logits; evidence depends on their level too. Logits of +-30, which
    trained networks give, would start beyond every clamp, where gradients vanish. So they are centred (the softmax
    does not change) and the best of a coarse grid of scales and shifts is taken, by the objective itself.
    """
    weight = classifier.weight - classifier.weight.mean(0)
    bias = classifier.bias - classifier.bias.mean()
    sample = torch.linspace(0, len(features) - 1, min(rows, len(features))).round().long()
    logits, target = features.values[sample] @ weight.T + bias, features.labels[sample]

    def loss(scale: float, shift: float) -> float:
        with torch.no_grad():
            return float(objective(logits * scale + shift, target, 1.0))

    # A fresh classifier of zeros has no scale to choose.
    spread = float(logits.std(dim=1).mean()) or 1.0
    grid = [(level / spread, shift) for level in (0.25, 0.5, 1.0, 2.0, 3.0) for shift in range(-4, 5, 2)]
    scale, shift = min(grid, key=lambda point: loss(*point))
    return Linear(weight * scale, bias * scale + shift)
