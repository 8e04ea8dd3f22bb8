"""What a source of networks is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from ulcli.data.transform import Transform
from ulcli.errors import UserError


class NetworkSource(ABC):
    """One way to get from an ARCH to a network.

    The defaults are those of a source that publishes nothing and can build its networks for any number of classes.
    """

    example: str  # an ARCH as help and docs show it
    description: str  # what such an ARCH names, for help and docs

    @abstractmethod
    def recognises(self, arch: str) -> bool:
        """Tell whether an ARCH is meant for this source, by its form alone."""

    @abstractmethod
    def build(self, arch: str, num_classes: int | None = None) -> nn.Module:
        """Build the network, randomly initialised; `num_classes` where its default does not do."""

    def accepts_class_count(self, arch: str) -> bool:
        """Tell whether the network can be built with another number of classes than its own."""
        return True

    def needs_class_count(self, arch: str) -> bool:
        """Tell whether the network cannot be built without a number of classes."""
        return False

    def published_network(self, arch: str, weights: str | None = None) -> nn.Module:
        """Build the network with published weights, the default ones or those named; downloaded on first use."""
        raise UserError(f"'{arch}' has no published weights; give a checkpoint")

    def published_transform(self, arch: str, weights: str | None = None) -> Transform | None:
        """Give the preprocessing of published weights; None where there are none."""
        if weights is not None:
            raise UserError(f"'{arch}' has no published weights: --weights goes with the name of an architecture")
        return None

    def published_classes(self, arch: str, weights: str | None = None) -> tuple[str, ...] | None:
        """Give the class names of published weights, in the order of their outputs; None where there are none."""
        return None
