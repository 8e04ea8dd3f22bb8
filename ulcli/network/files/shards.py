"""Weights in several files with an index, and folders that hold weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ulcli.errors import UserError, shorten

# What libraries call the weights in a folder, the first that is there is taken: all of one file before shards, and
# safetensors before pickles, of which a folder often holds both.
_NAMES = ("model.safetensors", "pytorch_model.bin")
_INDEX_ENDINGS = (".safetensors.index.json", ".bin.index.json")
_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_MOST_JSON = 64 * 2**20


def locate(path: Path) -> Path:
    """The file to read: `path` itself, or the weights in the folder that it is."""
    try:
        if not path.is_dir():
            return path
        names = sorted(entry.name for entry in path.iterdir())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}") from None
    for name in _NAMES:
        if name in names:
            return path / name
    for endings in (_INDEX_ENDINGS, _WEIGHTS):
        found = [name for name in names if name.endswith(endings)]
        if len(found) == 1:
            return path / found[0]
        if found:
            raise UserError(f"'{path}' is a folder with {len(found)} checkpoints ({shorten(found)}); give one of them")
    if "saved_model.pb" in names:
        raise UserError(f"'{path}' is a TensorFlow SavedModel; only PyTorch networks are read")
    if any(name.endswith(".distcp") for name in names):
        raise UserError(
            f"'{path}' is a distributed checkpoint; make one file of it: "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} weights.pt"
        )
    raise UserError(f"'{path}' is a folder without weights; give a checkpoint file, or the folder that holds it")


def read_index(path: Path) -> dict[str, str] | None:
    """In which file each tensor is, by the index of a file in shards; None for other JSON."""
    content = read_json(path)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names:
        return None
    for name in names.values():
        if not isinstance(name, str) or not name or Path(name).name != name:
            raise UserError(f"'{path}' is damaged: its shards must be names of files beside it")
    return names


def read_json(path: Path) -> Any:
    """Give what a JSON file holds; None where it holds none."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_JSON:
            return None
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def read_config(path: Path) -> Any:
    """Give what the `config.json` says of a folder in the format of transformers or timm, or of its usual files."""
    if path.is_dir():
        return read_json(path / "config.json")
    if path.name in _NAMES or path.name.endswith(_INDEX_ENDINGS):
        return read_json(path.parent / "config.json")
    return None


def merged(path: Path, index: dict[str, str], read: Callable[[Path], Any]) -> dict[str, Any]:
    """The tensors of all shards."""
    files = sorted(set(index.values()))
    absent = [name for name in files if not (path.parent / name).is_file()]
    if absent:
        raise UserError(
            f"'{path}' is the index of {len(files)} files, of which {len(absent)} are not beside it "
            f"({shorten(absent)}); download the whole folder"
        )
    state: dict[str, Any] = {}
    for name in files:
        content = read(path.parent / name)
        if not isinstance(content, dict):
            raise UserError(f"'{path.parent / name}' holds no state dict (a dictionary of tensors)")
        wanted = [key for key, file in index.items() if file == name]
        lost = [key for key in wanted if key not in content]
        if lost:
            raise UserError(
                f"'{path.parent / name}' lacks {len(lost)} of the {len(wanted)} tensors that '{path.name}' names "
                f"(first: '{lost[0]}'); download the whole folder again"
            )
        state.update((key, content[key]) for key in wanted)
    return state
