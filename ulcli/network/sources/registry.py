"""The sources of networks, and which of them an ARCH is meant for."""

from __future__ import annotations

from ulcli.network.sources.exported import Exported
from ulcli.network.sources.factory import Factory
from ulcli.network.sources.source import NetworkSource
from ulcli.network.sources.timm import Timm
from ulcli.network.sources.torchvision import Torchvision
from ulcli.network.sources.transformers import Transformers

# Asked in this order. The last one takes every name, and raises for those that it does not know.
SOURCES: tuple[type[NetworkSource], ...] = (Factory, Timm, Transformers, Exported, Torchvision)


def source_of(arch: str, *, trusted: bool = False) -> NetworkSource:
    """Find the source that an ARCH is meant for.

    `trusted` says that the user vouches for code in the working directory: the ARCH stood on this very command line,
    or so did --trust-code.
    """
    return next(source for source in SOURCES if source.recognises(arch))(trusted=trusted)
