"""Stand-ins for the harmless objects that training scripts save beside the weights.

A checkpoint is read with `weights_only=True`, which builds nothing but tensors and plain containers. Training scripts
also save their options, paths, dates and NumPy numbers. Each of those types is read as a stand-in of our own: the real
class is never called, so nothing depends on what its constructor or `__setstate__` would do. A stand-in keeps what it
is given, or drops it; none imports, opens, allocates by a number in the file, or repeats what the file says once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Dropped:
    """An object that nothing here reads."""

    def __new__(cls, *_: Any) -> Dropped:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class Fields(dict[Any, Any]):
    """The attributes of a namespace, as a dictionary."""

    def __new__(cls, *_: Any) -> Fields:
        return dict.__new__(cls)

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)


class PlainDict:
    """A dictionary of another make: its entries follow, its other properties do not matter."""

    def __new__(cls, *_: Any) -> Any:
        return {}


class PlainList:
    """A sequence of another make: its items follow."""

    def __new__(cls, *_: Any) -> Any:
        return []


class DType:
    """A NumPy dtype, by its name and byte order."""

    def __new__(cls, *_: Any) -> DType:
        return object.__new__(cls)

    def __init__(self, name: Any = None, *_: Any) -> None:
        self.name = name if isinstance(name, str) and len(name) < 16 else ""
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
            self.order = state[1]

    def values(self, content: Any) -> list[Any] | None:
        """The numbers or texts that bytes hold; None for a dtype that is neither, or bytes that do not fit it."""
        content = content.encode("latin1") if isinstance(content, str) else content
        if self.name[:1] not in tuple("biufUS") or not isinstance(content, bytes):
            return None
        try:
            return np.frombuffer(content, np.dtype(self.order + self.name)).tolist()  # type: ignore[no-any-return]
        except (TypeError, ValueError):
            return None


class Array:
    """A NumPy array. Its values are listed only when somebody asks."""

    def __new__(cls, *_: Any) -> Array:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        self.content: Any = None
        self.dtype: Any = None

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 5:
            _, _, self.dtype, _, self.content = state

    def tolist(self) -> list[Any] | None:
        """The values in the order in which they are stored; None where they are no numbers or texts."""
        if isinstance(self.content, list):  # an array of objects
            return self.content
        return self.dtype.values(self.content) if isinstance(self.dtype, DType) else None


def scalar(dtype: Any = None, content: Any = None, *_: Any) -> Any:
    """A NumPy scalar as the Python number or text that it holds."""
    values = dtype.values(content) if isinstance(dtype, DType) else None
    return values[0] if values and len(values) == 1 else Dropped()


_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
_LIGHTNING = ("pytorch_lightning", "lightning.pytorch")
_OMEGACONF_NODES = ("AnyNode", "StringNode", "IntegerNode", "FloatNode", "BooleanNode", "PathNode", "BytesNode")

_STAND_INS: dict[str, Callable[..., Any]] = {
    # What argparse, and scripts that imitate it, keep their options in
    **dict.fromkeys(("argparse.Namespace", "types.SimpleNamespace"), Fields),
    # Containers
    **dict.fromkeys(
        (
            "collections.defaultdict",
            "pytorch_lightning.utilities.parsing.AttributeDict",
            "lightning.pytorch.utilities.parsing.AttributeDict",
            "lightning_fabric.utilities.data.AttributeDict",
            "lightning.fabric.utilities.data.AttributeDict",
            "yacs.config.CfgNode",
        ),
        PlainDict,
    ),
    "collections.deque": PlainList,
    # What a defaultdict makes its entries with, and types as values
    **{f"builtins.{name}": Dropped for name in ("bool", "dict", "float", "int", "list", "object", "str", "tuple")},
    **{f"builtins.{name}": Dropped for name in ("frozenset", "range", "slice", "bytes")},
    # Paths, dates, versions
    **{f"pathlib.{name}": Dropped for name in _PATHS},
    **{f"pathlib._local.{name}": Dropped for name in _PATHS},
    **{f"datetime.{name}": Dropped for name in ("date", "datetime", "time", "timedelta", "timezone")},
    "decimal.Decimal": Dropped,
    "fractions.Fraction": Dropped,
    "uuid.UUID": Dropped,
    "torch.torch_version.TorchVersion": Dropped,
    # NumPy 1 and 2
    "numpy.dtype": DType,
    "numpy.ndarray": Array,
    **{f"numpy.{core}.multiarray.scalar": scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": Array for core in ("core", "_core")},
    # Hydra's and Lightning's configuration; keys of old Lightning's callback states
    "typing.Any": Dropped,
    **dict.fromkeys(("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"), Dropped),
    **dict.fromkeys(("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata"), Dropped),
    **{f"omegaconf.nodes.{name}": Dropped for name in _OMEGACONF_NODES},
    **{f"{top}.callbacks.model_checkpoint.ModelCheckpoint": Dropped for top in _LIGHTNING},
    **{f"{top}.callbacks.early_stopping.EarlyStopping": Dropped for top in _LIGHTNING},
}

HARMLESS = frozenset(_STAND_INS)

# torch keeps the list for the whole process: without the lock, a thread that ends would take it from another.
_LOCK = threading.Lock()


@contextmanager
def stand_ins() -> Iterator[None]:
    """Let `torch.load(weights_only=True)` read the harmless types as their stand-ins."""
    with _LOCK, torch.serialization.safe_globals([(stand_in, name) for name, stand_in in _STAND_INS.items()]):
        yield
