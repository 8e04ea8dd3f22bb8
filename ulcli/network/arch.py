"""Networks by name: torchvision's, and the user's own."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ulcli.data.transform import Transform
from ulcli.errors import UserError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn


# Who imports one of these is about to build a network.
_NETWORK_LIBRARIES = ("torch", "torchvision", "timm")


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
    # A factory that wants a number gets one to begin with: the shapes of its weights show where the right one goes.
    num_classes = 2 if _needs_class_count(name) else None
    network = build_network(name, num_classes)
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
    if not is_factory(name):
        return True
    parameters = inspect.signature(_import_factory(name)).parameters
    return "num_classes" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _needs_class_count(name: str) -> bool:
    """Whether the network cannot be built without a number of classes."""
    if not is_factory(name):
        return False
    parameter = inspect.signature(_import_factory(name)).parameters.get("num_classes")
    return parameter is not None and parameter.default is parameter.empty


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
    options = {} if num_classes is None else {"num_classes": num_classes}
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise UserError(
            f"'{name}' must be callable {'with num_classes alone' if options else 'without arguments'}: {error}"
        ) from None
    try:
        network = factory(**options)
    except (Exception, SystemExit) as error:
        raise UserError(f"calling '{name}' failed: {error!r}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"'{name}' gave a {type(network).__name__}, expected a torch.nn.Module")
    return network


def _import_factory(name: str) -> Callable[..., Any]:
    """The function or class that `name` means.

    A model file names the factory that it needs, and the file may come from a stranger, who can choose among all
    that is installed here or lies in the working directory. So nothing of Python's own is imported (os:abort), only
    what a module itself defines is called and not what it imports, and only what looks like a network
    (`_promises_network`): not the `main` of some tool, which would act on this process's arguments.

    What remains open to such a file: importing runs a module, whichever it is, and a function that takes no
    arguments is called where its module uses torch, whatever else the function does. The file brings no code along.
    """
    module_name, _, attribute = name.partition(":")
    if not all((*module_name.split("."), attribute)):
        raise UserError(f"'{name}' names no network; expected package.module:factory, from the top package on")
    top = module_name.partition(".")[0]
    if top in sys.stdlib_module_names:
        raise UserError(f"'{name}' is part of Python, not a network")
    try:
        module = _import_also_from_here(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"cannot import '{module_name}' for --arch {name}: {error}; run where it lies or set PYTHONPATH"
        ) from None
    except (Exception, SystemExit) as error:
        raise UserError(f"importing '{module_name}' for --arch {name} failed: {error!r}") from error
    factory = getattr(module, attribute, None)
    if factory is None:
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"factory in '{module_name}'", attribute, public)
    if not callable(factory) or str(getattr(factory, "__module__", "")).partition(".")[0] != top:
        raise UserError(f"'{name}' is not a function or class that '{module_name}' defines")
    if not _promises_network(factory):
        raise UserError(
            f"'{name}' does not look like a network and is not called: it is no torch.nn.Module, and its module does "
            "not import torch; a function that gives one can say so, '-> torch.nn.Module'"
        )
    result: Callable[..., Any] = factory
    return result


def _promises_network(factory: Any) -> bool:
    """Whether to expect a network, judged without a call: a class of them, or a function that says so or uses torch.

    Functions of torch itself, all of which use it, must say so.
    """
    if isinstance(factory, type):
        return _is_network_class(factory)
    module = sys.modules.get(factory.__module__)
    namespace = {} if module is None else vars(module)
    returned = getattr(factory, "__annotations__", {}).get("return")
    if _is_network_class(_resolved(returned, namespace) if isinstance(returned, str) else returned):
        return True
    return factory.__module__.partition(".")[0] != "torch" and any(map(_is_of_networks, namespace.values()))


def _is_network_class(value: Any) -> bool:
    from torch import nn

    return isinstance(value, type) and issubclass(value, nn.Module)


def _is_of_networks(value: Any) -> bool:
    """Whether something that a module has at hand is a network class or comes from a library of networks."""
    origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return _is_network_class(value) or str(origin).partition(".")[0] in _NETWORK_LIBRARIES


def _resolved(annotation: str, namespace: Mapping[str, Any]) -> Any:
    """What a dotted name in a module means; torch's own also where they are imported for type checkers alone."""
    import torch

    first, *rest = annotation.split(".")
    usual = {"torch": torch, "nn": torch.nn, "Module": torch.nn.Module}
    found = namespace.get(first, usual.get(first))
    for name in rest:
        found = getattr(found, name, None)
    return found


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
