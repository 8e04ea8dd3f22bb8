"""Watch a network at work: what every module takes and gives."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ulcli.errors import UserError


class Call(NamedTuple):
    """One module at work."""

    name: str
    module: Any
    input: Any
    output: Any


def watch(network: nn.Module, shape: tuple[int, int, int], arch: str) -> tuple[Tensor, list[Call]]:
    """The logits of two random images, and what every module took and gave, in the order in which they finished."""
    # Not zeros: they would make layers agree that do not.
    probe = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    calls: list[Call] = []

    def watcher(name: str) -> Any:
        return lambda module, inputs, output: calls.append(Call(name, module, inputs[0] if inputs else None, output))

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(watcher(name)).remove)
        try:
            with torch.inference_mode():
                return logits_of(network(probe), arch), calls
        except (RuntimeError, ValueError, AssertionError, IndexError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"'{arch}' does not take images of {_size(shape)}: {reason}; see --image-size and --grayscale"
            ) from None


def logits_of(output: Any, arch: str) -> Tensor:
    """The (N, K) tensor in what a network gives: itself, the first of a tuple, or Hugging Face's `.logits`."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    output = getattr(output, "logits", output)
    if not isinstance(output, torch.Tensor) or output.dim() != 2:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UserError(f"'{arch}' is no image classifier: it gives {shape}, expected a tensor (batch, classes)")
    return output


def _size(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{height} x {width} pixels and {channels} channel{'s' if channels > 1 else ''}"
