"""Which of the dictionaries in a checkpoint are the weights, and which of several are meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ulcli.errors import UserError, shorten
from ulcli.network.files.wrappers import without_wrappers

# What training scripts call the weights; the first that is there is taken.
_RAW = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "model_state"),
    *("model_weights", "net_state_dict", "network_state_dict", "module", "state", "checkpoint", "ckpt", "best_model"),
    *("best_state_dict", "best_model_state_dict", "current_model_state"),
)
# What they call an exponential moving average (EMA) of the weights, which is what they evaluate with.
_EMA = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model_state_dict", "ema_model"),
    *("ema", "ema_model_state", "params_ema", "ema_params", "ema_weights", "average_model_state", "shadow"),
    *("emacallback", "emaweightaveraging", "weightaveraging", "averaged_model", "swa_state_dict", "swa_model"),
)
# Parts of names of what is no network
_NO_WEIGHTS = ("optim", "sched", "scaler", "rng", "loops", "metric", "criterion", "loss", "args", "config", "hyper")
# Buffers, which averages of the parameters alone leave out
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
_DEEPEST, _MOST_VISITED, _LONGEST_KEY = 4, 5_000, 1_000


class Chosen(NamedTuple):
    """The weights to use, and what to tell about the choice."""

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def choose_weights(content: Any, path: Path, key: str | None = None) -> Chosen:
    """The state dict in the content of a file: the one that `key` names, else by the names that scripts use.

    Averaged weights come before raw ones. Of a student and a teacher, the teacher is taken where both are the same
    network (it then is the student's average), else the student (it then is what was trained).
    """
    found = _state_dicts(content)
    if key is not None:
        return Chosen(_named(content, key, found, path))
    if not found:
        raise UserError(f"'{path}' holds no state dict (a dictionary of tensors); save model.state_dict()")
    raw = sorted((name for name in found if _rank(name) is not None), key=lambda name: _rank(name) or [])
    ema = sorted((name for name in found if _average_rank(name) is not None), key=lambda name: _average_rank(name) or 0)
    if "current_model_state" in raw and "state_dict" in raw:  # Lightning's WeightAveraging swaps the two
        return _averaged(found, "state_dict", "current_model_state")
    if ema and (raw or "" in found):
        return _averaged(found, ema[0], raw[0] if raw else "")
    if ema:
        return Chosen(found[ema[0]], (f"using EMA weights ('{ema[0]}'), the only ones in the file",))
    if raw:
        notes = [f"the EMA weights in '{name}' are a list without names and are not used" for name in _lists(content)]
        if raw[1:]:
            notes.append(f"using the weights '{raw[0]}'; --weights-key {raw[1]} for the others")
        return Chosen(found[raw[0]], tuple(notes))
    if "" in found:
        return Chosen(found[""])
    return _of_other_names(found, path)


def _of_other_names(found: dict[str, dict[str, Tensor]], path: Path) -> Chosen:
    """Weights under names that say nothing for certain."""
    if len(found) == 1:
        name = next(iter(found))
        return Chosen(found[name], (f"using the weights '{name[:80]}', the only ones in the file",))
    if {"student", "teacher"} <= found.keys():
        same = _shapes(found["student"]) == _shapes(found["teacher"])
        name, other = ("teacher", "student") if same else ("student", "teacher")
        why = "of the same shapes, so it is the student's average" if same else "the network that was trained"
        return Chosen(found[name], (f"using the weights '{name}' ({why}); --weights-key {other} for the others",))
    raise UserError(
        f"'{path}' holds {len(found)} state dicts ({_listed(found)}); choose one with --weights-key, "
        f"for example --weights-key {next(iter(found))[:80]}"
    )


def _averaged(found: dict[str, dict[str, Tensor]], ema: str, raw: str) -> Chosen:
    """The averaged weights, with the buffers of the raw ones where the average has the parameters alone."""
    average, own = without_wrappers(found[ema]), without_wrappers(found[raw])
    absent = [key for key in own if key not in average]
    fits = all(key in own and own[key].shape == value.shape for key, value in average.items())
    if not fits or not all(key.endswith(_BUFFERS) for key in absent):
        kept = f"'{raw}'" if raw else "the raw ones"
        note = f"the EMA weights ('{ema}') are not of the same network as {kept}, which are used"
        return Chosen(found[raw], (f"{note}; --weights-key {ema} for the EMA weights",))
    buffers = f" with {len(absent)} buffers of the raw ones" if absent else ""
    way_back = f"; --weights-key {raw} for the raw ones" if raw else ""
    state = {key: average.get(key, value) for key, value in own.items()}
    return Chosen(state, (f"using EMA weights ('{ema}'){buffers}{way_back}",))


def _state_dicts(content: Any) -> dict[str, dict[str, Tensor]]:
    """Every state dict in nested dictionaries by its dotted path, "" for the content itself."""
    found: dict[str, dict[str, Tensor]] = {}
    waiting: list[tuple[str, Any, int]] = [("", content, 0)]
    visited: set[int] = set()  # a dictionary may hold itself, or another one many times over
    while waiting and len(visited) < _MOST_VISITED:
        path, node, depth = waiting.pop(0)
        if not isinstance(node, Mapping) or id(node) in visited:
            continue
        visited.add(id(node))
        if state := _tensors(node):
            found[path] = state
        if depth < _DEEPEST:
            waiting += [
                (f"{path}.{name}" if path else name, value, depth + 1)
                for name, value in node.items()
                if isinstance(name, str) and not any(part in name.lower() for part in _NO_WEIGHTS)
            ]
    return found


def _tensors(node: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors of a state dict, which may carry more (`_extra_state`, a version). No network has longer keys."""
    return {
        key: value
        for key, value in node.items()
        if isinstance(value, Tensor) and isinstance(key, str) and len(key) <= _LONGEST_KEY
    }


def _lists(content: Mapping[str, Any]) -> list[str]:
    """Names under which averaged weights lie in lists, as torch_ema keeps them."""
    ema = {name: node for name, node in content.items() if name in _EMA and isinstance(node, Mapping)}
    return [
        name
        for name, node in ema.items()
        if any(isinstance(value, list) and value and isinstance(value[0], Tensor) for value in node.values())
    ]


def _rank(name: str) -> list[int] | None:
    """Tell where a path of usual names for weights stands in their order; None where one of the names is another."""
    parts = name.lower().split(".")
    return [_RAW.index(part) for part in parts] if all(part in _RAW for part in parts) else None


def _average_rank(name: str) -> int | None:
    """Tell where the usual name for averaged weights in a path stands in their order; None where there is none."""
    return next((_EMA.index(part) for part in name.lower().split(".") if part in _EMA), None)


def _named(content: Any, key: str, found: dict[str, dict[str, Tensor]], path: Path) -> dict[str, Tensor]:
    """The state dict under a dotted path, or the entries of one whose keys begin with it."""
    state = _resolved(content, key)
    if not state:  # the beginning of keys in the one dictionary that has such keys
        inside = [part for each in found.values() if (part := _resolved(each, key))]
        state = inside[0] if len(inside) == 1 else None
    if not state:
        names = [name for name in found if name] or sorted({each.partition(".")[0] for each in found.get("", {})})
        known = f"it has {_listed(names)}" if names else "it holds no state dict"
        raise UserError(f"'{path}' has no weights '{key}'; {known}")
    return state


def _resolved(node: Any, key: str) -> dict[str, Tensor] | None:
    if not isinstance(node, Mapping):
        return None
    if isinstance(node.get(key), Mapping):
        return _tensors(node[key])
    for name in node:
        if isinstance(name, str) and name and key.startswith(f"{name}."):
            state = _resolved(node[name], key[len(name) + 1 :])
            if state:
                return state
    return {name[len(key) + 1 :]: value for name, value in _tensors(node).items() if name.startswith(f"{key}.")}


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in without_wrappers(state).items()}


def _listed(names: Iterable[str]) -> str:
    return shorten((name[:80] for name in names), limit=6)
