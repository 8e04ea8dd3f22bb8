"""Where the network runs."""

from __future__ import annotations

from ulcli.errors import UserError


def resolve_device(name: str) -> str:
    """`auto` to the best device there is; any other name checked, so that it fails before the work."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a build of torch without CUDA
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{name}' cannot be used: {reason}; try --device cpu") from None
    return name
