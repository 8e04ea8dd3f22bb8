"""From an ARCH and a state dict to a network, whatever source the network comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ulcli.network.loading.blank import assign_weights, build_blank, copy_weights
from ulcli.network.loading.keys import compared, misfit
from ulcli.network.loading.load import load_network
from ulcli.network.loading.replaced_head import adapt_head
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
    loaded = load_network(
        lambda num_classes: source.build(arch, num_classes, known),
        state,
        arch,
        # A factory that wants a number gets one to begin with: the shapes of its weights show where the right one goes.
        num_classes=2 if source.needs_class_count(arch) else None,
        accepts_class_count=source.accepts_class_count(arch),
    )
    return Built(loaded.network, loaded.num_classes, known, (*notes, *loaded.notes), loaded.has_classifier)


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
    adapt_head(network, state, arch)
    differences = compared(state, network)
    if differences or differences.lacks_classifier:
        raise misfit(arch, differences, state, network)
    with told_in_one_line(f"loading the weights into '{arch}' failed"):
        (assign_weights if source.is_library else copy_weights)(network, state)
    return network
