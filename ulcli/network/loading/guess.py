"""Which torchvision architecture weights are of, where nobody says."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision import models

from ulcli.errors import UserError
from ulcli.network.files.checkpoint import Checkpoint
from ulcli.network.loading.keys import MisfitError, aligned, classifier_name, compared

_REMEDY = "name it with --arch, for example resnet18 or package.module:factory"
# Building all eighty architectures takes ten seconds. What some keys contain leaves a few of them to try.
_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"(^|\.)features\.denseblock1\.", "densenet"),
    (r"(^|\.)encoder\.layers\.encoder_layer_0\.", "vit_"),
    (r"(^|\.)inception3a\.", "googlenet"),
    (r"(^|\.)Mixed_5b\.", "inception_v3"),
    (r"(^|\.)trunk_output\.", "regnet"),
    (r"(^|\.)stage2\.0\.branch2\.", "shufflenet"),
    (r"(^|\.)blocks\.0\.layers\.0\.layers\.", "maxvit"),
    (r"(^|\.)layers\.8\.0\.layers\.", "mnasnet"),
    (r"(^|\.)layer1\.0\.conv1\.", "resnet|resnext|wide_resnet"),
    (r"(^|\.)features\.1\.0\.attn\.", "swin"),
    (r"(^|\.)features\.1\.0\.layer_scale$", "convnext"),
    (r"(^|\.)features\.1\.0\.block\.", "efficientnet"),
    (r"(^|\.)features\.1\.conv\.0\.", "mobilenet_v2"),
    (r"(^|\.)features\.1\.block\.0\.", "mobilenet_v3"),
    (r"(^|\.)features\.\d\.squeeze\.", "squeezenet"),
    (r"(^|\.)features\.0\.weight$", "alexnet|vgg"),
)


def architecture_of(checkpoint: Checkpoint, path: Path) -> tuple[str, tuple[str, ...]]:
    """The architecture of a checkpoint, as the file says or as its keys and shapes show, and what to tell about it."""
    if checkpoint.arch is not None and _is_believable(checkpoint.arch):
        return checkpoint.arch, ()
    for hint in checkpoint.arch_hints:
        if hint in _names() and _fits(checkpoint.state, hint):
            return hint, (f"the file says that its network is {hint}",)
    hints = tuple(text for text in (checkpoint.arch, *checkpoint.arch_hints) if text is not None)
    if (known := _known_to_timm(hints)) is not None:
        return f"timm/{known}", (f"the file says that its network is {known}, which timm has",)
    name = guessed(checkpoint.state, path)
    return name, (f"no architecture is named; by its keys and shapes the network is {name} (--arch for another)",)


def _known_to_timm(hints: Iterable[str]) -> str | None:
    """Find a name of timm's among texts, where timm is installed; torchvision's names are none of these."""
    unknown = [text for text in hints if text not in _names()]
    if not unknown or find_spec("timm") is None:
        return None
    import timm  # seconds that only a checkpoint of an unknown name should take

    return next(filter(timm.is_model, unknown), None)


def guessed(state: dict[str, Tensor], path: Path) -> str:
    """The one torchvision architecture whose keys and shapes a state dict has, its classifier aside."""
    candidates = _candidates(state)
    fitting = [name for name in candidates if _fits(state, name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"'{path}' fits several architectures ({', '.join(fitting)}); {_REMEDY}")
    near = nearest(state, candidates)
    raise UserError(
        f"'{path}' does not say which network it is of, and its keys are of no torchvision network"
        f"{f' (nearest: {near})' if near else ''}; {_REMEDY}"
    )


def hint(state: dict[str, Tensor]) -> str:
    """Give what to add to the error that a checkpoint does not fit the architecture that was named."""
    candidates = _candidates(state)
    fitting = [name for name in candidates if _fits(state, name)]
    return f"; its keys fit {' and '.join(fitting)}" if fitting else ""


def nearest(state: dict[str, Tensor], candidates: Iterable[str]) -> str:
    """The architectures that share most tensors with a state dict, with how many."""
    shares = sorted((_share(state, name), name) for name in candidates)
    parts = [f"{name} has {share:.0%} of them" for share, name in reversed(shares[-3:]) if share >= 0.05]
    return ", ".join(parts)


@functools.cache
def _names() -> tuple[str, ...]:
    return tuple(models.list_models(module=models))


def _is_believable(arch: str) -> bool:
    """Tell whether a text names an architecture in one of the ways that `--arch` takes."""
    return ":" in arch or "/" in arch or arch in _names()


def _candidates(state: dict[str, Tensor]) -> list[str]:
    for key_pattern, prefixes in _FAMILIES:
        if any(re.search(key_pattern, key) for key in state):
            return [name for name in _names() if re.match(prefixes, name)]
    return []


def _fits(state: dict[str, Tensor], name: str) -> bool:
    """Tell whether weights are of an architecture, whatever its classifier."""
    network = _skeleton(name)
    try:
        differences = compared(aligned(state, network).state, network)
    except MisfitError:  # several networks of this kind in one file: which one is meant is another question
        return True
    head = str(classifier_name(network)).partition(".")[0]
    keys = (*differences.missing, *differences.unexpected, *differences.reshaped)
    return all(key.partition(".")[0] in (head, "AuxLogits", "aux1", "aux2") for key in keys)


def _share(state: dict[str, Tensor], name: str) -> float:
    network = _skeleton(name)
    own = network.state_dict()
    inside = aligned(state, network).state
    same = sum(key in own and own[key].shape == value.shape for key, value in inside.items())
    return float(same) / max(len(inside), len(own))


@functools.lru_cache(maxsize=80)
def _skeleton(name: str) -> nn.Module:
    """An architecture without memory for its weights."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with _EmptyOnMeta():
        network: nn.Module = models.get_model(name, weights=None, **options)
    return network


class _EmptyOnMeta(TorchFunctionMode):
    """Weights take no memory while a network is built; its other computations (regnet has some) go on as usual."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)
