"""Reading files of tensors that may come from strangers."""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ulcli.errors import UserError


def read_archive(path: Path) -> Any:
    """What `torch.save` or safetensors wrote to `path`, on the CPU; nothing in it can run code.

    Every kind of file that is something else gets its own `UserError`.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except FileNotFoundError:
        raise UserError(f"no such file: '{path}'") from None
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None
    if not start:
        raise UserError(f"'{path}' is empty")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if start == b"PK\x03\x04" and not zipfile.is_zipfile(path):
        raise UserError(f"'{path}' is truncated: the end of the archive is missing; copy or download it again")
    return _read_torch(path)


def _read_torch(path: Path) -> Any:
    import torch

    remedy = "save only tensors: torch.save(model.state_dict(), ...)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an unusual pickle protocol may fail; it says so below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        culprit = named[1] if named else _first_code_in_pickle(path)
        if culprit is None:
            raise UserError(f"'{path}' is damaged, or not what torch.save writes by default; {remedy}") from None
        raise UserError(f"'{path}' holds a pickle that wants to run code ({culprit}); refused: {remedy}") from None
    except MemoryError:
        raise
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError, ValueError ... on damaged files
        if "TorchScript" in str(error):
            raise UserError(f"'{path}' is a TorchScript archive, which holds code; refused: {remedy}") from None
        raise UserError(f"'{path}' is not a file that torch.save wrote, or it is damaged") from None


def _first_code_in_pickle(path: Path) -> str | None:
    """The first function or class that a plain pickle names, read without running it; None for other files."""
    texts: list[str] = []
    try:
        with path.open("rb") as stream:
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if operation.name == "STACK_GLOBAL":  # protocol 4 on: module and name are the last two texts
                    return ".".join(texts[-2:])
                if isinstance(argument, str):
                    texts.append(argument)
    except Exception:  # pickletools raises ValueError and more on what is no pickle
        return None
    return None


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise UserError(f"reading '{path}' needs safetensors: pip install 'uncertainty-loss[safetensors]'") from None
    try:
        return load_file(path)
    except Exception as error:  # SafetensorError is no subclass of anything narrower
        raise UserError(f"'{path}' is not a safetensors file, or it is damaged: {error}") from None
