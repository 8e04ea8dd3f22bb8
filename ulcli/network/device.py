"""Where the network runs."""

from __future__ import annotations

import torch

from ulcli.errors import UserError


def resolve_device(name: str) -> str:
    """Turn `auto` into the best device there is; check any other name, so that it fails before the work."""
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()  # of the meta device nothing comes back
    except (RuntimeError, AssertionError) as error:  # AssertionError: a build of torch without CUDA
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{name}' cannot be used: {reason}; try --device cpu") from None
    return name
