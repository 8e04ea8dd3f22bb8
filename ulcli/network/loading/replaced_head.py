"""Classifiers that were replaced: rebuilt in the network as the keys of the checkpoint show them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from ulcli.errors import UserError
from ulcli.network.loading.keys import classifier_name

_ENTRY = re.compile(r"(\d{1,3})\.(weight|bias|running_mean|running_var|num_batches_tracked)")


class _Layer(NamedTuple):
    """One layer with weights in a Sequential."""

    position: int
    module: nn.Linear | nn.BatchNorm1d


def adapt_head(network: nn.Module, state: Mapping[str, Tensor], arch: str) -> tuple[str, ...]:
    """Give a network the classifier that an aligned state dict shows, and say what was done.

    Fine-tuning replaces the last linear layer by a Sequential (dropout and a layer, or several), or a Sequential by a
    layer. The keys show its linear layers and batch norms by their positions, but nothing without weights. One linear
    layer needs no more; between two of them ReLU is assumed, which the note says. What the keys leave open raises
    `UserError`.
    """
    name = classifier_name(network)
    if name is None or not isinstance(network.get_submodule(name), nn.Linear):
        return ()
    around = _sequential_around(network, name)
    if around is not None and (given := _below(state, around)):
        if _is_same(given, _shapes(network.get_submodule(around))):
            return ()
        if _is_readable(given):
            return _replace(network, around, given, arch)
    given = _below(state, name)
    if not given or _is_same(given, _shapes(network.get_submodule(name))):
        return ()
    return _replace(network, name, given, arch)


def _below(state: Mapping[str, Tensor], root: str) -> dict[str, Tensor]:
    return {key[len(root) + 1 :]: value for key, value in state.items() if key.startswith(f"{root}.")}


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def _is_readable(given: Mapping[str, Tensor]) -> bool:
    """Tell whether keys are those of one layer, or of layers by their positions."""
    return given.keys() <= {"weight", "bias"} or all(_ENTRY.fullmatch(key) for key in given)


def _sequential_around(network: nn.Module, name: str) -> str | None:
    """The Sequential that a classifier ends, where only linear layers in it have weights."""
    root = name.rpartition(".")[0]
    module = network.get_submodule(root) if root else None
    if not isinstance(module, nn.Sequential):
        return None
    return root if all(isinstance(each, nn.Linear) for each in module if _has_weights(each)) else None


def _is_same(given: Mapping[str, Tensor], own: Mapping[str, tuple[int, ...]]) -> bool:
    """Tell whether weights are those of the network's own classifier, of any number of classes."""
    if given.keys() != own.keys():
        return False
    last = max((key for key in own if key.endswith("weight")), key=list(own).index).removesuffix("weight")
    return all(
        value.shape == own[key] or (key.startswith(last) and value.shape[1:] == own[key][1:])
        for key, value in given.items()
    )


def _replace(network: nn.Module, root: str, given: Mapping[str, Tensor], arch: str) -> tuple[str, ...]:
    old = network.get_submodule(root)
    first = next(each for each in old.modules() if isinstance(each, nn.Linear))
    new, assumed = _built(given, old, f"the checkpoint's classifier '{root}' is not that of '{arch}', and")
    linear = next(each for each in new.modules() if isinstance(each, nn.Linear))
    if linear.in_features != first.in_features:
        raise UserError(
            f"the checkpoint's classifier '{root}' reads {linear.in_features} features, but '{arch}' gives "
            f"{first.in_features}; check --arch"
        )
    parent, _, last = root.rpartition(".")
    setattr(network.get_submodule(parent), last, new.to_empty(device=first.weight.device))
    layers = [*new] if isinstance(new, nn.Sequential) else [new]
    shown = ", ".join(_name(each) for each in layers if not isinstance(each, nn.Identity))
    note = f"the classifier '{root}' is rebuilt as the checkpoint's keys show: {shown}"
    doubt = f"; that {' and that '.join(assumed)} is an assumption, which the keys leave open" if assumed else ""
    return (note + doubt,)


def _built(given: Mapping[str, Tensor], old: nn.Module, complaint: str) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the module that keys show; also give what is assumed of it."""
    if given.keys() <= {"weight", "bias"}:
        return _layer(given, complaint), ()
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in given.items():
        entry = _ENTRY.fullmatch(key)
        if entry is None:
            raise _left_open(complaint, f"what it is ('{key[:80]}')")
        entries.setdefault(int(entry[1]), {})[entry[2]] = value
    layers = [_Layer(position, _layer(entries[position], complaint)) for position in sorted(entries)]
    if not any(isinstance(layer.module, nn.Linear) for layer in layers):
        raise _left_open(complaint, "where its linear layer is")
    return _filled(layers, [*old] if isinstance(old, nn.Sequential) else [], complaint)


def _filled(layers: list[_Layer], own: list[nn.Module], complaint: str) -> tuple[nn.Sequential, tuple[str, ...]]:
    """Put layers at their positions; between them what the network itself has there, else ReLU; before them nothing.

    Also give what is assumed.
    """
    sequence: list[nn.Module] = [nn.Identity() for _ in range(layers[-1].position + 1)]
    for layer in layers:
        sequence[layer.position] = layer.module
    assumed, gaps = False, 0
    for before, after in pairwise(layers):
        if _outputs(before.module) != _inputs(after.module):
            raise UserError(f"{complaint} its layers do not fit each other; the file is damaged")
    after_linear = isinstance(layers[0].module, nn.Linear)
    for before, after in pairwise(layers):
        start, stop = before.position + 1, after.position
        if start < stop:
            gaps += 1
            kept = own[start:stop]
            if len(kept) == stop - start and not any(map(_has_weights, kept)):
                sequence[start:stop] = kept  # it is the widths alone that differ
            else:
                sequence[start], assumed = nn.ReLU(), True
        if isinstance(after.module, nn.Linear):
            # Batch norm with a gap on either side: the activation is before or after it. Dropout alone is no gap.
            if gaps > (1 if after_linear else 0):
                raise _left_open(complaint, "where its activations are")
            after_linear, gaps = True, 0
    first = layers[0].position
    before_it = "nothing but dropout stands before its first layer"
    opening = not any(isinstance(each, nn.Dropout) for each in own[:first])
    doubts = [before_it] if first and opening else []
    return nn.Sequential(*sequence), (*doubts, *(["the activation is ReLU"] if assumed else []))


def _layer(given: Mapping[str, Tensor], complaint: str) -> nn.Linear | nn.BatchNorm1d:
    """The layer of some weights, with random ones of the same shapes."""
    weight = given.get("weight")
    if weight is not None and weight.dim() == 2 and given.keys() <= {"weight", "bias"}:
        return nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in given, device="meta")
    mean = given.get("running_mean")
    if mean is not None and mean.dim() == 1:
        return nn.BatchNorm1d(len(mean), affine=weight is not None, device="meta")
    raise _left_open(complaint, "which layers it has")


def _left_open(complaint: str, what: str) -> UserError:
    return UserError(f"{complaint} its keys leave open {what}; name your own code with --arch package.module:factory")


def _inputs(module: nn.Linear | nn.BatchNorm1d) -> int:
    return module.in_features if isinstance(module, nn.Linear) else module.num_features


def _outputs(module: nn.Linear | nn.BatchNorm1d) -> int:
    return module.out_features if isinstance(module, nn.Linear) else module.num_features


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _name(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return f"Linear({module.in_features}, {module.out_features})"
    return type(module).__name__
