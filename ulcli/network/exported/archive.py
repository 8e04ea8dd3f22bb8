"""Read the file of an exported program (`.pt2`); nothing in it is run, nothing unpickled into code.

Of what the file holds, the graph, the weights and the constants are read. Example inputs and extra files are not.
"""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ulcli.errors import UserError
from ulcli.network.exported.program import DTYPES
from ulcli.network.files.archive import check_zip

_MAJOR = 8  # version of the format: torch 2.6 and newer
_AGAIN = "export it again, with PyTorch 2.6 or newer"
_LEGACY = "serialized_exported_program.json"  # up to PyTorch 2.7
_DTYPE_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


# Types of half the precision, which the CPU is slow with and features lose digits in, and float32.
_HALVES, _SINGLE = (6, 13), 7


class Archive(NamedTuple):
    """What a file holds: a description of the program, which `Program.parse` checks, and the tensors that it takes."""

    description: dict[str, Any]
    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()  # what the user is to be told


def read_program(path: Path) -> Archive:
    """Read a file that `torch.export.save` wrote."""
    check_zip(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except UserError as error:
        raise UserError(f"'{path}' {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # of all kinds, where a file holds other entries than expected
        raise UserError(f"'{path}' is damaged: it cannot be read as an exported program ({error!r:.200})") from None


def _read(archive: zipfile.ZipFile) -> Archive:
    members = _Members(archive)
    content = json.loads(archive.read(members.graph))
    version = content.get("schema_version", {}).get("major")
    if version != _MAJOR:
        by = str(content.get("torch_version", "an unknown version"))[:40]
        raise UserError(
            f"is of PyTorch {by} in version {version!r:.20} of its format, of which {_MAJOR} is read; {_AGAIN}"
        )
    signature, graph = content["graph_module"]["signature"], content["graph_module"]["graph"]
    outputs = _outputs(signature["output_specs"])
    images, weights = _inputs(signature["input_specs"], _names_taken(graph["nodes"]))
    tensors = {**members.constants(), **members.weights()}
    state = {key: _checked(tensors.get(key), key) for key in weights.values()}
    meta, nodes = graph["tensor_values"][images], list(map(_node, graph["nodes"]))
    notes: tuple[str, ...] = ()
    if meta["dtype"] in _HALVES:
        notes = (f"the program is of {_name(DTYPES[meta['dtype']])}; the network computes in float32",)
        meta, nodes = {**meta, "dtype": _SINGLE}, [_in_single(node) for node in nodes]
        state = {
            key: value.float() if value.dtype in map(DTYPES.get, _HALVES) else value for key, value in state.items()
        }
    description = {
        "input": {
            "name": images,
            "dtype": meta["dtype"],
            "sizes": [_size(each, content["range_constraints"]) for each in meta["sizes"]],
        },
        "weights": weights,
        "tensors": {key: [_DTYPE_NUMBERS[value.dtype], list(value.shape)] for key, value in state.items()},
        "nodes": nodes,
        "outputs": outputs,
        "keys": _keys(content["graph_module"]["module_call_graph"], len(outputs)),
    }
    return Archive(description, state, notes)


class _Members:
    """The entries of an archive, in either of the layouts that PyTorch has written."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive, self._names = archive, set(archive.namelist())
        self._is_legacy = _LEGACY in self._names
        if self._is_legacy:
            self.graph, self._root, self._model = _LEGACY, "", ""
            return
        found = [match for name in self._names if (match := re.fullmatch(r"([^/]+/)models/([^/]+)\.json", name))]
        if not found and any("/aotinductor/" in name for name in self._names):
            raise UserError("holds compiled code (AOTInductor), which is not run; save the exported program itself")
        if not found:
            raise UserError("holds no exported program; if it is truncated, copy or download it again")
        if len(found) > 1:
            raise UserError(f"holds {len(found)} exported programs; save a single one: torch.export.save(program, ...)")
        self.graph, self._root, self._model = found[0][0], found[0][1], found[0][2]
        order = self._root + "byteorder"
        if order in self._names and archive.read(order).decode().strip() != sys.byteorder:
            raise UserError(f"was written on a machine of another byte order; {_AGAIN} on one like this")

    def weights(self) -> dict[str, Tensor]:
        """Give parameters and persistent buffers by name."""
        return self._tensors("weights", "serialized_state_dict.pt")

    def constants(self) -> dict[str, Tensor]:
        """Give all other tensors by name."""
        return self._tensors("constants", "serialized_constants.pt")

    def _tensors(self, folder: str, legacy: str) -> dict[str, Tensor]:
        place = f"{self._root}data/{folder}/"
        pickled = legacy if self._is_legacy else f"{place}{self._model}.pt"
        if pickled in self._names:
            content = self._archive.read(pickled)
            return _unpickled(content) if content else {}
        config = json.loads(self._archive.read(f"{place}{self._model}_{folder}_config.json"))["config"]
        read: Callable[[str], bytes] = lambda name: self._archive.read(place + name)  # noqa: E731
        return {key: _payload(entry, read) for key, entry in config.items()}


def _payload(entry: Mapping[str, Any], read: Callable[[str], bytes]) -> Any:
    """A tensor as an entry of a configuration tells it, from plain bytes or from what `torch.save` wrote."""
    name, meta = entry["path_name"], entry["tensor_meta"]
    if not re.match(r"(weight|tensor)_\d+$", name):
        raise UserError(f"holds an object of a custom class ('{name[:40]}'), which is not read")
    content = read(name)
    if entry["use_pickle"]:
        return _unpickled(content)
    dtype, sizes = DTYPES[meta["dtype"]], [_known(each) for each in meta["sizes"]]
    if not content:
        return torch.empty(0, dtype=dtype).reshape(sizes)
    flat = torch.frombuffer(bytearray(content), dtype=dtype)
    strides, offset = [_known(each) for each in meta["strides"]], _known(meta["storage_offset"])
    tensor = flat.as_strided(sizes, strides, offset)
    if tensor.numel() > flat.numel():
        raise UserError("holds a tensor of more numbers than the file has")
    return tensor.clone()


def _unpickled(content: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:
        raise UserError("holds weights that are no plain tensors, or want to run code; refused") from None


def _checked(value: Any, key: str) -> Tensor:
    """A plain tensor of its own memory."""
    if not isinstance(value, Tensor):
        raise UserError(f"lacks the tensor '{key[:80]}'")
    if value.layout is not torch.strided or value.is_quantized or value.is_meta or value.dtype not in _DTYPE_NUMBERS:
        raise UserError(f"holds a tensor '{key[:80]}' that is not of plain numbers; export the plain float network")
    return value.detach().cpu()


def _names_taken(nodes: list[dict[str, Any]]) -> set[str]:
    """Every text among the arguments of the operators, the names of values among them."""
    found: set[str] = set()
    waiting: list[Any] = [each["arg"] for node in nodes for each in node["inputs"]]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.add(value)
        elif isinstance(value, list | dict):
            waiting += value.values() if isinstance(value, dict) else value
    return found


def _inputs(specs: list[dict[str, Any]], taken: set[str]) -> tuple[str, dict[str, str]]:
    """The name of the images, and of the weights that are taken with their keys."""
    images: list[str] = []
    weights: dict[str, str] = {}
    for spec in specs:
        ((kind, value),) = spec.items()
        if kind == "user_input":
            images += [value["arg"]["as_tensor"]["name"]] if "as_tensor" in value["arg"] else []
        elif kind in ("parameter", "buffer", "tensor_constant"):
            if value["arg"]["name"] in taken:
                weights[value["arg"]["name"]] = value[f"{kind}_name"]
        elif kind != "constant_input":
            raise UserError(f"takes an input of the kind '{kind[:40]}', which is not read")
    if len(images) != 1:
        raise UserError(f"takes {len(images)} tensors, expected one: the images")
    return images[0], weights


def _outputs(specs: list[dict[str, Any]]) -> list[str]:
    """The names of the tensors that the program gives."""
    if any("user_output" not in spec for spec in specs):
        raise UserError("changes its buffers while it runs; call model.eval() before torch.export.export")
    given = [spec["user_output"]["arg"] for spec in specs]
    return [each["as_tensor"]["name"] for each in given if "as_tensor" in each]


def _size(size: Mapping[str, Any], ranges: Mapping[str, Any]) -> list[int | None]:
    """Example, least and most of a dimension of the images. One that is computed of others counts as fixed."""
    if "as_int" in size:
        return [size["as_int"]] * 3
    text, hint = size["as_expr"]["expr_str"], (size["as_expr"].get("hint") or {}).get("as_int")
    symbol = re.fullmatch(r"(\w+)|Symbol\('(\w+)'.*\)", text)
    name = (symbol[1] or symbol[2]) if symbol else ""
    if not isinstance(hint, int):
        raise UserError("does not tell the size of the images that it was exported with")
    if name not in ranges:
        return [hint] * 3
    least, most = ranges[name].get("min_val"), ranges[name].get("max_val")
    return [hint, max(least or 1, 1), most if most is not None and most < 2**31 else None]


def _known(size: Mapping[str, Any]) -> int:
    return int(size["as_int"])


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    """An operator without what says where in somebody's code it comes from."""
    return {
        "target": node["target"],
        "inputs": [{"name": each["name"], "arg": each["arg"]} for each in node["inputs"]],
        "outputs": node["outputs"],
        "stack": node["metadata"].get("nn_module_stack", ""),
    }


def _in_single(value: Any) -> Any:
    """Nested lists and dictionaries with float32 in place of half precision."""
    if isinstance(value, list):
        return [_in_single(each) for each in value]
    if isinstance(value, dict):
        is_half = value.get("as_scalar_type") in _HALVES
        return {"as_scalar_type": _SINGLE} if is_half else {key: _in_single(each) for key, each in value.items()}
    return value


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _keys(calls: list[dict[str, Any]], outputs: int) -> list[str] | None:
    """The names of the outputs where the network gives a dictionary or an object; None where it gives tensors."""
    signature = next((call["signature"] for call in calls if call["fqn"] == "" and call["signature"]), None)
    if signature is None:
        return None
    _, spec = json.loads(signature["out_spec"])
    context = spec["context"]
    names = json.loads(context) if isinstance(context, str) else context
    if not isinstance(names, list) or len(names) != outputs or not all(isinstance(name, str) for name in names):
        return None
    return names if all(each["type"] is None for each in spec["children_spec"]) else None
