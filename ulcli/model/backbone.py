"""A frozen network, taken apart into features and the classifier that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ulcli.data.imageset import hash_parts
from ulcli.errors import UserError
from ulcli.model.linear import Linear

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class Backbone:
    """A network whose features are what enters its last linear layer.

    `head` is that layer's name in the network, or None where there is none to be found (a convolution as the
    classifier, a layer after it that is no softmax): then the network's outputs serve as features.
    """

    arch: str
    num_classes: int | None  # what the network was built with, where that is not its default
    network: nn.Module
    head: str | None

    @classmethod
    def find_head(cls, arch: str, num_classes: int | None, network: nn.Module, shape: tuple[int, int, int]) -> Backbone:
        """Take a network apart by watching one image of `shape` (channels, height, width) pass through it."""
        network.eval().requires_grad_(False)
        return cls(arch, num_classes, network, _classifier_name(network, shape, arch))

    def features(self, images: Tensor) -> Tensor:
        """Features of shape (N, D), float32 on the CPU, of images of shape (N, channels, height, width)."""
        import torch

        with torch.inference_mode(), _inputs_of(self._classifier) as seen:
            output = _logits(self.network(images), self.arch)
        features = output if self._classifier is None else seen[-1]
        return features.float().cpu()

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
        return hash_parts(self.arch, str(self.head), *sorted(state), *arrays)

    @property
    def _classifier(self) -> Any:
        return None if self.head is None else self.network.get_submodule(self.head)


def _classifier_name(network: nn.Module, shape: tuple[int, int, int], arch: str) -> str | None:
    import torch
    from torch import nn

    # Not zeros: they would make layers agree that do not.
    probe = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    calls: list[tuple[str, Tensor, Tensor]] = []

    def watch(name: str) -> Any:
        return lambda module, inputs, output: calls.append((name, inputs[0], output))

    linears = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    handles = [module.register_forward_hook(watch(name)) for name, module in linears]
    try:
        with torch.inference_mode():
            final = _logits(network(probe), arch)
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"'{arch}' does not take images of {_size(shape)}: {reason}; see --image-size and --grayscale"
        ) from None
    finally:
        for handle in handles:
            handle.remove()
    for name, features, output in reversed(calls):
        if features.dim() == 2 and output.shape == final.shape and _same_classifier(output, final):
            return name
    return None


def _same_classifier(logits: Tensor, final: Tensor) -> bool:
    """Whether the network's output is these logits, or a softmax of them."""
    import torch

    candidates = (logits, logits.log_softmax(1), logits.softmax(1))
    return any(torch.allclose(candidate, final, rtol=1e-4, atol=1e-6) for candidate in candidates)


def _logits(output: Any, arch: str) -> Tensor:
    """The (N, K) tensor in what a network gives: itself, the first of a tuple, or Hugging Face's `.logits`."""
    import torch

    if isinstance(output, tuple | list) and output:
        output = output[0]
    output = getattr(output, "logits", output)
    if not isinstance(output, torch.Tensor) or output.dim() != 2:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UserError(f"'{arch}' is no image classifier: it gives {shape}, expected a tensor (batch, classes)")
    return output


@contextmanager
def _inputs_of(module: nn.Module | None) -> Iterator[list[Tensor]]:
    """Collects what enters a module while the block runs."""
    seen: list[Tensor] = []
    if module is None:
        yield seen
        return
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def _bytes_of(tensor: Tensor) -> np.ndarray:
    """A tensor of any dtype as bytes (NumPy has no bfloat16)."""
    import torch

    flat: np.ndarray = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{height} x {width} pixels and {channels} channel{'s' if channels > 1 else ''}"
