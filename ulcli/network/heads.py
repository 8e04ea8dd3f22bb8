"""Find a network's classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ulcli.network.calls import Call


def classifier_name(final: Tensor, calls: list[Call]) -> str | None:
    """The last linear layer that reads one vector an image and gives the network's output."""
    for call in reversed(calls):
        if not isinstance(call.module, nn.Linear) or call.input is None or call.input.dim() != 2:
            continue
        if call.output.shape == final.shape and _same_classifier(call.output, final):
            return str(call.name)
    return None


def _same_classifier(logits: Tensor, final: Tensor) -> bool:
    """Whether the network's output is these logits, or a softmax of them."""
    candidates = (logits, logits.log_softmax(1), logits.softmax(1))
    return any(torch.allclose(candidate, final, rtol=1e-4, atol=1e-6) for candidate in candidates)
