"""A network that runs an exported program.

The program is a flat list of operators. Those that belong to one module of the original run inside a module of the
same name, so that hooks find what they would find in the original: layers, their inputs and their outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from ulcli.errors import UserError
from ulcli.network.exported.program import DEVICE, Module, Node, Program, Ref

# Products, with the name of the argument that holds a vector an image.
_PRODUCTS = {
    "torch.ops.aten.linear.default": "input",
    "torch.ops.aten.addmm.default": "mat1",
    "torch.ops.aten.mm.default": "self",
    "torch.ops.aten.matmul.default": "self",
}


class ExportedNetwork(nn.Module):
    """The network of a program, with weights of zero or what memory holds until a state dict is loaded.

    A program with a fixed batch sees the images in batches of that size, the last one filled up; each operator runs
    for all of them before the next one does, so that modules take and give whole batches whatever their size.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self._steps = _Builder(self, program).steps
        for key, (dtype, shape) in program.tensors.items():
            owner, name = _owner(self, key)
            owner.register_parameter(name, nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False))
        self._weights = {name: _owner(self, key) for name, key in program.weights.items()}

    def forward(self, images: Tensor) -> Any:
        """Run the program."""
        run = Run(self.program, self._weights, images)
        for step in self._steps:
            step(run)
        outputs = tuple(run.whole(name) for name in self.program.outputs)
        if self.program.keys is not None:
            return dict(zip(self.program.keys, outputs, strict=True))
        return outputs if len(outputs) > 1 else outputs[0]


class Run:
    """One pass of images: the values of each batch so far."""

    def __init__(self, program: Program, weights: dict[str, tuple[nn.Module, str]], images: Tensor) -> None:
        self.images = len(images)
        self.device = images.device
        self._weights = weights
        self._batches = [{program.input.name: batch} for batch in _batches(program, images)]
        self._filled = sum(len(batch[program.input.name]) for batch in self._batches)

    def call(self, node: Node, done: Iterable[str]) -> None:
        """Run one operator; forget the values that were needed for the last time."""
        if not self._multiply(node):
            for values in self._batches:
                given = self._run(node, values)
                if isinstance(node.outputs, str):
                    values[node.outputs] = given
                else:
                    values.update((name, each) for name, each in zip(node.outputs, given, strict=True) if name)
        for values in self._batches:
            for name in done:
                values.pop(name, None)

    def whole(self, name: str) -> Any:
        """Give a value of all images, without those that a batch was filled up with."""
        parts = [values[name] for values in self._batches]
        if not all(isinstance(part, Tensor) and part.dim() for part in parts):
            return parts[0]
        if len(parts) == 1 and self._filled == self.images:
            return parts[0]
        joined = torch.cat(parts)
        rows = len(joined) // self._filled  # more than one an image in windows, say
        return joined[: rows * self.images] if rows * self._filled == len(joined) else joined

    def _multiply(self, node: Node) -> bool:
        """Run a product of vectors, one an image, for all images at once; tell whether the operator is one.

        Who looks for a classifier that is no module listens to products, and wants whole batches of them.
        """
        factor = node.named.get(_PRODUCTS.get(node.target, ""))
        if not isinstance(factor, Ref) or not isinstance(node.outputs, str):
            return False
        if (len(self._batches) == 1 and self._filled == self.images) or factor.name not in self._batches[0]:
            return False
        x = self.whole(factor.name)
        if not isinstance(x, Tensor) or x.dim() != 2 or len(x) != self.images:
            return False
        given = self._run(node, {**self._batches[0], factor.name: x})
        lacking = self._filled - self.images
        filled = torch.cat([given, given[-1:].expand(lacking, -1)]) if lacking else given
        sizes = [len(values[factor.name]) for values in self._batches]
        for values, part in zip(self._batches, filled.split(sizes), strict=True):
            values[node.outputs] = part
        return True

    def _run(self, node: Node, values: dict[str, Any]) -> Any:
        arguments, keywords = node.arguments
        return node.function(
            *(self._value(each, values) for each in arguments),
            **{name: self._value(each, values) for name, each in keywords.items()},
        )

    def _value(self, value: Any, values: dict[str, Any]) -> Any:
        if isinstance(value, Ref):
            if value.name in values:
                return values[value.name]
            owner, name = self._weights[value.name]
            return getattr(owner, name)
        if value is DEVICE:
            return self.device
        return [self._value(each, values) for each in value] if isinstance(value, list) else value


def _batches(program: Program, images: Tensor) -> Iterator[Tensor]:
    """The images as the program takes them: not more at once than it may, and repeated where they are too few."""
    batch, _, *sides = program.input.sizes
    expected = (program.input.sizes[1], *sides)
    if images.dim() != 4 or any(
        length < size.least or (size.most is not None and length > size.most)
        for length, size in zip(images.shape[1:], expected, strict=True)
    ):
        shape = " x ".join(str(size.example) if size.is_fixed else "any" for size in expected)
        raise UserError(f"the exported program takes images of {shape}, not {tuple(images.shape[1:])}")
    images = images.to(program.input.dtype)
    for part in torch.split(images, batch.most or len(images)):
        lacking = batch.least - len(part)
        yield torch.cat([part, part[-1:].expand(lacking, -1, -1, -1)]) if lacking > 0 else part


class _Step:
    """One operator."""

    def __init__(self, node: Node, done: tuple[str, ...]) -> None:
        self.node, self.done = node, done

    def __call__(self, run: Run) -> None:
        run.call(self.node, self.done)


class _Inside:
    """The operators of one module."""

    def __init__(self, module: _Scope, first: str) -> None:
        self.module, self.first = module, first

    def __call__(self, run: Run) -> None:
        self.module(run.whole(self.first), run)


class _Scope(nn.Module):
    """What runs the operators of one module; takes and gives what that one does."""

    original_type: str
    _steps: Sequence[_Step | _Inside]
    _results: tuple[str, ...]

    def forward(self, x: Any, run: Run) -> Any:
        """Run the operators; `x` is for those who listen."""
        for step in self._steps:
            step(run)
        results = (run.whole(name) for name in self._results)
        tensors = tuple(each for each in results if isinstance(each, Tensor))
        return tensors[0] if len(tensors) == 1 else tensors


class _Linear(_Scope, nn.Linear):  # type: ignore[misc]
    """A linear layer."""

    def __init__(self, weight: torch.Size | tuple[int, ...], node: Node) -> None:
        nn.Linear.__init__(self, weight[1], weight[0], bias=node.named.get("bias") is not None, device="meta")


class _Conv2d(_Scope, nn.Conv2d):  # type: ignore[misc]
    """A convolution."""

    def __init__(self, weight: torch.Size | tuple[int, ...], node: Node) -> None:
        named = node.named
        groups = named.get("groups", 1)
        nn.Conv2d.__init__(
            self,
            weight[1] * groups,
            weight[0],
            tuple(weight[2:]),  # type: ignore[arg-type]
            **{key: _pair(named[key]) for key in ("stride", "padding", "dilation") if key in named},
            groups=groups,
            bias=named.get("bias") is not None,
            device="meta",
        )


class _LayerNorm(_Scope, nn.LayerNorm):  # type: ignore[misc]
    """A layer norm."""

    def __init__(self, weight: torch.Size | tuple[int, ...], node: Node) -> None:
        nn.LayerNorm.__init__(self, list(weight), bias=node.named.get("bias") is not None, device="meta")


# What the room asks for by its class. Everything else is known by what it takes and gives.
_LAYERS: dict[str, type[_Linear | _Conv2d | _LayerNorm]] = {
    "torch.ops.aten.linear.default": _Linear,
    "torch.ops.aten.conv2d.default": _Conv2d,
    "torch.ops.aten.conv2d.padding": _Conv2d,
    "torch.ops.aten.layer_norm.default": _LayerNorm,
}


class _Builder:
    """Sort the operators of a program into modules below a root.

    Of a module that works several times, the last time counts, as for whoever looks for layers in the original.
    """

    def __init__(self, root: nn.Module, program: Program) -> None:
        self._root, self._program = root, program
        nodes = program.nodes
        self._times = Counter(_calls(nodes, 0))
        last = {name: place for place, node in enumerate(nodes) for name in (*node.writes, *node.reads)}
        keep = {*program.outputs, *program.weights}
        self._done: list[list[str]] = [[] for _ in nodes]
        for name, place in last.items():
            if name not in keep:
                self._done[place].append(name)
        self._last = {**last, **dict.fromkeys(program.outputs, len(nodes))}
        self.steps = self._sorted(list(enumerate(nodes)), 0)

    def _sorted(self, nodes: list[tuple[int, Node]], depth: int) -> list[_Step | _Inside]:
        """The operators, those of modules at this depth inside of these."""
        steps: list[_Step | _Inside] = []
        for module, group in groupby(nodes, lambda each: each[1].modules[depth : depth + 1]):
            inside = list(group)
            if not module:
                steps += [_Step(node, tuple(self._done[place])) for place, node in inside]
                continue
            self._times[module[0].name] -= 1
            first = self._first(inside)
            if self._times[module[0].name] or first is None:
                steps += self._sorted(inside, depth + 1)
            else:
                steps.append(self._inside(module[0], first, inside, depth))
        return steps

    def _inside(self, module: Module, first: str, nodes: list[tuple[int, Node]], depth: int) -> _Inside:
        end = nodes[-1][0]
        written = [written for _, node in nodes for written in node.writes]
        scope = self._scope(module.name, [node for _, node in nodes])
        scope.original_type = module.kind
        scope._steps = self._sorted(nodes, depth + 1)
        # The last comes first: beside it, a module may give what only some look at.
        scope._results = tuple(each for each in reversed(written) if self._last[each] > end)
        return _Inside(scope, first)

    def _first(self, nodes: list[tuple[int, Node]]) -> str | None:
        """The first value from before that some operators take."""
        own = {name for _, node in nodes for name in node.writes}
        taken = (name for _, node in nodes for name in node.reads)
        return next((name for name in taken if name not in own and name not in self._program.weights), None)

    def _scope(self, name: str, nodes: list[Node]) -> _Scope:
        """Put a module of this name into the root, around what is there below the name."""
        scope = self._layer(name, nodes[0]) if len(nodes) == 1 else None
        scope = _Scope() if scope is None else scope
        owner, last = _owner(self._root, name)
        for child, module in owner._modules.pop(last, nn.Module()).named_children():  # type: ignore[union-attr]
            scope.add_module(child, module)
        owner.add_module(last, scope)
        return scope

    def _layer(self, name: str, node: Node) -> _Scope | None:
        """The layer of torch that an operator is, where the weights are its own."""
        kind, keys = _LAYERS.get(node.target), self._program.weights
        for parameter in ("weight", "bias"):
            given = node.named.get(parameter)
            if given is not None and keys.get(given.name) != f"{name}.{parameter}":
                return None
        if kind is None or node.named.get("weight") is None:
            return None
        return kind(self._program.tensors[f"{name}.weight"][1], node)


def _calls(nodes: Sequence[Node], depth: int) -> Iterator[str]:
    """The names of modules at this depth and below, once for each time that they work."""
    for module, group in groupby(nodes, lambda node: node.modules[depth : depth + 1]):
        if module:
            yield module[0].name
            yield from _calls(list(group), depth + 1)


def _owner(root: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that has the last part of a dotted name, made where there is none."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root, last


def _pair(value: Any) -> Any:
    """Stride, padding or dilation as a layer has it: one number stands for both directions."""
    if isinstance(value, list):
        return tuple(value * 2 if len(value) == 1 else value)
    return value
