"""Keys of a network that was wrapped for training, as they were before."""

from __future__ import annotations

from torch import Tensor

# What DistributedDataParallel, AveragedModel, torch.compile and FSDP put before every key, in any order.
_PREFIXES = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")
# What compiled, sharded or recomputed parts of a network put amid their keys.
_INFIXES = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under the keys of the network itself."""
    if "n_averaged" in state and len(state) > 1:  # AveragedModel's counter, beside `module.`
        state = {key: value for key, value in state.items() if key != "n_averaged"}
    while prefix := next((each for each in _PREFIXES if all(key.startswith(each) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    for infix in _INFIXES:
        state = without_segment(state, infix)
    return state


def without_segment(state: dict[str, Tensor], segment: str) -> dict[str, Tensor]:
    """The same with a part of the keys' paths left out, unless two keys would become one."""
    shorter = {f".{key}".replace(f".{segment}", ".")[1:]: value for key, value in state.items()}
    return shorter if len(shorter) == len(state) else state
