"""The operators that an exported program may call: arithmetic on tensors and numbers, nothing else.

torch's own deserializer looks up whatever name a file holds, and lets sympy evaluate its expressions. Here a name
counts only if it stands in this list.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ulcli.errors import UserError

# Of the namespace aten; what ends in an underscore works in place and is the same here. Left out are files (from_file),
# storages and strides, memory that nothing was written to, random numbers, sparse and quantized tensors.
_ARITHMETIC = """
linear conv1d conv2d conv3d convolution conv_transpose2d addmm mm bmm matmul baddbmm addbmm dot mv outer einsum
batch_norm _native_batch_norm_legit_no_training layer_norm native_layer_norm group_norm native_group_norm
instance_norm rms_norm norm linalg_vector_norm linalg_norm cosine_similarity
max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
_adaptive_avg_pool2d
relu relu6 leaky_relu prelu _prelu_kernel elu celu selu gelu silu mish hardtanh hardswish hardsigmoid hardshrink
softshrink sigmoid log_sigmoid logit tanh softplus threshold glu softmax _softmax log_softmax _log_softmax
scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu
dropout feature_dropout alpha_dropout feature_alpha_dropout native_dropout
view view_as reshape reshape_as _unsafe_view _reshape_alias flatten unflatten permute transpose t numpy_T mT
movedim moveaxis swapaxes swapdims squeeze unsqueeze expand expand_as repeat repeat_interleave tile
cat concat concatenate stack hstack vstack split split_with_sizes chunk unsafe_split unsafe_split_with_sizes
unsafe_chunk tensor_split unbind slice select narrow index index_select index_put gather take_along_dim scatter
scatter_add masked_fill where slice_scatter select_scatter flip roll rot90
pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
pixel_shuffle pixel_unshuffle channel_shuffle unfold im2col col2im
contiguous clone detach alias copy lift lift_fresh lift_fresh_copy to _to_copy type_as float double half
view_as_complex view_as_real tril triu diagonal diag_embed meshgrid
add sub mul div multiply subtract divide true_divide floor_divide rsub addcmul addcdiv lerp remainder fmod pow
square neg abs sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh asinh
acosh atanh erf erfc reciprocal sign floor ceil round trunc frac clamp clip clamp_min clamp_max nan_to_num
eq ne lt le gt ge logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor
isnan isinf isfinite maximum minimum max min amax amin argmax argmin any all sum mean std var std_mean var_mean
prod cumsum cumprod logsumexp sort argsort topk
arange linspace eye zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full scalar_tensor
fill zero
embedding one_hot grid_sampler grid_sampler_2d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d
_upsample_bilinear2d_aa _upsample_bicubic2d_aa
sym_size sym_numel sym_stride item _local_scalar_dense
"""
_ATEN = frozenset(_ARITHMETIC.split())
# What they check holds by the shape of the input, which is checked before the program runs.
_ASSERTIONS = frozenset(
    {
        "_assert_scalar",
        "_assert_async",
        "_assert_tensor_metadata",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    }
)
_OF_TWO: tuple[Callable[..., Any], ...] = (
    *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod),
    *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
)
# On numbers: sizes that depend on the batch. Neither powers nor shifts, which make numbers of any length.
_ON_NUMBERS: dict[str, Callable[..., Any]] = {
    **{f"_operator.{function.__name__}": function for function in _OF_TWO},
    "_operator.neg": operator.neg,
    "_operator.not_": operator.not_,
    "_operator.and_": operator.and_,
    "_operator.or_": operator.or_,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.trunc": math.trunc,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch._sym_sqrt": math.sqrt,
}
# Arguments that are true while a network is trained.
_TRAINING = ("training", "train")


def is_assertion(target: str) -> bool:
    """Tell whether an operator computes nothing."""
    name = _aten_name(target)
    return name is not None and name[0] in _ASSERTIONS


def find_operator(target: str) -> Callable[..., Any]:
    """Give the function that a program names, if it is allowed."""
    if target in _ON_NUMBERS:
        return _ON_NUMBERS[target]
    name = _aten_name(target)
    if name is None or _without_underscore(name[0]) not in _ATEN:
        raise UserError(
            f"calls '{target[:100]}', which is none of the operators that classifiers are made of; refused: "
            "export a network that does without it, or give a checkpoint and --arch"
        )
    found = getattr(getattr(torch.ops.aten, name[0], None), name[1], None)
    if not isinstance(found, torch._ops.OpOverload):  # nor a method of what torch keeps operators in
        raise UserError(f"calls '{target[:100]}', which PyTorch {torch.__version__} does not have; export it with this")
    allowed: Callable[..., Any] = found
    return allowed


def works_in_place(target: str) -> bool:
    """Tell whether an operator changes its first argument."""
    name = _aten_name(target)
    return name is not None and name[0].endswith("_")


def bind(function: Callable[..., Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Sort arguments by name into positional and keyword ones; `self` cannot be given by keyword."""
    schema = getattr(function, "_schema", None)
    if schema is None:
        return list(named.values()), {}
    positional: list[Any] = []
    rest = dict(named)
    for argument in schema.arguments:
        if argument.kwarg_only or argument.name not in rest:
            break
        positional.append(rest.pop(argument.name))
    return positional, rest


def is_training(named: Mapping[str, Any]) -> bool:
    """Tell whether a layer was exported as it acts in training."""
    return any(named.get(name) is True for name in _TRAINING)


def _aten_name(target: str) -> tuple[str, str] | None:
    matched = re.fullmatch(r"torch\.ops\.aten\.([a-z_A-Z0-9]+)\.(\w+)", target)
    return None if matched is None else (matched[1], matched[2])


def _without_underscore(name: str) -> str:
    return name.removesuffix("_")
