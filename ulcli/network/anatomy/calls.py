"""Listen to a network at work: what every module takes and gives."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ulcli.network.anatomy.outputs import first_tensor


class Call(NamedTuple):
    """One module at work, or a parameter (`module` None) that multiplied something."""

    name: str
    module: nn.Module | None
    input: Any
    output: Any
    weight: Tensor | None = None  # of a product: (K, D)


def watch(
    network: nn.Module, images: Tensor, kinds: type[nn.Module] | tuple[type[nn.Module], ...] = nn.Module
) -> tuple[Any, list[Call]]:
    """Run the network; give its output, and what every module of some kinds took and gave, as they finish."""
    calls: list[Call] = []

    def watcher(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            calls.append(Call(name, module, next(iter((*inputs, *named.values())), None), output))

        return hook

    with ExitStack() as hooks, torch.inference_mode():
        for name, module in network.named_modules():
            if name and isinstance(module, kinds):
                hooks.callback(module.register_forward_hook(watcher(name), with_kwargs=True).remove)
        return network(images), calls


class Products(TorchFunctionMode):
    """Matrix products with parameters of a network that no module makes: `functional.linear`, `x @ self.weight.T`.

    Calls `heard` with a `Call` for each, on this thread alone. `names` says which parameters count.
    """

    def __init__(self, parameters: dict[str, Tensor], heard: Callable[[Call], None]) -> None:
        super().__init__()
        self._names = {tensor.data_ptr(): name for name, tensor in parameters.items() if tensor.dim() == 2}
        self._heard = heard

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        product = re.match(r"_*(linear|matmul|mm|addmm)_*(\.|$)", getattr(func, "__name__", ""))
        if product is not None:
            tensors = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
            for x, factor in pairwise(tensors):
                name = self._names.get(factor.data_ptr()) if factor.dim() == 2 else None
                if name is not None and isinstance(result, Tensor):
                    weight = factor if product[1] == "linear" else factor.T
                    self._heard(Call(name, None, x, result, weight))
        return result


Reader = Callable[[Tensor], Tensor]


class Listener:
    """Hooks that stay on a network and hand what they read to the pass of their own thread.

    Hooks made for each pass would hear the passes of other threads. Copies of the network take none of them along.
    """

    def __init__(self) -> None:
        self._pass = threading.local()
        self._handles: list[Any] = []

    def hear_output(self, key: str, module: nn.Module, read: Reader) -> None:
        """Read what a module gives."""
        self._handles.append(module.register_forward_hook(_Hook(self._pass, key, read), with_kwargs=True))

    def hear_input(self, key: str, module: nn.Module, read: Reader) -> None:
        """Read what a module takes."""
        self._handles.append(module.register_forward_pre_hook(_Hook(self._pass, key, read), with_kwargs=True))

    @contextmanager
    def listening(self) -> Iterator[dict[str, list[Tensor]]]:
        """Give what is read by key while this thread runs the network: an entry a call."""
        heard: dict[str, list[Tensor]] = {}
        self._pass.heard = heard
        try:
            yield heard
        finally:
            self._pass.heard = None

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()


class _Hook:
    def __init__(self, of_thread: threading.local, key: str, read: Reader) -> None:
        self._pass, self._key, self._read = of_thread, key, read

    def __call__(self, module: nn.Module, inputs: Any, named: dict[str, Any], *output: Any) -> None:
        heard = getattr(self._pass, "heard", None)
        tensor = first_tensor(output[0] if output else next(iter((*inputs, *named.values())), None))
        if heard is not None and tensor is not None:
            heard.setdefault(self._key, []).append(self._read(tensor))

    def __reduce__(self) -> Any:
        return _Deaf, ()


class _Deaf:
    """What becomes of a hook in a copy of its network."""

    def __call__(self, *_: Any) -> None:
        pass


def whole_batch(parts: list[Tensor], images: int) -> Tensor | None:
    """Give what was read of `images` images: the last call's, or all of them where a network splits its batch."""
    if len(parts[-1]) == images:
        return parts[-1]
    return torch.cat(parts) if sum(map(len, parts)) == images else None


def describe(images: Tensor) -> str:
    """Size and channels of a batch, in words."""
    channels, height, width = images.shape[1:]
    return f"{height} x {width} pixels and {channels} channel{'s' if channels > 1 else ''}"
