"""Search for rows whose float32 gradients are off, beside double: the largest error, and how many exceed 1e-4.

    python benchmarks/worst_gradients.py [--rows 20000] [--seed 0] [--only NAME ...]

Errors are relative to the largest component of the row's gradient. `random` rows go from no evidence to 1e12, alike,
right, wrong, sparse and spread. `descent` are rows on the way to the minimum of the loss with its regulariser, where
all components nearly vanish; those below 1e-9 of the regulariser's weight are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import uncertainty_loss as ul

FACTORS = (0.01, 0.1, 1.0)
CLASSES = (4, 10, 100)


def random_rows(rows: int, classes: int) -> Iterator[Tensor]:
    def uniform(low: float, high: float, width: int = classes) -> Tensor:
        return torch.empty(rows, width).uniform_(low, high)

    first, second = (torch.arange(classes) == k for k in (0, 1))
    yield uniform(-10, 10).exp()
    yield uniform(-30, 30).clamp(-10, 10).exp()
    yield uniform(-10, 16).exp()
    yield uniform(-10, 10).exp() * (torch.rand(rows, classes) < 0.5)
    yield uniform(-10, 14, 1).exp() * uniform(-0.01, 0.01).exp()
    for most in (first, second):
        yield torch.where(most, uniform(0, 16), uniform(-16, 0)).exp()
        yield torch.where(most, uniform(0, 27).exp(), 0.0)
    yield torch.where(first | second, uniform(-10, 27).exp(), 0.0)


def descent(function: Callable[..., Tensor], factor: float, rows: int, classes: int) -> Iterator[Tensor]:
    logits = (2 * torch.randn(rows, classes, dtype=torch.float64)).requires_grad_()
    target = torch.zeros(rows, dtype=torch.long)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for step in range(1500):
        optimizer.zero_grad()
        function(logits.exp(), target, factor, reduction="sum").backward()
        optimizer.step()
        if step % 25 == 24:
            yield logits.detach().exp().float()


def errors(function: Callable[..., Tensor], evidence: Tensor, factor: float, least: float) -> Tensor:
    """Of every row's gradient; 0 where its largest component is below the least."""
    target = torch.zeros(len(evidence), dtype=torch.long)
    leaves = [evidence.to(dtype).requires_grad_() for dtype in (torch.float32, torch.float64)]
    found, exact = (torch.autograd.grad(function(e, target, factor, reduction="sum"), e)[0].double() for e in leaves)
    largest = exact.abs().amax(1)
    error = (found - exact).abs().amax(1) / largest.clamp_min(1e-300)
    return torch.where(largest > least, error, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="of each kind, for up to ten classes; else a tenth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", default=ul.loss_names())
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    print("loss                rows      number  worst    above 1e-4")
    for name in options.only:
        function = ul.get_loss(name).function
        found: dict[str, list[Tensor]] = {"random": [], "descent": []}
        for classes in CLASSES:
            rows = options.rows if classes <= 10 else options.rows // 10
            evidence = torch.cat(list(random_rows(rows, classes)))
            for factor in (0.0, *FACTORS):
                found["random"].append(errors(function, evidence, factor, 1e-20))
            for factor in FACTORS:
                found["descent"] += [
                    errors(function, part, factor, 1e-9 * factor) for part in descent(function, factor, 60, classes)
                ]
        for kind, parts in found.items():
            every = torch.cat(parts)
            print(f"{name:20}{kind:10}{len(every):<8}{every.max():.0e}    {int((every > 1e-4).sum())}", flush=True)


if __name__ == "__main__":
    main()
