"""Check that the network of a new model file is the one that was fitted."""

from __future__ import annotations

import torch
from torch import Tensor

from ulcli.errors import UserError
from ulcli.network.anatomy.backbone import Backbone, difference
from ulcli.network.anatomy.calls import watch
from ulcli.network.anatomy.outputs import first_tensor

_IMAGES = 4
# The same weights and operations give the same to the last digits; what differs by more is another network.
_SAME = 1e-3


def check_rebuilt(fitted: Backbone, rebuilt: Backbone, shape: tuple[int, int, int]) -> None:
    """Raise `UserError` where a few images of `shape` (channels, height, width) have other features.

    Both networks are on the CPU. A model file holds weights and arguments. A network that also depends on a file, a
    variable or a moment would be scored as another one than was fitted, without a word.
    """
    probe = torch.randn(_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    one, other = fitted(probe), rebuilt(probe)
    pairs = ((other.features, one.features), (other.embedding, one.embedding))
    largest = max(difference(*pair) for pair in pairs)
    if largest > _SAME:
        layer = _first_different(fitted, rebuilt, probe)
        raise UserError(
            f"'{fitted.arch}', rebuilt from the model file, gives features that differ by {largest:.2g} of their "
            f"length from the fitted ones{layer}: it depends on more than its weights (a file, a variable, chance); "
            "keep that in a parameter or buffer, or pass it with --arch-arg. No model is written"
        )


def _first_different(fitted: Backbone, rebuilt: Backbone, probe: Tensor) -> str:
    """Name the first layer that gives something else, as the end of a phrase."""
    (_, calls), (_, others) = watch(fitted.network, probe), watch(rebuilt.network, probe)
    for call, other in zip(calls, others, strict=False):
        one, two = first_tensor(call.output), first_tensor(other.output)
        if call.name != other.name:
            break
        if one is not None and two is not None and (one.shape != two.shape or difference(two, one) > _SAME):
            return f", from layer '{call.name}' on"
    return ""
