"""From a way to build a network and a state dict to the network with its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from ulcli.network.loading.blank import copy_weights
from ulcli.network.loading.keys import aligned, fitted_state
from ulcli.network.loading.replaced_head import adapt_head
from ulcli.network.usercode import told_in_one_line


class Loaded(NamedTuple):
    """A network with the weights of a checkpoint."""

    network: nn.Module
    num_classes: int | None  # what it had to be built with, where that is not its default
    has_classifier: bool  # whether its classifier is the checkpoint's own, rather than a random one
    notes: tuple[str, ...]


def load_network(
    build: Callable[[int | None], nn.Module],
    state: dict[str, Tensor],
    arch: str,
    *,
    num_classes: int | None = None,
    accepts_class_count: bool = True,
) -> Loaded:
    """Build a network for as many classes as a state dict shows, and load its weights.

    `build` is called with `num_classes`, and again with another number where the classifier of the state dict has
    one. A `UserError` says which keys do not fit.
    """
    network = build(num_classes)
    around = aligned(state, network)
    notes = adapt_head(network, around.state, arch)
    classes = _other_class_count(network.state_dict(), around.state)
    if classes is not None and accepts_class_count:
        network, num_classes = build(classes), classes
        adapt_head(network, around.state, arch)
    fitted = fitted_state(around.state, network, arch)
    with told_in_one_line(f"loading the weights into '{arch}' failed"):
        copy_weights(network, fitted.state)
    return Loaded(network, num_classes, fitted.has_classifier, (*around.notes, *notes, *fitted.notes))


def _other_class_count(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int | None:
    """The class count of a state dict whose classifier differs from the network's in the first dimension only."""
    reshaped = {key for key in own if key in state and own[key].shape != state[key].shape}
    counts = {
        state[key].shape[0]
        for key in reshaped
        if state[key].dim() == own[key].dim() and state[key].shape[1:] == own[key].shape[1:]
    }
    return counts.pop() if len(counts) == 1 else None
