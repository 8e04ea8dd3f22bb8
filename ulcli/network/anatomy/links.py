"""Tell whether a network's output is made of some layer's logits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def is_linked(logits: Tensor, output: Tensor) -> bool:
    """Tell whether the output (N, K) is these logits, or their log-softmax, softmax or sigmoid."""
    linked = [logits, logits.sigmoid()]
    if logits.shape[1] > 1:
        linked += [logits.log_softmax(1), logits.softmax(1)]
    output = output.double()
    # Of a sum that nearly cancels, float32 keeps digits beside the others, not beside the result.
    spread = 1e-4 * output.std().nan_to_num().item() + 1e-6
    return any(torch.allclose(each, output, rtol=1e-4, atol=spread) for each in linked)


def are_probabilities(outputs: Tensor) -> bool:
    """Tell whether every row (N, K) is a distribution over more than one class."""
    total = outputs.double().sum(1)
    return outputs.shape[1] > 1 and bool((outputs >= 0).all()) and torch.allclose(total, total.new_ones(()), atol=1e-4)


def fit_scale(logits: Tensor, output: Tensor) -> tuple[Tensor, Tensor] | None:
    """Scale and shift (K,) a class that make logits (N, K) give the output; None where none do for every image."""
    for target, shifted in _inverses(output):
        if not target.isfinite().all() or (target.std(0) == 0).all():
            continue
        z = logits - logits.mean(1, keepdim=True) if shifted else logits
        centred, aim = z - z.mean(0), target - target.mean(0)
        if shifted:  # a softmax hides what all classes have in common, so one scale for all
            scale = ((centred * aim).sum() / centred.square().sum()).expand(z.shape[1])
        else:
            scale = (centred * aim).sum(0) / centred.square().sum(0)
        shift = target.mean(0) - scale * z.mean(0)
        wrong = (z * scale + shift - target).abs().max()
        if bool(scale.isfinite().all()) and bool((scale != 0).all()) and wrong <= 1e-3 * aim.std():
            return scale, shift
    return None


def _inverses(output: Tensor) -> Iterator[tuple[Tensor, bool]]:
    """Give what the output may be made of, and whether a shift of a whole row was lost on the way."""
    yield output, False
    if are_probabilities(output):
        logs = output.log()
        yield logs - logs.mean(1, keepdim=True), True
    if are_probabilities(output.exp()):
        yield output - output.mean(1, keepdim=True), True
    if bool(((output > 0) & (output < 1)).all()):
        yield output.logit(), False
