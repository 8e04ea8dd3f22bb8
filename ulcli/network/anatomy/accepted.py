"""Which images a network takes, found by trying."""

from __future__ import annotations

import torch
from torch import nn

_SIZES = (16, 28, 32, 64, 96, 128, 224, 240, 299)  # that networks are usually trained with
_MOST = 3  # sizes that an error names


def accepted_images(network: nn.Module) -> str | None:
    """Say which images of the usual sizes a network takes, in colour or else in gray; None where it takes none."""
    for channels, name in ((3, "3 channels"), (1, "1 channel")):
        sizes = [str(size) for size in _SIZES if _takes(network, torch.zeros(2, channels, size, size))]
        if sizes:
            return f"{' or '.join(sizes[:_MOST])} pixels and {name}"
    return None


def _takes(network: nn.Module, images: torch.Tensor) -> bool:
    try:
        with torch.inference_mode():
            network(images)
    except (Exception, SystemExit):  # a network of the user's own may raise anything
        return False
    return True
