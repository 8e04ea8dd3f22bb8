"""Time and memory of the losses, forward and backward, as a ratio to `F.cross_entropy`.

    python benchmarks/losses.py [--markdown] [--pypi DIR] [--shapes 4096x10 ...]

All variants run in one process, one after the other in every round, so that whatever else the machine does
hits them alike; the table shows medians over the rounds. Freed memory stays with the process, as it does in a
training run of some length, unless --trim. Evidence is given: its function is not timed. DIR
holds the package of PyPI to compare with: `pip install --no-deps --target DIR uncertainty-loss==0.1.2`.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import uncertainty_loss as ul

# Kineto reports every profile on standard error otherwise.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

SHAPES = ["128x10", "4096x10", "256x1000", "2x19x256x512"]
REG_FACTOR = 0.1

Key = tuple[str, str]
LossOf = Callable[[Tensor, Tensor], Tensor]


def published(directory: str) -> ModuleType:
    """The package of PyPI under another name, since ours has the same."""
    package = Path(directory) / "uncertainty_loss"
    spec = importlib.util.spec_from_file_location(
        "uncertainty_loss_pypi", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def variants(pypi: ModuleType | None, compiled: bool) -> dict[Key, LossOf]:
    """(row of the table, variant) -> loss of (evidence, target)."""
    table: dict[Key, LossOf] = {}
    for name in ("evidential_loss", "maxnorm_loss"):
        for reg_factor in (0.0, REG_FACTOR):
            row = f"{name}{', regularised' if reg_factor else ''}"

            def bind(loss: Callable[..., Tensor], reg: float = reg_factor) -> Callable[[Tensor, Tensor], Tensor]:
                return lambda evidence, target: loss(evidence, target, reg)

            table[row, "eager"] = bind(getattr(ul, name))
            if compiled:
                table[row, "compiled"] = torch.compile(bind(getattr(ul, name)), fullgraph=True)
            if pypi is not None:
                table[row, "PyPI 0.1.2"] = bind(getattr(pypi, name))
    return table


def step(loss: LossOf, inputs: Tensor, target: Tensor) -> None:
    inputs.grad = None
    loss(inputs, target).backward()


def peak_memory(loss: LossOf, inputs: Tensor, target: Tensor) -> float:
    """Bytes allocated at most during one step, beyond what was there before.

    In a thread of its own: what ours keep between steps they keep for each thread, and it has to count.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_peak_memory, loss, inputs, target).result()


def _peak_memory(loss: LossOf, inputs: Tensor, target: Tensor) -> float:
    inputs.grad = None
    if inputs.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, inputs, target)
        return torch.cuda.max_memory_allocated() - before
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        step(loss, inputs, target)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return peak


def measure(
    shape: tuple[int, ...],
    table: dict[Key, LossOf],
    probabilities: bool,
    seconds: float,
    device: str,
    clock: Callable[[], float],
) -> tuple[float, float, dict[Key, tuple[float, float]]]:
    """Median seconds and bytes of cross-entropy, and the ratios to both of every variant."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(shape, device=device)
    if probabilities:
        target = torch.randn(shape, device=device).softmax(1)
    else:
        target = torch.randint(shape[1], (shape[0], *shape[2:]), device=device)
    logits.requires_grad_()
    evidence = ul.clamped_exp(logits.detach()).requires_grad_()
    runs = {("", "F.cross_entropy"): (F.cross_entropy, logits)}
    runs |= {key: (loss, evidence) for key, loss in table.items()}

    for loss, inputs in runs.values():
        for _ in range(3):
            step(loss, inputs, target)
    memory = {key: peak_memory(loss, inputs, target) for key, (loss, inputs) in runs.items()}

    times: dict[Key, list[float]] = {key: [] for key in runs}
    end = time.perf_counter() + seconds
    inner = max(1, 20_000 // logits.numel())
    while time.perf_counter() < end or len(times["", "F.cross_entropy"]) < 7:
        for key, (loss, inputs) in runs.items():
            # Not timed: whatever came before it has filled the caches with its own.
            step(loss, inputs, target)
            synchronize(device)
            start = clock()
            for _ in range(inner):
                step(loss, inputs, target)
            synchronize(device)
            times[key].append((clock() - start) / inner)
    medians = {key: statistics.median(samples) for key, samples in times.items()}
    base_time, base_memory = medians.pop(("", "F.cross_entropy")), memory.pop(("", "F.cross_entropy"))
    return (
        base_time,
        base_memory,
        {key: (medians[key] / base_time, memory[key] / base_memory) for key in medians},
    )


def keep_freed_memory() -> None:
    """Have glibc not hand freed memory back to the system.

    Whether it does depends on what was allocated before, and page faults cost more than a loss: cross-entropy of
    20 MiB takes 12 or 35 ms.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    for parameter, value in ((trim_threshold, 2**31 - 1), (top_pad, 2**29), (mmap_threshold, 2**30)):
        libc.mallopt(parameter, value)


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--pypi", metavar="DIR", help="directory with the package of PyPI")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="NxC[xD...]")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for the rounds of a shape")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--probabilities", action="store_true", help="targets that are probabilities, not indices")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="threads of torch; default its own choice")
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure processor time: for a busy machine, one thread"
    )
    parser.add_argument(
        "--trim", action="store_true", help="leave glibc as it is: a small process hands its memory back at once"
    )
    options = parser.parse_args()

    if options.threads:
        torch.set_num_threads(options.threads)
    if not options.trim:
        keep_freed_memory()
    clock = time.process_time if options.cpu_time else time.perf_counter
    pypi = published(options.pypi) if options.pypi else None
    cells: dict[Key, dict[str, str]] = {}
    heads = {}
    for name in options.shapes:
        torch.compiler.reset()
        table = variants(pypi, not options.no_compile)
        shape = tuple(int(size) for size in name.split("x"))
        base_time, base_memory, ratios = measure(
            shape, table, options.probabilities, options.seconds, options.device, clock
        )
        base = f"{base_time * 1e6:.0f} µs, {base_memory / 2**20:.2f} MiB"
        heads[name] = f"({', '.join(map(str, shape))}): {base}"
        for key, (ratio, memory) in ratios.items():
            cells.setdefault(key, {})[name] = f"{ratio:.2f} ({memory:.1f})"

    rows = [["loss", "variant", *heads.values()]]
    rows += [[row, variant, *(columns[name] for name in heads)] for (row, variant), columns in cells.items()]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.device}")
    print("Times of forward + backward, in cross-entropy's (column heads); in brackets peak memory, likewise.")
    if options.markdown:
        rows.insert(1, ["---"] * len(rows[0]))
        for row in rows:
            print("| " + " | ".join(row) + " |")
    else:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
