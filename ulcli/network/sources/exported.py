"""Exported programs (`torch.export`): a file that holds a network whole, without the code that made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ulcli.errors import UserError
from ulcli.network.exported.archive import read_program
from ulcli.network.exported.network import ExportedNetwork
from ulcli.network.exported.program import Program
from ulcli.network.loading.blank import assign_weights
from ulcli.network.sources.source import Built, Bundle, Images, NetworkSource

_ARCH = "exported"


class Exported(NetworkSource):
    """The network of an exported program; the program itself is the option `program`, as plain values."""

    example = _ARCH
    description = "an exported program, which names itself: `ul train net.pt2` needs no `--arch`"

    @staticmethod
    def recognises(arch: str) -> bool:
        return arch == _ARCH

    def build(self, arch: str, num_classes: int | None = None, options: Mapping[str, Any] | None = None) -> nn.Module:
        description = (options or {}).get("program")
        if not isinstance(description, dict):
            raise UserError(f"'{arch}' is built from an exported program; give its file (.pt2) as the checkpoint")
        return _network(description, "the exported program")

    def accepts_class_count(self, arch: str) -> bool:
        return False  # the program has its own


def read_exported(path: Path) -> Bundle:
    """Build the network of a `.pt2` file with its weights; nothing in the file is run but operators on a list."""
    description, state, notes = read_program(path)
    network = _network(description, f"'{path}'")
    assign_weights(network, state)
    _, channels, *sides = network.program.input.sizes
    images = Images(channels.example, sides[0].example, all(side.is_fixed for side in sides))
    return Bundle(_ARCH, Built(network, None, {"program": description}, notes, images=images))


def _network(description: Mapping[str, Any], name: str) -> ExportedNetwork:
    try:
        return ExportedNetwork(Program.parse(description))
    except UserError as error:
        raise UserError(f"{name} {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise UserError(f"{name} is damaged: no network can be made of it ({error!r:.200})") from None
