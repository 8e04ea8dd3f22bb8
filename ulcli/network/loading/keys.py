"""Fitting a state dict to a network: under which prefix its keys are the network's, and whether all are there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ulcli.errors import UserError, shorten
from ulcli.network.files.wrappers import without_segment

# Heads that help in training; the networks that have them do not use them to predict.
_AUXILIARY = re.compile(r"(^|\.)(AuxLogits|aux1|aux2|aux_logits|aux_head|aux_classifier|auxiliary_head)\.")
# What a module around a network keeps beside its layers.
_BESIDE = re.compile(
    r"^(n_averaged$|num_updates$|criterion|loss|metric|(train|val|valid|test)_\w*(acc|loss|metric)|acc)"
)
# What profilers leave in a network, and constants that some versions of a library save and others do not.
_IDLE = ("num_batches_tracked", "total_ops", "total_params", "position_ids", "relative_position_index")
_AVERAGE = re.compile(r"(^|[._])(ema|averaged?|average_model|shadow)([._]|$)")
# What classifiers are called; a layer of another name is never taken for one that may be missing.
_CLASSIFIERS = re.compile(
    r"(^|[._])(fc|head|heads|classifier|cls|linear|logits|output|last_linear|dense|out)(\d*|[._].*)$"
)

# Parts of a prefix; more of them would only take time.
_LONGEST_PREFIX = 16


class MisfitError(UserError):
    """A state dict that is not of the network."""


@dataclass(frozen=True)
class Aligned:
    """A state dict under the keys of a network, as far as it has them."""

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """A state dict that a network can load; of what it lacks, the network needs nothing to predict."""

    state: dict[str, Tensor]
    has_classifier: bool  # False: of a backbone alone, the network's classifier is a random one
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Differences:
    """What keeps a state dict from being that of a network."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    lacks_classifier: bool = field(default=False)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)


def aligned(state: dict[str, Tensor], network: nn.Module) -> Aligned:
    """Bring a state dict under the keys of a network, without what lies outside of it.

    A training module holds the network under a name (`model.`, `net.`, `backbone.`), beside losses and metrics; or
    the network that was named holds under a name what the weights are of.
    """
    own = network.state_dict()
    if not any("module" in key.split(".") for key in own):
        state = without_segment(state, "module.")
    prefix, notes = _prefix_to_remove(state, own)
    if prefix is None:
        added = _prefix_to_add(state, own)
        state = {added + key: value for key, value in state.items()}
        inside, outside = state, []
    else:
        inside = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        outside = [key for key in state if not key.startswith(prefix)]
    idle = {key: None for key in inside if key not in own and _is_idle(key, bool(prefix))}
    inside = {key: value for key, value in inside.items() if key not in idle}
    # Counters that the network's own batch norms do not have are of no layer that it lacks.
    counters = [key for key in idle if key.endswith("num_batches_tracked") and not _AUXILIARY.search(key)]
    left_out = [*outside, *(key for key in idle if key not in counters)]
    if left_out:
        what = f"{len(left_out)} of the checkpoint's {len(state)} tensors are not of the network and are left out"
        notes.append(f"{what} ({_by_module(left_out)})")
    return Aligned(inside, tuple(notes))


def fitted_state(state: dict[str, Tensor], network: nn.Module, arch: str) -> Fitted:
    """The state dict as the network can load it, or a `MisfitError` that says which keys do not fit."""
    found = aligned(state, network)
    own = network.state_dict()
    differences = compared(found.state, network)
    if differences:
        raise misfit(arch, differences, found.state, network)
    notes = [*found.notes]
    converted = {key: value.dtype for key, value in found.state.items() if _is_converted(value, own[key])}
    if converted:
        kinds = sorted({str(dtype).removeprefix("torch.") for dtype in converted.values()})
        notes.append(f"the weights are {' and '.join(kinds)}; the network computes with them in float32")
    absent = [key for key in own if key not in found.state and _AUXILIARY.search(key)]
    if absent:
        notes.append(f"the checkpoint lacks {len(absent)} tensors of auxiliary heads, which act in training alone")
    if differences.lacks_classifier:
        notes.append(no_classifier(classifier_name(network)))
    result = {key: value.to(own[key].dtype) if key in converted else value for key, value in found.state.items()}
    return Fitted(result, not differences.lacks_classifier, tuple(notes))


def misfit(arch: str, differences: Differences, state: Mapping[str, Tensor], network: nn.Module) -> MisfitError:
    """Say which keys do not fit."""
    return MisfitError(f"the checkpoint does not fit '{arch}': {_told(differences, state, network.state_dict())}")


def compared(state: Mapping[str, Tensor], network: nn.Module) -> Differences:
    """Give what differs between an aligned state dict and a network, but for what the network predicts without."""
    own = network.state_dict()
    missing = [key for key in own if key not in state and not _may_be_missing(key, network)]
    name = classifier_name(network)
    classifier = {key for key in own if name is not None and key.rpartition(".")[0] == name}
    lacks = bool(classifier) and set(missing) == classifier and _CLASSIFIERS.search(str(name)) is not None
    return Differences(
        () if lacks else tuple(missing),
        tuple(key for key in state if key not in own),
        tuple(key for key in own if key in state and not _is_loadable(state[key], own[key])),
        lacks,
    )


def no_classifier(name: str | None) -> str:
    """Tell that a checkpoint lacks the classifier of this name."""
    return f"the checkpoint has no classifier ('{name}'): a new one is fitted"


def classifier_name(network: nn.Module) -> str | None:
    """The layer that gives the logits, judged without a pass: the last one with weights, where it can be one."""
    name, layer = None, None
    for each, module in network.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            name, layer = each, module
    pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
    return name if name and (pointwise or isinstance(layer, nn.Linear)) else None


def _prefix_to_remove(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str | None, list[str]]:
    """The prefix under which most keys are the network's own; None where more are if one is added instead."""
    scores = _scores(state, own)
    best = max(scores.values(), default=0)
    if max(_scores(own, state).values(), default=0) > best:
        return None, []
    if not best or scores[""] == best:
        return "", []
    prefixes = sorted(prefix for prefix, score in scores.items() if score == best)
    if len(prefixes) == 1:
        return prefixes[0], []
    names = [prefix[:-1] for prefix in prefixes]
    averages = [name for name in names if _AVERAGE.search(name)]
    if len(names) == 2 and len(averages) == 1:
        raw = next(name for name in names if name not in averages)
        return f"{averages[0]}.", [f"using EMA weights ('{averages[0]}'); --weights-key {raw} for the raw ones"]
    raise MisfitError(
        f"the checkpoint holds the weights of several such networks ({shorten(names)}); choose one with --weights-key, "
        f"for example --weights-key {names[0]}"
    )


def _prefix_to_add(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    scores = _scores(own, state)
    return min(scores, key=lambda prefix: (-scores[prefix], len(prefix)))


def _scores(outer: Mapping[str, Tensor], inner: Mapping[str, Tensor]) -> Counter[str]:
    """For each prefix, how many keys of `outer` are keys of `inner` without it, and of a shape that may be the same."""
    scores: Counter[str] = Counter()
    for key, value in outer.items():
        start = 0
        for _ in range(_LONGEST_PREFIX):
            same = inner.get(key[start:])
            if same is not None and value.dim() == same.dim() and value.shape[1:] == same.shape[1:]:
                scores[key[:start]] += 1
            start = key.find(".", start) + 1
            if not start:
                break
    return scores


def _is_idle(key: str, is_inside: bool) -> bool:
    """Tell whether a key that the network does not have is of nothing that takes part in a prediction."""
    if key.rpartition(".")[2] in _IDLE or _AUXILIARY.search(key):
        return True
    return not is_inside and _BESIDE.search(key) is not None


def _may_be_missing(key: str, network: nn.Module) -> bool:
    """Tell whether a network predicts without a key of its own."""
    # Batch norms from before PyTorch 0.4.1 have no counter; nothing that runs in eval mode reads it.
    if key.endswith("num_batches_tracked"):
        return True
    # Of torchvision's networks it is known that auxiliary heads act in training alone.
    return type(network).__module__.startswith("torchvision.") and _AUXILIARY.search(key) is not None


def _is_loadable(value: Tensor, own: Tensor) -> bool:
    return value.shape == own.shape and value.is_floating_point() == own.is_floating_point()


def _is_converted(value: Tensor, own: Tensor) -> bool:
    return value.is_floating_point() and value.dtype != own.dtype


def _told(differences: Differences, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    problems = ["those of the classifier missing"] if differences.lacks_classifier else []
    if differences.missing:
        problems.append(f"{len(differences.missing)} missing (first: '{differences.missing[0]}')")
    if differences.unexpected:
        problems.append(f"{len(differences.unexpected)} unexpected (first: '{differences.unexpected[0][:80]}')")
    if differences.reshaped:
        key = differences.reshaped[0]
        if state[key].shape == own[key].shape:
            difference = f"of another type (first: '{key}' is {_dtype(state[key])}, expected {_dtype(own[key])})"
        else:
            shapes = f"is {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
            difference = f"of another shape (first: '{key}' {shapes})"
        problems.append(f"{len(differences.reshaped)} {difference}")
    return f"of its keys {', '.join(problems)}; check --arch"


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _by_module(keys: Iterable[str]) -> str:
    """The first parts of keys, with how many begin so."""
    counts = Counter(_AUXILIARY.sub(r"\1\2.", key).partition(".")[0][:80] for key in keys)
    parts = [f"'{name}': {count}" for name, count in counts.most_common(3)]
    return ", ".join(parts) + (f" and {len(counts) - 3} more" if len(counts) > 3 else "")
