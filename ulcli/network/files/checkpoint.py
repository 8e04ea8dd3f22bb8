"""The classifiers that users bring."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ulcli.errors import UserError
from ulcli.network.files.archive import read_archive
from ulcli.network.files.metadata import Metadata, read_metadata
from ulcli.network.files.shards import read_config
from ulcli.network.files.weights import choose_weights
from ulcli.network.files.wrappers import without_wrappers


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, and what the file says about it."""

    state: dict[str, Tensor]
    arch: str | None = None  # as the file itself names it under 'arch'
    arch_hints: tuple[str, ...] = ()  # other texts in the file that may name it
    classes: tuple[str, ...] | None = None  # in the order of the outputs
    num_classes: int | None = None
    notes: tuple[str, ...] = ()  # what the user is to be told


def sample_checkpoint() -> Path:
    """The digits classifier that comes with the tool."""
    return sample_models() / "digits_cnn.pt"


def sample_models() -> Path:
    """The sample models: inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(str(resources.files("ulcli")))
    inside = package / "sample_models"
    return inside if inside.is_dir() else package.parent / "sample_models"


def read_checkpoint(path: Path, *, weights_key: str | None = None) -> Checkpoint:
    """Read the state dict of a file or folder, in any form that training scripts leave."""
    return parse_checkpoint(read_archive(path), path, weights_key=weights_key)


def parse_checkpoint(content: Any, path: Path, *, weights_key: str | None = None) -> Checkpoint:
    """Find the state dict in what a checkpoint file holds; `weights_key` says which where there are several."""
    chosen = choose_weights(content, path, weights_key)
    _check_tensors(chosen.state, path)
    state = without_wrappers(chosen.state)
    said = _believable(read_metadata(content, read_config(path)), state)
    return Checkpoint(state, said.arch, said.arch_hints, said.classes, said.num_classes, (*chosen.notes, *said.notes))


def _check_tensors(state: dict[str, Tensor], path: Path) -> None:
    """Raise `UserError` for tensors that are no plain numbers in memory."""
    for key, value in state.items():
        kind = (
            "quantized"
            if value.is_quantized
            else "without data (of the meta device)"
            if value.is_meta
            else "sparse or nested"
            if value.layout is not torch.strided or value.is_nested
            else None
        )
        if kind is not None:
            raise UserError(f"'{path}': the weights '{key[:80]}' are {kind}; save those of the plain float network")


def _believable(said: Metadata, state: dict[str, Tensor]) -> Metadata:
    """The metadata without classes that no layer of the network has as many outputs as."""
    if said.classes is None:
        return said
    count = len(said.classes)
    outputs = {value.shape[0] for value in state.values() if value.dim()}
    if count in outputs or (count == 2 and 1 in outputs):  # two classes also come as one logit
        return said
    note = f"the file lists {count} classes, but no layer has as many outputs; they are not used"
    return replace(said, classes=None, notes=(*said.notes, note))
