"""Name the place in a network where features are read."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ulcli.network.anatomy.taps import channels_first


@dataclass(frozen=True)
class Place:
    """Where features are read, as model files hold it.

    `fc` stands for what enters that layer, or multiplies the parameter of that name; of a map or a sequence of tokens
    the mean. `fc[0]` is the first token, `fc[-1]` the last. Without a name the network's outputs serve, as they are,
    or `[log]` and `[logit]` of outputs that are probabilities.
    """

    name: str | None
    token: int | None = None
    inverse: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Place:
        """Read what `str` writes."""
        matched = re.fullmatch(r"(.*)\[(0|-1|log|logit)\]", text or "")
        if matched is None:
            return cls(text)
        name, what = matched.groups()
        return cls(name or None, int(what)) if name else cls(None, inverse=what)

    def __str__(self) -> str:
        what = self.inverse if self.token is None else self.token
        return (self.name or "") + ("" if what is None else f"[{what}]")

    def vectors(self, x: Tensor, module: nn.Module | None) -> Tensor:
        """One vector an image (N, D) of what enters the layer; a copy, for layers may work in place."""
        if x.dim() <= 2:
            return x.reshape(len(x), -1).clone()
        if isinstance(module, nn.Conv2d) and x.shape[2:] == module.kernel_size:
            return x.flatten(1).clone()
        if x.dim() == 4 and module is not None and not isinstance(module, nn.Linear):
            return (x if isinstance(module, nn.Conv2d) else channels_first(x)).mean((2, 3))
        tokens = x.flatten(1, -2)
        return tokens.mean(1) if self.token is None else tokens[:, self.token].clone()

    def logits(self, outputs: Tensor) -> Tensor:
        """Outputs (N, K) that serve as features, as logits; one output is that of the second of two classes."""
        if self.inverse is not None:
            outputs, tiny = outputs.float(), torch.finfo(torch.float32).tiny
            complement = (1 - outputs).clamp_min(tiny).log() if self.inverse == "logit" else 0
            outputs = outputs.clamp_min(tiny).log() - complement
        return torch.cat([torch.zeros_like(outputs), outputs], 1) if outputs.shape[1] == 1 else outputs
