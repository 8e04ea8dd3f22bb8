"""From an ARCH and a state dict to a network, whatever source the network comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ulcli.errors import UserError
from ulcli.network.blank import assign_weights, build_blank, copy_weights
from ulcli.network.sources.registry import source_of
from ulcli.network.sources.source import Built
from ulcli.network.usercode import told_in_one_line


def build_network(
    arch: str, num_classes: int | None = None, options: Mapping[str, Any] | None = None, *, trusted: bool = False
) -> nn.Module:
    """Build the network that `arch` names, randomly initialised, as a `Built` says that it was built before."""
    return source_of(arch, trusted=trusted).build(arch, num_classes, options)


def network_for(
    arch: str, state: dict[str, Tensor], options: Mapping[str, Any] | None = None, *, trusted: bool = False
) -> Built:
    """Build the network with the weights of a state dict, with these options and those that the state dict shows."""
    source = source_of(arch, trusted=trusted)
    known, notes = source.options_for(arch, state, options or {})
    # A factory that wants a number gets one to begin with: the shapes of its weights show where the right one goes.
    num_classes = 2 if source.needs_class_count(arch) else None
    network = source.build(arch, num_classes, known)
    classes = _other_class_count(network.state_dict(), state)
    if classes is not None and source.accepts_class_count(arch):
        network, num_classes = source.build(arch, classes, known), classes
    load_weights(network, state, arch)
    return Built(network, num_classes, known, notes)


def rebuilt_network(
    arch: str,
    state: dict[str, Tensor],
    num_classes: int | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    trusted: bool = False,
) -> nn.Module:
    """Build a network as a `Built` says, with weights that are known to be complete, without drawing random ones."""
    source = source_of(arch, trusted=trusted)
    network = build_blank(lambda: source.build(arch, num_classes, options), may_draw=source.is_library)
    _check_fit(network, state, arch)
    if source.is_library:
        assign_weights(network, state)
    else:
        _load(network, state, arch)
    return network


def load_weights(network: nn.Module, state: dict[str, Tensor], arch: str) -> None:
    """Load a state dict, or raise a `UserError` that says which keys do not fit."""
    _check_fit(network, state, arch)
    _load(network, state, arch)


def _load(network: nn.Module, state: dict[str, Tensor], arch: str) -> None:
    with told_in_one_line(f"loading the weights into '{arch}'"):
        copy_weights(network, state)


def _check_fit(network: nn.Module, state: dict[str, Tensor], arch: str) -> None:
    """Raise a `UserError` that says which keys do not fit."""
    own = network.state_dict()
    # Batch norms from before PyTorch 0.4.1 have no counter; nothing that runs in eval mode reads it.
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    reshaped = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing (first: '{missing[0]}')")
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected (first: '{unexpected[0]}')")
    if reshaped:
        key = reshaped[0]
        problems.append(
            f"{len(reshaped)} of another shape (first: '{key}' is {tuple(state[key].shape)}, "
            f"expected {tuple(own[key].shape)})"
        )
    if problems:
        raise UserError(f"the checkpoint does not fit '{arch}': of its keys {', '.join(problems)}; check --arch")


def _other_class_count(own: dict[str, Tensor], state: dict[str, Tensor]) -> int | None:
    """Find the class count of a state dict whose classifier differs from the network's in its first dimension alone."""
    reshaped = {key for key in own if key in state and own[key].shape != state[key].shape}
    counts = {
        state[key].shape[0]
        for key in reshaped
        if state[key].dim() == own[key].dim() and state[key].shape[1:] == own[key].shape[1:]
    }
    return counts.pop() if len(counts) == 1 else None
