"""The `nn.Module` form of every loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from uncertainty_loss._checks import check_reduction


class LossModule(nn.Module):
    """A loss function with its options, for code that passes criteria around.

    Args:
        reg_factor: Weight of the regulariser; `forward` can override it, as annealing does.
        reduction: "mean", "sum", or "none" (None).
        weight: Weight of each class, (C); a buffer, so that it moves with the module.
        ignore_index: Class index that does not count.
        label_smoothing: Share of the target spread evenly over the classes, in [0, 1].
        options: Further options of the function, by name.

    Raises:
        TypeError: The function has no such option.
        ValueError: Not a reduction.

    Example:
        >>> import torch, uncertainty_loss as ul
        >>> criterion = ul.MaxNormLoss(reduction="sum", p_norm=2)
        >>> criterion(torch.tensor([[9.0, 0.0]]), torch.tensor([0]), reg_factor=0.1)
        tensor(0.1741)
    """

    function: ClassVar[Callable[..., Tensor]]
    _known: ClassVar[frozenset[str]]
    weight: Tensor | None

    def __init_subclass__(cls) -> None:
        # Not when a module is made, which compilers may have to trace.
        cls._known = frozenset(inspect.signature(cls.function).parameters)

    def __init__(
        self,
        reg_factor: float | Tensor = 0.0,
        reduction: str | None = "mean",
        *,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        for name in options:
            if name not in self._known:
                raise TypeError(f"{type(self).function.__name__} has no option {name!r}")
        self.reg_factor = reg_factor
        self.register_buffer("weight", weight)
        self.options = {
            "reduction": reduction,
            "ignore_index": ignore_index,
            "label_smoothing": label_smoothing,
            **options,
        }

    def forward(
        self, evidence: Tensor, target: Tensor, reg_factor: float | Tensor | None = None, **inputs: Any
    ) -> Tensor:
        """The loss; reg_factor in place of the module's own, further inputs as the function takes them."""
        if reg_factor is None:
            reg_factor = self.reg_factor
        return type(self).function(evidence, target, reg_factor, weight=self.weight, **self.options, **inputs)

    def extra_repr(self) -> str:
        options = {"reg_factor": self.reg_factor, **self.options}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())
