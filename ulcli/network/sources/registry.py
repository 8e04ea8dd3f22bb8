"""The sources of networks, and which of them an ARCH is meant for."""

from __future__ import annotations

from ulcli.network.sources.factory import Factory
from ulcli.network.sources.source import NetworkSource
from ulcli.network.sources.torchvision import Torchvision

# Asked in this order. The last one takes every name, and raises for those that it does not know.
SOURCES: tuple[NetworkSource, ...] = (Factory(), Torchvision())


def source_of(arch: str) -> NetworkSource:
    """Find the source that an ARCH is meant for."""
    return next(source for source in SOURCES if source.recognises(arch))
