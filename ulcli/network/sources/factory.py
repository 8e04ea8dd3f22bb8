"""Networks of the user's own: a function or class named by `package.module:factory`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ulcli.errors import UserError, unknown_name
from ulcli.network.loading.keys import classifier_name
from ulcli.network.sources.source import Built, NetworkSource, with_class_count
from ulcli.network.usercode import told_in_one_line

# Who imports one of these is about to build a network.
_NETWORK_LIBRARIES = ("torch", "torchvision", "timm")


class Factory(NetworkSource):
    """The user's own code: `package.module:factory`, a function or class that gives the network."""

    example = "package.module:factory"
    description = "a function or class of your own that gives a network"
    is_library = False

    @staticmethod
    def recognises(arch: str) -> bool:
        return ":" in arch

    def build(self, arch: str, num_classes: int | None = None, options: Mapping[str, Any] | None = None) -> nn.Module:
        if options and not self.trusted:
            raise UserError(
                f"'{arch}' is to be called with {', '.join(options)} by the word of a file; add --trust-code if it is "
                "yours or you have read it"
            )
        factory = self._import(arch)
        arguments = with_class_count(options, num_classes)
        how = f"with {', '.join(arguments)} alone" if arguments else "without arguments"
        with told_in_one_line(f"reading the parameters of '{arch}' failed"):
            parameters = inspect.signature(factory)
        try:
            parameters.bind(**arguments)
        except TypeError as error:
            raise UserError(f"'{arch}' must be callable {how}: {error}; --arch-arg NAME=VALUE gives it more") from None
        with self._visible(), told_in_one_line(f"calling '{arch}' failed"):
            network = factory(**arguments)
        if not isinstance(network, nn.Module):
            raise UserError(f"'{arch}' gave a {type(network).__name__}, expected a torch.nn.Module")
        return network

    def published_network(
        self, arch: str, weights: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Built:
        """Build the network with the weights that the factory itself gives it.

        Weights that depend on torch's random state are nobody's. Where those of the classifier alone do, the rest is
        a backbone, as of a fine-tuning that is yet to begin.
        """
        if weights is not None:
            raise UserError(f"'{arch}' gives its own weights; --weights goes with the name of an architecture")
        if self.needs_class_count(arch) and "num_classes" not in (options or {}):
            raise UserError(
                f"'{arch}' needs num_classes; say --arch-arg num_classes=NUMBER, or give a checkpoint to read it off"
            )
        one, other = (self._seeded(arch, options, seed) for seed in (0, 1))
        drawn = _differing(one, other)
        name = classifier_name(one)
        if not drawn:
            return Built(one, None, dict(options or {}))
        if name is None or any(key.rpartition(".")[0] != name for key in drawn) or len(drawn) == len(one.state_dict()):
            raise UserError(
                f"'{arch}' gives random weights ({len(drawn)} tensors, such as '{drawn[0]}', differ from call to "
                "call); give a checkpoint, or load the weights in the factory"
            )
        note = f"'{arch}' draws the weights of its classifier ('{name}') at random: a new one is fitted"
        return Built(one, None, dict(options or {}), (note,), has_classifier=False)

    def _seeded(self, arch: str, options: Mapping[str, Any] | None, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build(arch, None, options)

    def accepts_class_count(self, arch: str) -> bool:
        parameters = self._parameters(arch)
        return "num_classes" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())

    def needs_class_count(self, arch: str) -> bool:
        parameter = self._parameters(arch).get("num_classes")
        return parameter is not None and parameter.default is parameter.empty

    def _parameters(self, arch: str) -> Mapping[str, inspect.Parameter]:
        with told_in_one_line(f"reading the parameters of '{arch}' failed"):
            return inspect.signature(self._import(arch)).parameters

    def _import(self, arch: str) -> Callable[..., Any]:
        """Import the function or class that an ARCH names.

        A model file names the factory that it needs, and the file may come from a stranger. Who also leaves a module
        in the working directory (both unpacked from one archive, say) could run any code, so the directory is hidden
        from the import unless the user vouches for it. What is left to a stranger is to choose among all that is
        installed. So nothing of Python's own is imported (os:abort), only what a module itself defines is called and
        not what it imports, and only what looks like a network (`_promises_network`): not the `main` of some tool,
        which would act on this process's arguments.

        It brings no arguments either but the number of classes (`build`): torch alone has functions that run whatever
        they are given.

        What remains open to such a file: importing runs a module, whichever it is, and a function that takes no
        arguments is called where its module uses torch, whatever else the function does.
        """
        module_name, _, attribute = arch.partition(":")
        if not all((*module_name.split("."), attribute)):
            raise UserError(f"'{arch}' names no network; expected package.module:factory, from the top package on")
        top = module_name.partition(".")[0]
        if top in sys.stdlib_module_names:
            raise UserError(f"'{arch}' is part of Python, not a network")
        module = self._import_module(module_name, arch)
        with told_in_one_line(f"looking up '{attribute}' in '{module_name}' failed"):
            factory = getattr(module, attribute, None)
        if factory is None:
            public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise unknown_name(f"factory in '{module_name}'", attribute, public)
        if not callable(factory) or str(getattr(factory, "__module__", "")).partition(".")[0] != top:
            raise UserError(f"'{arch}' is not a function or class that '{module_name}' defines")
        if not _promises_network(factory):
            raise UserError(
                f"'{arch}' does not look like a network and is not called: it is no torch.nn.Module, and its module "
                "does not import torch; a function that gives one can say so, '-> torch.nn.Module'"
            )
        result: Callable[..., Any] = factory
        return result

    def _visible(self) -> AbstractContextManager[None]:
        """Let imports see the working directory, or hide it from them; a factory may import more when it is called."""
        return _also_from_here() if self.trusted else _not_from_here()

    def _import_module(self, name: str, arch: str) -> ModuleType:
        try:
            with (
                self._visible(),
                told_in_one_line(f"importing '{name}' for --arch {arch} failed", let_through=ModuleNotFoundError),
            ):
                return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not self.trusted and error.name is not None and _lies_here(error.name):
                raise UserError(
                    f"'{arch}' needs '{error.name}' from the working directory, where code runs only if you say so: "
                    "add --trust-code if it is yours or you have read it"
                ) from None
            raise UserError(
                f"cannot import '{name}' for --arch {arch}: {error}; run where it lies or set PYTHONPATH"
            ) from None


def _differing(one: nn.Module, other: nn.Module) -> list[str]:
    """The keys whose tensors two networks do not share."""
    state, others = one.state_dict(), other.state_dict()
    return [key for key, value in state.items() if key not in others or not _is_equal(value, others[key])]


def _is_equal(value: Any, other: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return value.shape == other.shape and torch.equal(value.nan_to_num(), other.nan_to_num())
    return type(value) is type(other)


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


@contextmanager
def _also_from_here() -> Iterator[None]:
    """Let imports see the working directory, as the last place to look, as the user's own scripts would."""
    here = os.getcwd()
    if here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


@contextmanager
def _not_from_here() -> Iterator[None]:
    """Hide the working directory from imports where it is on the path by chance."""
    before = sys.path[:]
    seen = [entry for place, entry in enumerate(before) if not _is_here_by_chance(place, entry)]
    sys.path[:] = seen
    try:
        yield
    finally:
        sys.path[:] = before + [entry for entry in sys.path if entry not in seen]  # what the module itself added


def _is_here_by_chance(place: int, entry: str) -> bool:
    """Tell whether an entry of `sys.path` is the working directory without anybody having written it there.

    `python -m` puts it first, and an empty part of PYTHONPATH means it. A PYTHONPATH that spells it out and an
    editable install are the user's own word.
    """
    if not _is_same_folder(entry or os.curdir, os.curdir):
        return False
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    is_first = place == 0 and not getattr(sys.flags, "safe_path", False)
    return is_first or ("" in parts and parts != [""])


def _is_same_folder(first: str, second: str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def _lies_here(module_name: str) -> bool:
    """Tell whether a top-level module is in the working directory, without running it."""
    return "." not in module_name and PathFinder.find_spec(module_name, [os.getcwd()]) is not None
