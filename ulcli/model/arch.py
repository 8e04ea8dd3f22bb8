"""Networks by name: torchvision's, and the user's own."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ulcli.data.transform import Transform
from ulcli.errors import UserError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn


def is_factory(name: str) -> bool:
    """Whether an architecture's name means the user's own code: `package.module:factory`."""
    return ":" in name


def build_network(name: str, num_classes: int | None = None) -> nn.Module:
    """The network that `name` means, randomly initialised; `num_classes` where its default does not do."""
    if is_factory(name):
        return _call_factory(name, num_classes)
    models = _torchvision_models(name)
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # minutes of scipy sampling for numbers that a checkpoint replaces
    network: nn.Module = models.get_model(name, weights=None, **options)
    return network


def network_for(name: str, state: dict[str, Tensor]) -> tuple[nn.Module, int | None]:
    """The network with the weights of a state dict, and the number of classes that it had to be built with."""
    network, num_classes = build_network(name), None
    classes = _other_class_count(network.state_dict(), state)
    if classes is not None and accepts_class_count(name):
        network, num_classes = build_network(name, classes), classes
    load_weights(network, state, name)
    return network, num_classes


def load_weights(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load a state dict, or raise a `UserError` that says which keys do not fit."""
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
        raise UserError(f"the checkpoint does not fit '{name}': of its keys {', '.join(problems)}; check --arch")
    network.load_state_dict(state, strict=False)


def published_network(name: str) -> nn.Module:
    """The network with the weights that torchvision publishes; downloads them on first use."""
    if is_factory(name):
        raise UserError(f"'{name}' has no published weights; give a checkpoint")
    models = _torchvision_models(name)
    try:
        network: nn.Module = models.get_model(name, weights="DEFAULT")
    except OSError as error:
        raise UserError(f"could not download the published weights of '{name}': {error}; give a checkpoint") from None
    return network


def published_transform(name: str) -> Transform | None:
    """How images were prepared for a torchvision architecture's published weights; None for the user's own code."""
    if is_factory(name):
        return None
    preset = _torchvision_models(name).get_model_weights(name).DEFAULT.transforms()
    return Transform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


def accepts_class_count(name: str) -> bool:
    """Whether the network can be built with another number of classes than its own."""
    return not is_factory(name) or "num_classes" in inspect.signature(_import_factory(name)).parameters


def _torchvision_models(name: str) -> Any:
    """The module `torchvision.models`, once it is sure that `name` is one of its classifiers."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("architecture", name, known, "your own network is --arch package.module:factory")
    return models


def _call_factory(name: str, num_classes: int | None) -> nn.Module:
    from torch import nn

    factory = _import_factory(name)
    try:
        network = factory() if num_classes is None else factory(num_classes=num_classes)
    except TypeError as error:
        raise UserError(f"'{name}' must be callable without arguments: {error}") from None
    if not isinstance(network, nn.Module):
        raise UserError(f"'{name}' gave a {type(network).__name__}, expected a torch.nn.Module")
    return network


def _import_factory(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    top = module_name.partition(".")[0]
    # A model file names the factory that it needs, and the file may come from a stranger: nothing of Python's own
    # (os:abort, ...) is a network, and only what a module itself defines is called, not what it imports.
    if top in sys.stdlib_module_names:
        raise UserError(f"'{name}' is part of Python, not a network")
    try:
        module = _import_also_from_here(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"cannot import '{module_name}' for --arch {name}: {error}; run where it lies or set PYTHONPATH"
        ) from None
    except Exception as error:
        raise UserError(f"importing '{module_name}' for --arch {name} failed: {error!r}") from error
    factory = getattr(module, attribute, None)
    if factory is None:
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"factory in '{module_name}'", attribute, public)
    if not callable(factory) or str(getattr(factory, "__module__", "")).partition(".")[0] != top:
        raise UserError(f"'{name}' is not a function or class that '{module_name}' defines")
    result: Callable[..., Any] = factory
    return result


def _import_also_from_here(module_name: str) -> Any:
    """Import with the working directory as the last place to look, as the user's own scripts would find it."""
    here = os.getcwd()
    if here in sys.path:
        return importlib.import_module(module_name)
    sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    finally:
        sys.path.remove(here)


def _other_class_count(own: dict[str, Tensor], state: dict[str, Tensor]) -> int | None:
    """The class count of a state dict whose classifier differs from the network's in the first dimension only."""
    reshaped = {key for key in own if key in state and own[key].shape != state[key].shape}
    counts = {
        state[key].shape[0]
        for key in reshaped
        if state[key].dim() == own[key].dim() and state[key].shape[1:] == own[key].shape[1:]
    }
    return counts.pop() if len(counts) == 1 else None
