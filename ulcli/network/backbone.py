"""A frozen network, taken apart into features and the classifier that reads them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ulcli.data.imageset import hash_parts
from ulcli.errors import UserError
from ulcli.network.linear import Linear

if TYPE_CHECKING:
    from torch import Tensor, nn


# Layers that the familiarity of an image is read from: the last ones at each of this many spatial resolutions.
_MOST_TAPS = 4
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
        final, calls = _watch(network, shape, arch)
        return cls(arch, num_classes, network, _classifier_name(final, calls), _tap_names(final, calls))

    def __call__(self, images: Tensor) -> Activations:
        """One pass of images of shape (N, channels, height, width)."""
        import torch

        from uncertainty_loss import embed, pool_map

        pooled: dict[str, Tensor] = {}
        seen: list[Tensor] = []
        with torch.inference_mode(), ExitStack() as hooks:
            for name in self.taps:
                module = self.network.get_submodule(name)
                # Pooled on the spot: a batch's whole activations would be hundreds of megabytes.
                hook = module.register_forward_hook(
                    lambda _, __, output, name=name: pooled.update({name: pool_map(_channels_first(output))})
                )
                hooks.callback(hook.remove)
            if self._classifier is not None:
                hook = self._classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
                hooks.callback(hook.remove)
            output = _logits(self.network(images), self.arch)
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


class _Call(NamedTuple):
    """One module at work."""

    name: str
    module: Any
    input: Any
    output: Any


def _watch(network: nn.Module, shape: tuple[int, int, int], arch: str) -> tuple[Tensor, list[_Call]]:
    """The logits of two random images, and what every module took and gave, in the order in which they finished."""
    import torch

    # Not zeros: they would make layers agree that do not.
    probe = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    calls: list[_Call] = []

    def watcher(name: str) -> Any:
        return lambda module, inputs, output: calls.append(_Call(name, module, inputs[0] if inputs else None, output))

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(watcher(name)).remove)
        try:
            with torch.inference_mode():
                return _logits(network(probe), arch), calls
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"'{arch}' does not take images of {_size(shape)}: {reason}; see --image-size and --grayscale"
            ) from None


def _classifier_name(final: Tensor, calls: list[_Call]) -> str | None:
    """The last linear layer that reads one vector an image and gives the network's output."""
    from torch import nn

    for call in reversed(calls):
        if not isinstance(call.module, nn.Linear) or call.input is None or call.input.dim() != 2:
            continue
        if call.output.shape == final.shape and _same_classifier(call.output, final):
            return str(call.name)
    return None


def _tap_names(final: Tensor, calls: list[_Call]) -> tuple[str, ...]:
    """The last module at each spatial resolution, for the deepest few; a rule that needs to know no network."""
    import torch

    # A module that works several times (one pooling layer for all) is read where it finishes last.
    finished = {call.name: position for position, call in enumerate(calls)}
    images = len(final)
    last: dict[tuple[int, ...], str] = {}
    for position, call in enumerate(calls):
        output = call.output
        if not isinstance(output, torch.Tensor) or output.dim() != 4 or finished[call.name] != position:
            continue
        # Windows of a transformer come in a batch of their own.
        size = _channels_first(output).shape[2:]
        if len(output) == images and size.numel() > 1 and not _enlarges(call):
            last[tuple(size)] = call.name
    return tuple(last.values())[-_MOST_TAPS:]


def _enlarges(call: _Call) -> bool:
    """Whether a module pads or repeats a map: the network sees nothing anew at such a resolution."""
    import torch

    if not isinstance(call.input, torch.Tensor) or call.input.dim() != 4:
        return False
    before, after = (_channels_first(each).shape[2:].numel() for each in (call.input, call.output))
    return bool(after > before)


def _channels_first(x: Tensor) -> Tensor:
    """Maps as (N, C, H, W). Transformers often keep the channels last; images are square, and so are their maps."""
    return x.movedim(3, 1) if x.shape[1] == x.shape[2] != x.shape[3] else x


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


def _bytes_of(tensor: Tensor) -> np.ndarray:
    """A tensor of any dtype as bytes (NumPy has no bfloat16)."""
    import torch

    flat: np.ndarray = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return flat


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{height} x {width} pixels and {channels} channel{'s' if channels > 1 else ''}"
