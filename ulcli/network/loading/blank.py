"""Giving a network its weights, without drawing random ones first: this takes longer than reading those."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_DRAWING = {
    Tensor.uniform_,
    Tensor.normal_,
    nn.init.uniform_,
    nn.init.normal_,
    nn.init.xavier_uniform_,
    nn.init.xavier_normal_,
    nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_,
}


class _NoDrawing(TorchFunctionMode):
    """Fill parameters with zeros where they would be filled with random numbers; all else is as ever.

    Zeros, not what the memory happens to hold: truncated normal numbers are drawn again until they lie in bounds. The
    meta device would skip more, but buffers and plain tensors that no checkpoint holds would be lost with it, and
    builders that compute with tensors (RegNet) fail on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._zeros: dict[int, nn.Parameter] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in _DRAWING:
            target = args[0] if args else named.get("tensor")
            if isinstance(target, nn.Parameter):
                self._zeros[id(target)] = target
                target.detach().zero_()
                return target
        if func is Tensor.erfinv_ and id(args[0]) in self._zeros:  # a slow step towards truncated normal numbers
            return args[0]
        return func(*args, **named)


def build_blank(build: Callable[[], nn.Module], *, may_draw: bool) -> nn.Module:
    """Build a network without drawing its parameters.

    What else is drawn at random comes out as another number, since the parameters took none before it. Where that
    might matter (a fixed projection behind a seed), `may_draw` is False, and a network that draws is built as usual.
    """
    before = torch.get_rng_state()
    with _NoDrawing():
        network = build()
    if may_draw or torch.equal(before, torch.get_rng_state()):
        return network
    torch.set_rng_state(before)
    return build()


def assign_weights(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Let a state dict's own tensors be the parameters, without a copy where they are of the same type and layout.

    For networks that reach their parameters by the modules alone. Where two names share one parameter, it is copied to.
    """
    own = network.state_dict()
    names = [name for name, _ in network.named_parameters(remove_duplicate=False)]
    if len(names) != len(list(network.parameters())):
        copy_weights(network, state)
        return
    fitting = {key: _alike(value, own[key]) for key, value in state.items() if key in own}
    network.load_state_dict(_of_this_version(fitting, network), strict=False, assign=True)


def copy_weights(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a state dict into the parameters, which stay the same objects."""
    network.load_state_dict(_of_this_version(state, network), strict=False)


def _of_this_version(state: Mapping[str, Tensor], network: nn.Module) -> OrderedDict[str, Tensor]:
    """The state dict with the version numbers of the layers that read it: MNASNet refuses one without any."""
    result = OrderedDict(state)
    result._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    return result


def _alike(value: Tensor, own: Tensor) -> Tensor:
    if value.dtype == own.dtype and value.stride() == own.stride() and value.device == own.device:
        return value
    return torch.empty_like(own).copy_(value)
