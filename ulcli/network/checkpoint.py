"""The classifiers that users bring."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ulcli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# Where training scripts put the weights beside the optimiser's state.
_WRAPPERS = ("state_dict", "model", "model_state_dict")
# What DistributedDataParallel and torch.compile put before every key, in the order in which they were applied.
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, and the architecture that the file itself names (as torchvision's ImageNet scripts do)."""

    state: dict[str, Tensor]
    arch: str | None
    classes: tuple[str, ...] | None = None  # names that the file has, in the order of the classifier's rows


def sample_checkpoint() -> Path:
    """The digits classifier that comes with the tool."""
    return sample_models() / "digits_cnn.pt"


def sample_models() -> Path:
    """The sample models: inside the package where it was installed from a wheel, beside it in a checkout."""
    package = Path(str(resources.files("ulcli")))
    inside = package / "sample_models"
    return inside if inside.is_dir() else package.parent / "sample_models"


def parse_checkpoint(content: Any, path: Path) -> Checkpoint:
    """Find the state dict in what a checkpoint file holds."""
    from torch import Tensor

    arch = content.get("arch") if isinstance(content, dict) else None
    state = content
    for wrapper in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
            break
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"'{path}' holds no state dict (a dictionary of tensors); save model.state_dict()")
    # Some state dicts carry more than tensors (`_extra_state`, a version); those are no weights.
    state = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    while prefix := next((each for each in _PREFIXES if all(key.startswith(each) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return Checkpoint(state, arch if isinstance(arch, str) else None)
