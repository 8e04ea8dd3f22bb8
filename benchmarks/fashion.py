"""FashionMNIST end to end: a classifier trained with cross-entropy, brought to `ul train` as a user would.

    python benchmarks/fashion.py --data-root ROOT [--seeds 3]

ROOT/FashionMNIST/raw holds the four files, packed or not. The classifier (LeNet, six epochs of Adam) sees the train
part only; the head is fitted on the same part, its threshold comes from `val`, the figures from `test`. Strange
images: scikit-learn's digits, noise, photographs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.through_the_tool import train_classifier, ul

ARCH = "benchmarks.networks:lenet"
OOD = ("digits", "noise", "photos")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--losses", nargs="+", default=["evidential", "maxnorm"])
    arguments = parser.parse_args()

    rows: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            checkpoint = Path(folder) / f"lenet_{seed}.pth"
            train_classifier(arguments.data_root, checkpoint, ARCH, seed)
            for loss in arguments.losses:
                report = through_the_tool(arguments.data_root, checkpoint, loss, seed, Path(folder))
                rows.setdefault("cross-entropy, maximum probability", []).append(
                    figures(report["baseline"], report["ood"], "max_probability")
                )
                rows.setdefault(f"{loss}, vacuity", []).append(figures(report["metrics"], report["ood"], "vacuity"))
    print_table(rows)


def through_the_tool(root: Path, checkpoint: Path, loss: str, seed: int, folder: Path) -> dict[str, Any]:
    """`ul train`, then `ul evaluate --format json`."""
    model = folder / f"{loss}_{seed}.pt"
    data = ["--data-root", str(root)]
    train = [str(checkpoint), "--arch", ARCH, "--data", "fashion-mnist", *data]
    ul("train", *train, "--loss", loss, "--seed", str(seed), "-o", str(model))
    ood = [word for name in OOD for word in ("--ood", name)]
    report: dict[str, Any] = json.loads(ul("evaluate", str(model), *ood, *data, "-f", "json"))
    return report


def figures(metrics: dict[str, Any], ood: dict[str, Any], score: str) -> dict[str, float]:
    """Accuracy, ECE and AUROC against each strange set."""
    aurocs = {f"AUROC {name}": ood[key]["scores"][score]["auroc"] for name, key in zip(OOD, ood, strict=True)}
    return {"accuracy": metrics["accuracy"]["value"], "ECE": metrics["ece"]["value"], **aurocs}


def print_table(rows: dict[str, list[dict[str, float]]]) -> None:
    """Markdown: the mean over the seeds, and their range."""
    columns = list(next(iter(rows.values()))[0])
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, runs in rows.items():
        cells = []
        for column in columns:
            values = [run[column] for run in runs]
            cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
