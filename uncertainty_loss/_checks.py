"""Argument guards: what was expected, what came. TypeError for dtypes, ValueError for shapes and values."""

from __future__ import annotations

import struct
import threading
from types import TracebackType

import torch
from torch import Tensor

# Evidence above this, infinity included, counts as this much: its squares still fit in float32, and a
# Dirichlet so narrow is a point in any arithmetic.
_LARGEST = 1e12

_NEGATIVE = "evidence must be >= 0 (clamped_exp or softplus makes it so from a network's outputs)"

# Numbers that are not negative are in the order of their bits, in which torch finds both ends in one go.
_INTEGER = {torch.float32: torch.int32, torch.float64: torch.int64}

_enabled = True


class check_evidence:  # noqa: N801 - reads like torch.no_grad()
    """Switch the check that evidence is not negative, as a call or for the length of a `with` block.

    The check costs next to nothing on the CPU, where evidence is read once in any case. On accelerators it is an
    asynchronous assertion, which does not wait for the device; in compiled graphs it is left out. It is on unless
    switched off.

    Args:
        enabled: Whether losses check.

    Example:
        >>> import uncertainty_loss as ul
        >>> with check_evidence(False):
        ...     _ = ul.evidential_loss(torch.tensor([[-0.1, 1.0]]), torch.tensor([1]))
    """

    def __init__(self, enabled: bool) -> None:
        global _enabled
        self._before = _enabled
        _enabled = enabled

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _enabled
        _enabled = self._before


def checked_evidence(evidence: Tensor) -> Tensor:
    """Evidence in a dtype to compute in, not negative and not infinite; NaN passes, as it does in torch.

    Raises:
        TypeError: Not a floating-point tensor.
        ValueError: An entry is negative.
    """
    return evidence_and_bound(evidence)[0]


def evidence_and_bound(evidence: Tensor) -> tuple[Tensor, float]:
    """`checked_evidence`, and what no entry is above, as far as that can be seen."""
    check_floating("evidence", evidence)
    if evidence.dtype not in (torch.float32, torch.float64):
        evidence = evidence.float()
    if can_look(evidence) and evidence.numel():
        # Bits of their own: a view of the imaginary part of a conjugate has those of its negative.
        values = evidence.detach().resolve_neg()
        low, high = (int(bits.item()) for bits in torch.aminmax(values.view(_INTEGER[evidence.dtype])))
        # Below zero are also the bits of a -0, and of a NaN with a sign.
        if low < 0 and _enabled and (negative := values < 0).any():
            raise ValueError(f"{_NEGATIVE}, got {values[negative].amin().item():.4g}")
        largest = _number(high, evidence.dtype)
        if largest <= _LARGEST:
            return evidence, largest
    elif _enabled and evidence.is_cuda and not compiling(evidence):
        torch._assert_async(~(evidence.detach() < 0).any(), _NEGATIVE)
    return _bounded(evidence), _LARGEST


def _number(bits: int, dtype: torch.dtype) -> float:
    """The number that has these bits."""
    integer, floating = ("<i", "<f") if dtype == torch.float32 else ("<q", "<d")
    number: float = struct.unpack(floating, struct.pack(integer, bits))[0]
    return number


def _bounded(evidence: Tensor) -> Tensor:
    # Not by clamp, which gives NaN a gradient of zero: who looks for NaN in gradients would miss it.
    return torch.where(evidence > _LARGEST, _LARGEST, evidence)


def check_not_traced(evidence: Tensor) -> None:
    """Raises NotImplementedError where torch.jit.trace is asked for a gradient: it takes our functions apart."""
    if torch.compiler.is_compiling() or not torch._C._is_tracing():
        return
    if torch.is_grad_enabled() and evidence.requires_grad:
        raise NotImplementedError(
            "torch.jit.trace cannot differentiate a loss: use torch.compile, torch.export, or a trace without gradient"
        )


def checked_factor(factor: float | Tensor) -> float | Tensor:
    """The weight of a regulariser, as a number where that is all it is: a tensor may change before the backward pass.

    Raises:
        ValueError: A tensor of more than one number.
    """
    if not isinstance(factor, Tensor):
        return factor
    if factor.numel() != 1:
        raise ValueError(f"reg_factor must be one number, got a tensor of shape {tuple(factor.shape)}")
    return factor if factor.requires_grad or not can_look(factor) else factor.item()


def wide_dtype(x: Tensor) -> torch.dtype:
    """Double, where the tensor's device has it; else the tensor's own."""
    return x.dtype if x.device.type == "mps" else torch.float64


def widened(x: Tensor) -> Tensor:
    """x in `wide_dtype`."""
    return x.to(wide_dtype(x))


class _Looked(threading.local):
    """What a thread knows of the tensors that it computes with.

    Attributes:
        already: All are made of those of which `can_look` was true. Set in a `try` that puts it back.
    """

    already = False


looked = _Looked()


def can_look(*tensors: Tensor) -> bool:
    """Whether these are plain tensors on the CPU, outside of any tracing, whose values cost next to nothing to read."""
    if torch.compiler.is_compiling():
        return False
    if looked.already:
        return True
    if torch._C._are_functorch_transforms_active() or torch._C._is_tracing():
        return False
    for x in tensors:
        if not x.is_cpu or type(x) not in _PLAIN or torch._C._functorch.is_legacy_batchedtensor(x):
            return False
    return True


_PLAIN = (Tensor, torch.nn.Parameter)


def compiling(x: Tensor) -> bool:
    """Whether what is done with the tensor goes into a compiled graph, or may."""
    # Up to torch 2.13 the flag is down where a loss is traced, by tensors that are stand-ins.
    return torch.compiler.is_compiling() or type(x) not in _PLAIN


def check_target(evidence: Tensor, target: Tensor, weight: Tensor | None, label_smoothing: float) -> bool:
    """Whether the target holds class probabilities (True) or class indices (False), by shape.

    Raises:
        TypeError: Indices that are not integers, or probabilities that are.
        ValueError: Shapes that do not fit, a weight of another length, or a smoothing outside [0, 1].
    """
    check_tensor("evidence", evidence)
    check_tensor("target", target)
    class_dim, shape = class_dimension("evidence", evidence), tuple(evidence.shape)
    if weight is not None and tuple(weight.shape) != (shape[class_dim],):
        raise ValueError(f"weight must have shape ({shape[class_dim]},), one a class, got {tuple(weight.shape)}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    if target.shape == evidence.shape:
        if not target.is_floating_point():
            raise TypeError(f"a target of evidence's shape holds probabilities, in floating point, got {target.dtype}")
        return True
    indices = shape[:class_dim] + shape[class_dim + 1 :]
    if tuple(target.shape) != indices:
        raise ValueError(
            f"for evidence {shape} the target must be class indices {indices} or probabilities {shape}, "
            f"got {tuple(target.shape)}"
        )
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(f"class indices must be integers, got {target.dtype}")
    return False


def check_indices(target: Tensor, classes: int, ignore_index: int) -> bool:
    """Whether no index is the one to ignore, as far as that can be seen; False only says that some may be.

    Raises:
        ValueError: An index that is neither a class nor the one to ignore. Elsewhere than on the CPU the device
            says so.
    """
    if not can_look(target):
        return False
    if not target.numel():
        return True
    low, high = (bound.item() for bound in torch.aminmax(target))
    may_ignore = low <= ignore_index <= high
    if (low < 0 or high >= classes) and may_ignore:
        low, high = (bound.item() for bound in torch.aminmax(target.where(target != ignore_index, 0)))
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise ValueError(f"class indices must be in [0, {classes}), or {ignore_index} to be ignored, got {wrong}")
    return not may_ignore


def check_tensor(name: str, value: object) -> None:
    """Raises TypeError for lists, arrays and other things that are no tensors."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")


def check_floating(name: str, value: Tensor) -> None:
    """Raises TypeError for what is no tensor, and for other numbers than floating-point ones."""
    check_tensor(name, value)
    if not value.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {value.dtype}")


def class_dimension(name: str, x: Tensor) -> int:
    """Which dimension holds the classes: 0 of (C), 1 of (N, C) and (N, C, d1, ...).

    Raises:
        ValueError: There is none, or no class in it.
    """
    if x.ndim == 0:
        raise ValueError(f"{name} must have a class dimension: (C), (N, C) or (N, C, d1, ...), got a scalar")
    dim = min(1, x.ndim - 1)
    if x.shape[dim] == 0:
        raise ValueError(f"{name} must have at least one class in dimension {dim}, got {tuple(x.shape)}")
    return dim


def check_reduction(reduction: str | None) -> None:
    """Raises ValueError for anything but "mean", "sum", "none" and None."""
    if reduction not in ("mean", "sum", "none", None):
        raise ValueError(f"reduction must be 'mean', 'sum', 'none' or None, got {reduction!r}")
