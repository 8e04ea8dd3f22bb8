"""A frozen network, taken apart into features and the classifier that reads them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ulcli.data.imageset import hash_parts
from ulcli.network.calls import logits_of, watch
from ulcli.network.heads import classifier_name
from ulcli.network.linear import Linear
from ulcli.network.taps import channels_first, tap_names
from uncertainty_loss import embed, pool_map

# Most dimensions that a tap, and the features themselves, take in the embedding. A covariance holds the square of
# their sum, and scoring multiplies by it: with these bounds at most 37 MB, and below a hundredth of a ResNet18.
_TAP_LIMIT, _FEATURE_LIMIT = 512, 1024

NOT_FINITE = "the network's output is not finite"  # what is wrong with the other images


class Activations(NamedTuple):
    """What one pass through a network leaves, float32 on the CPU."""

    features: Tensor  # (N, D): what the classifier reads
    embedding: Tensor  # (N, E): features and earlier layers as `uncertainty_loss.embed` puts them side by side

    @property
    def finite(self) -> Tensor:
        """Of which images (N,) the network made numbers, rather than NaN or infinity somewhere."""
        return self.features.isfinite().all(1) & self.embedding.isfinite().all(1)


@dataclass
class Backbone:
    """A network whose features are what enters its last linear layer.

    `head` is that layer's name in the network, or None where there is none to be found (a convolution as the
    classifier, a layer after it that is no softmax): then the network's outputs serve as features. `taps` are the
    layers whose pooled outputs the embedding holds besides.
    """

    arch: str
    num_classes: int | None  # what the network was built with, where that is not its default
    network: nn.Module
    head: str | None
    taps: tuple[str, ...]

    @classmethod
    def take_apart(
        cls, arch: str, num_classes: int | None, network: nn.Module, shape: tuple[int, int, int]
    ) -> Backbone:
        """Find head and taps by watching two images of `shape` (channels, height, width) pass through a network."""
        network.eval().requires_grad_(False)
        final, calls = watch(network, shape, arch)
        return cls(arch, num_classes, network, classifier_name(final, calls), tap_names(final, calls))

    def __call__(self, images: Tensor) -> Activations:
        """One pass of images of shape (N, channels, height, width)."""
        pooled: dict[str, Tensor] = {}
        seen: list[Tensor] = []
        with torch.inference_mode(), ExitStack() as hooks:
            for name in self.taps:
                module = self.network.get_submodule(name)
                # Pooled on the spot: a batch's whole activations would be hundreds of megabytes.
                hook = module.register_forward_hook(
                    lambda _, __, output, name=name: pooled.update({name: pool_map(channels_first(output))})
                )
                hooks.callback(hook.remove)
            if self._classifier is not None:
                hook = self._classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
                hooks.callback(hook.remove)
            output = logits_of(self.network(images), self.arch)
            features = seen[-1] if seen else output
            taps = [embed([pooled[name]], _TAP_LIMIT) for name in self.taps]
            embedding = torch.cat([*taps, embed([features], _FEATURE_LIMIT)], 1)
        return Activations(features.float().cpu(), embedding.cpu())

    def own_classifier(self) -> Linear | None:
        """The checkpoint's own classifier, as it reads the features."""
        if self._classifier is None:
            return None
        weight: Tensor = self._classifier.weight.detach().float().cpu()
        bias = self._classifier.bias
        zeros = weight.new_zeros(weight.shape[0])
        return Linear(weight.clone(), zeros if bias is None else bias.detach().float().cpu().clone())

    def digest(self) -> str:
        """A hash of the architecture and every weight."""
        state = self.network.state_dict()
        arrays: list[Any] = [_bytes_of(state[key]) for key in sorted(state)]
        return hash_parts(self.arch, str(self.head), str(self.taps), *sorted(state), *arrays)

    @property
    def _classifier(self) -> Any:
        return None if self.head is None else self.network.get_submodule(self.head)


def _bytes_of(tensor: Tensor) -> np.ndarray:
    """A tensor of any dtype as bytes (NumPy has no bfloat16)."""
    flat: np.ndarray = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat
