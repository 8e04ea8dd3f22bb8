"""What a source of networks is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from ulcli.data.transform import Transform
from ulcli.errors import UserError


class Images(NamedTuple):
    """What images a network was made for."""

    channels: int
    size: int  # of each side
    is_fixed: bool  # whether it takes no other size


class Built(NamedTuple):
    """A network, and what it takes to have its source build the same again."""

    network: nn.Module
    num_classes: int | None  # where the default does not do
    options: dict[str, Any]  # further arguments, as plain values that a model file may hold
    notes: tuple[str, ...] = ()  # what was assumed and is to be told
    has_classifier: bool = True  # False: of a backbone alone, the network's classifier is a random one
    images: Images | None = None  # those that it takes, where it says so


class Bundle(NamedTuple):
    """What a file or folder holds that brings its own network along."""

    arch: str
    built: Built  # with its weights
    classes: tuple[str, ...] | None = None  # None where they are only numbered
    transform: Transform | None = None


class NetworkSource(ABC):
    """One way to get from an ARCH to a network.

    The defaults are those of a source that publishes nothing, can build its networks for any number of classes, and
    needs no further arguments.
    """

    example: str  # an ARCH as the documentation shows it
    description: str  # what such an ARCH names, for the documentation

    is_library = True  # whether its networks keep every tensor that matters as a parameter or a buffer

    def __init__(self, *, trusted: bool) -> None:
        self.trusted = trusted  # whether code in the working directory may run

    @staticmethod
    @abstractmethod
    def recognises(arch: str) -> bool:
        """Tell whether an ARCH is meant for this source, by its form alone."""

    @abstractmethod
    def build(self, arch: str, num_classes: int | None = None, options: Mapping[str, Any] | None = None) -> nn.Module:
        """Build the network, randomly initialised; `num_classes` and `options` where the defaults do not do.

        Options come from the command line or from a model file: a `UserError` says which of them make no sense.
        """

    def accepts_class_count(self, arch: str) -> bool:
        """Tell whether the network can be built with another number of classes than its own."""
        return True

    def needs_class_count(self, arch: str) -> bool:
        """Tell whether the network cannot be built without a number of classes."""
        return False

    def options_for(
        self, arch: str, state: Mapping[str, Tensor], given: Mapping[str, Any]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Add to the given options those that a state dict shows, and say in notes what had to be assumed."""
        return dict(given), ()

    def published_network(
        self, arch: str, weights: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Built:
        """Build the network with the weights that come with it: as a rule published ones, downloaded on first use.

        Those that `weights` names, else the default ones.
        """
        raise UserError(f"'{arch}' has no published weights; give a checkpoint")

    def published_transform(
        self, arch: str, weights: str | None = None, options: Mapping[str, Any] | None = None
    ) -> Transform | None:
        """Give the preprocessing of published weights, for a network built with `options`; None without any."""
        if weights is not None:
            raise UserError(f"'{arch}' has no published weights: --weights goes with the name of an architecture")
        return None

    def published_classes(self, arch: str, weights: str | None = None) -> tuple[str, ...] | None:
        """Give the class names of published weights, in the order of their outputs; None where there are none."""
        return None


def with_class_count(options: Mapping[str, Any] | None, num_classes: int | None) -> dict[str, Any]:
    """Give the arguments that a builder is called with."""
    return dict(options or {}) if num_classes is None else {**(options or {}), "num_classes": num_classes}
