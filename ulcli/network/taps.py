"""Find the layers that the familiarity of an image is read from."""

from __future__ import annotations

import torch
from torch import Tensor

from ulcli.network.calls import Call

# Taps are the last layers at each of this many spatial resolutions.
_MOST_TAPS = 4


def tap_names(final: Tensor, calls: list[Call]) -> tuple[str, ...]:
    """The last module at each spatial resolution, for the deepest few; a rule that needs to know no network."""
    # A module that works several times (one pooling layer for all) is read where it finishes last.
    finished = {call.name: position for position, call in enumerate(calls)}
    images = len(final)
    last: dict[tuple[int, ...], str] = {}
    for position, call in enumerate(calls):
        output = call.output
        if not isinstance(output, torch.Tensor) or output.dim() != 4 or finished[call.name] != position:
            continue
        # Windows of a transformer come in a batch of their own.
        size = channels_first(output).shape[2:]
        if len(output) == images and size.numel() > 1 and not _enlarges(call):
            last[tuple(size)] = call.name
    return tuple(last.values())[-_MOST_TAPS:]


def _enlarges(call: Call) -> bool:
    """Whether a module pads or repeats a map: the network sees nothing anew at such a resolution."""
    if not isinstance(call.input, torch.Tensor) or call.input.dim() != 4:
        return False
    before, after = (channels_first(each).shape[2:].numel() for each in (call.input, call.output))
    return bool(after > before)


def channels_first(x: Tensor) -> Tensor:
    """Maps as (N, C, H, W). Transformers often keep the channels last; images are square, and so are their maps."""
    return x.movedim(3, 1) if x.shape[1] == x.shape[2] != x.shape[3] else x
