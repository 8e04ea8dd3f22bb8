"""Networks of the user's own: a function or class named by `package.module:factory`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import nn

from ulcli.errors import UserError, unknown_name
from ulcli.network.sources.source import NetworkSource

# Who imports one of these is about to build a network.
_NETWORK_LIBRARIES = ("torch", "torchvision", "timm")


class Factory(NetworkSource):
    """The user's own code: `package.module:factory`, a function or class that gives the network."""

    example = "package.module:factory"
    description = "a function or class of your own that gives a network"

    def recognises(self, arch: str) -> bool:
        return ":" in arch

    def build(self, arch: str, num_classes: int | None = None) -> nn.Module:
        return _call_factory(arch, num_classes)

    def accepts_class_count(self, arch: str) -> bool:
        parameters = inspect.signature(_import_factory(arch)).parameters
        return "num_classes" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())

    def needs_class_count(self, arch: str) -> bool:
        parameter = inspect.signature(_import_factory(arch)).parameters.get("num_classes")
        return parameter is not None and parameter.default is parameter.empty


def _call_factory(name: str, num_classes: int | None) -> nn.Module:
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
    """Import the function or class that `name` means.

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
    """Judge without a call whether to expect a network: a class of them, or a function that says so or uses torch.

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
    return isinstance(value, type) and issubclass(value, nn.Module)


def _is_of_networks(value: Any) -> bool:
    """Tell whether something in a module is a network class or comes from a library of networks."""
    origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return _is_network_class(value) or str(origin).partition(".")[0] in _NETWORK_LIBRARIES


def _resolved(annotation: str, namespace: Mapping[str, Any]) -> Any:
    """Look up a dotted name in a module; torch's own also where they are imported for type checkers alone."""
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
