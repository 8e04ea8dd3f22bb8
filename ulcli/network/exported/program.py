"""What an exported program says: operators in their order, and the shape of its input.

The description is plain data (it is what a model file holds), and is checked here whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch

from ulcli.errors import UserError
from ulcli.network.exported.operators import bind, find_operator, is_assertion, is_training, works_in_place

# As the format numbers them.
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    9: torch.complex32,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
}
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_STRIDED = 7  # the layout


class Ref(NamedTuple):
    """A value that an earlier operator gave, the images, or a weight."""

    name: str


class Module(NamedTuple):
    """A module of the original network."""

    name: str
    kind: str  # its class
    call: str  # which of its calls, in the format's own words


class Device:
    """Stands for the device that the program runs on, whichever it was exported for."""


DEVICE = Device()


@dataclass(frozen=True)
class Size:
    """What a dimension of the images may be."""

    example: int  # that of the images which the network was exported with
    least: int
    most: int | None  # None: any

    @property
    def is_fixed(self) -> bool:
        """Tell whether there is no choice."""
        return self.least == self.most


@dataclass(frozen=True)
class Input:
    """The images that a program takes."""

    name: str
    dtype: torch.dtype
    sizes: tuple[Size, Size, Size, Size]  # batch, channels, height, width


@dataclass(frozen=True)
class Node:
    """One call of an operator."""

    target: str
    function: Callable[..., Any]
    named: dict[str, Any]  # its arguments by name, with `Ref` for values
    outputs: tuple[str | None, ...] | str  # a name, or one for each entry of what it gives
    modules: tuple[Module, ...]  # the modules of the original that it is part of, the outermost first

    @cached_property
    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Give positional and keyword arguments."""
        return bind(self.function, self.named)

    @property
    def reads(self) -> Iterator[str]:
        """List the values that it takes."""
        for value in self.named.values():
            yield from _refs(value)

    @property
    def writes(self) -> tuple[str, ...]:
        """List the values that it gives."""
        return (self.outputs,) if isinstance(self.outputs, str) else tuple(name for name in self.outputs if name)


@dataclass(frozen=True)
class Program:
    """A checked program."""

    input: Input
    weights: dict[str, str]  # by the name of the value, the key of the tensor
    tensors: dict[str, tuple[torch.dtype, tuple[int, ...]]]  # by key
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    keys: tuple[str, ...] | None  # of the outputs, where they are a dictionary or an object

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> Program:
        """Check a description; `UserError` says what is wrong with it, as the end of a sentence."""
        try:
            program = cls(
                _input(description["input"]),
                {str(name): str(key) for name, key in description["weights"].items()},
                {key: _tensor(value) for key, value in description["tensors"].items()},
                tuple(_node(node) for node in description["nodes"] if not is_assertion(node["target"])),
                tuple(_text(name) for name in description["outputs"]),
                None if description["keys"] is None else tuple(map(_text, description["keys"])),
            )
            program._check_values()
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, RuntimeError) as error:
            raise UserError(f"is damaged: its graph cannot be read ({error!r:.200})") from None
        return program

    def _check_values(self) -> None:
        """Raise `ValueError` unless each value is given once, and before it is taken."""
        known = {self.input.name, *self.weights}
        if len(known) != len(self.weights) + 1 or not set(self.weights.values()) <= self.tensors.keys():
            raise ValueError("weights without a tensor")
        for node in self.nodes:
            unknown = next((name for name in node.reads if name not in known), None)
            if unknown is not None or any(name in known for name in node.writes):
                raise ValueError(f"'{node.target}' takes or gives values out of order")
            if works_in_place(node.target) and next(node.reads, None) in self.weights:
                raise UserError("changes its own weights while it runs; export it after model.eval()")
            known.update(node.writes)
        if not self.outputs or not set(self.outputs) <= known - {self.input.name, *self.weights}:
            raise ValueError("outputs that nothing gives")
        if self.keys is not None and len(self.keys) != len(self.outputs):
            raise ValueError("as many names as outputs expected")


def _input(content: Mapping[str, Any]) -> Input:
    dtype = DTYPES[content["dtype"]]
    if not dtype.is_floating_point:
        raise UserError(f"takes images of {str(dtype).removeprefix('torch.')}, expected floating-point numbers")
    sizes = [Size(*each) for each in content["sizes"]]
    if len(sizes) != 4:
        raise UserError(f"takes a tensor of {len(sizes)} dimensions, expected images (batch, channels, height, width)")
    for size in sizes:
        if type(size.example) is not int or type(size.least) is not int or not 0 < size.least <= size.example < 2**31:
            raise ValueError(f"a size of {size}")
        if size.most is not None and (type(size.most) is not int or size.most < size.example):
            raise ValueError(f"a size of {size}")
    if not sizes[1].is_fixed or sizes[1].example not in (1, 3):
        raise UserError(f"takes images of {sizes[1].example} channels, expected 1 or 3")
    if sizes[2] != sizes[3] and (sizes[2].is_fixed or sizes[3].is_fixed):
        raise UserError(f"takes images of {sizes[2].example} x {sizes[3].example} pixels, expected square ones")
    return Input(_text(content["name"]), dtype, (sizes[0], sizes[1], sizes[2], sizes[3]))


def _tensor(content: Any) -> tuple[torch.dtype, tuple[int, ...]]:
    dtype, shape = content
    return DTYPES[dtype], tuple(map(_count, shape))


def _node(content: Mapping[str, Any]) -> Node:
    target = _text(content["target"])
    function = find_operator(target)
    named = {_text(each["name"]): _argument(each["arg"]) for each in content["inputs"]}
    if is_training(named):
        raise UserError("was exported in training mode; call model.eval() before torch.export.export")
    outputs = [name for each in content["outputs"] for name in _names(each)]
    single = len(content["outputs"]) == 1 and next(iter(content["outputs"][0])) != "as_tensors"
    written: Any = outputs[0] if single else tuple(outputs)
    if single and written is None:
        written = (None,)
    return Node(target, function, named, written, _modules(content.get("stack") or ""))


def _names(output: Mapping[str, Any]) -> list[str | None]:
    """The names of what one output of an operator holds."""
    kind, value = _only(output)
    if kind == "as_none":
        return [None]
    if kind == "as_tensor":
        return [_text(value["name"])]
    if kind == "as_tensors":
        return [_text(each["name"]) for each in value]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return [_text(value["as_name"])]
    raise UserError(f"has an operator that gives '{kind[3:]}', which is not read")


def _argument(content: Mapping[str, Any]) -> Any:
    """One argument, with `Ref` for values of the program."""
    kind, value = _only(content)
    if kind not in _ARGUMENTS:
        raise UserError(f"calls an operator with an argument of the kind '{kind[3:]}', which is not read")
    return _ARGUMENTS[kind](value)


def _only(content: Mapping[str, Any]) -> tuple[str, Any]:
    ((kind, value),) = content.items()
    return _text(kind), value


def _number_or_ref(content: Mapping[str, Any]) -> Any:
    kind, value = _only(content)
    return Ref(_text(value)) if kind == "as_name" else _NUMBERS[kind](value)


def _optional_tensor(content: Mapping[str, Any]) -> Ref | None:
    kind, value = _only(content)
    return None if kind == "as_none" else Ref(_text(value["name"]))


def _ref(content: Mapping[str, Any]) -> Ref:
    return Ref(_text(content["name"]))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) >= 2**63:
        raise TypeError(f"{value!r:.80} is no whole number")
    return value


def _count(value: Any) -> int:
    if _whole(value) < 0:
        raise ValueError(f"a size of {value}")
    return int(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is neither true nor false")
    return value


def _layout(value: Any) -> torch.layout:
    if value != _STRIDED:
        raise UserError("makes sparse tensors, which are not read")
    return torch.strided


def _each(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda values: [read(value) for value in values]


_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "as_int": _whole,
    "as_float": float,  # also of texts: "Infinity", "NaN"
    "as_bool": _flag,
}
_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    **_NUMBERS,
    "as_none": lambda value: None,
    "as_ints": _each(_whole),
    "as_floats": _each(float),
    "as_bools": _each(_flag),
    "as_string": _text,
    "as_strings": _each(_text),
    "as_tensor": _ref,
    "as_tensors": _each(_ref),
    "as_optional_tensor": _optional_tensor,
    "as_optional_tensors": _each(_optional_tensor),
    "as_sym_int": _number_or_ref,
    "as_sym_ints": _each(_number_or_ref),
    "as_sym_float": _number_or_ref,
    "as_sym_floats": _each(_number_or_ref),
    "as_sym_bool": _number_or_ref,
    "as_sym_bools": _each(_number_or_ref),
    "as_scalar_type": lambda value: DTYPES[value],
    "as_memory_format": lambda value: _MEMORY_FORMATS[value],
    "as_layout": _layout,
    "as_device": lambda value: DEVICE,
}


def _modules(stack: str) -> tuple[Module, ...]:
    """The modules in a stack, as the format writes it: `key,path,type` each, where the key of a second call ends in @1.

    The network itself, whose path is empty, is left out, and so are slices of a Sequential, whose names hold commas.
    """
    found = []
    for entry in stack.split(";"):
        matched = re.fullmatch(r"([^,]*),([^,]+),([^,]*)", entry)
        if matched is not None and not matched[1].startswith("_empty"):
            found.append(Module(matched[2], matched[3], matched[1]))
    return tuple(found)


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, list):
        for each in value:
            yield from _refs(each)
