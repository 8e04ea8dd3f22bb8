"""Can the flags be trusted? FashionMNIST, a small network trained with cross-entropy, everything through `ul`.

    python benchmarks/trust.py --data-root ROOT [--seeds 5]

For each seed: a classifier (six epochs of Adam on the train part), `ul train` for both losses, `ul evaluate` against
eleven kinds of strange images; the same without two classes, which then are the near strange set; the share of
flagged test images for three promised rates; the coverage of prediction sets. Figures are means over the seeds, with
their range. ROOT/FashionMNIST/raw holds the four files, packed or not.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.strange import write_strange_sets
from benchmarks.through_the_tool import train_classifier, ul

ARCH = "small_cnn"
LOSSES = ("maxnorm", "evidential")
RIVALS = ("max_probability", "entropy", "energy", "mahalanobis", "relative_mahalanobis", "knn", "vim")
# Which classes each seed leaves out: similar and dissimilar pairs, fixed before any result was seen.
HELD_OUT = (
    ("Sandal", "Bag"),
    ("Trouser", "Shirt"),
    ("Pullover", "Ankle boot"),
    ("T-shirt/top", "Sneaker"),
    ("Dress", "Coat"),
)
RATES = (0.01, 0.05, 0.1)

Table = dict[str, dict[str, list[float]]]  # row -> column -> one value a seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    root = arguments.data_root

    far: Table = defaultdict(lambda: defaultdict(list))
    quality: Table = defaultdict(lambda: defaultdict(list))
    near: Table = defaultdict(lambda: defaultdict(list))
    promises: Table = defaultdict(lambda: defaultdict(list))
    # Ctrl-C shows the seeds that are done.
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        strange = write_strange_sets(folder / "strange", test_images(root))
        for seed in range(arguments.seeds):
            checkpoint = folder / f"{seed}.pth"
            train_classifier(root, checkpoint, ARCH, seed)
            for loss in LOSSES:
                model = fit(root, checkpoint, loss, seed, folder / f"{loss}.pt")
                report = evaluate(root, model, strange)
                add_far(far, loss, report)
                add_quality(quality, loss, report)
            add_promises(promises, root, checkpoint, seed, folder)
            add_near(near, root, seed, folder, strange[:1])
            print(f"seed {seed} done", file=sys.stderr, flush=True)
    show("Far: AUROC over the strange sets", far)
    show("Near: AUROC against the held-out classes", near)
    show("Predictions on the test images", quality)
    show("Promises on the test images", promises)


def test_images(root: Path) -> list[Any]:
    """The first thousand test images, for the sets that are made from familiar ones."""
    from ulcli.data.catalog import DataName, Places, labelled_set

    images = labelled_set(DataName("fashion-mnist"), "test", Places(root))
    return [images.load(index) for index in range(1000)]


def fit(root: Path, checkpoint: Path, loss: str, seed: int, model: Path, *more: str) -> Path:
    """`ul train` on the checkpoint."""
    words = ["--arch", f"benchmarks.networks:{ARCH}", "--data", "fashion-mnist", "--data-root", str(root)]
    ul("train", str(checkpoint), *words, "--loss", loss, "--seed", str(seed), "-o", str(model), *more)
    return model


def evaluate(root: Path, model: Path, strange: list[Path]) -> dict[str, Any]:
    """`ul evaluate` against folders of strange images; without intervals, for the seeds show the spread."""
    ood = [word for place in strange for word in ("--ood", str(place))]
    report: dict[str, Any] = json.loads(
        ul("evaluate", str(model), *ood, "--data-root", str(root), "--bootstrap", "0", "-f", "json")
    )
    return report


def add_far(table: Table, loss: str, report: dict[str, Any]) -> None:
    names = {f"vacuity ({loss})": "vacuity", f"head's own vacuity ({loss})": "head_vacuity"}
    for row, score in (names | {name: name for name in RIVALS if loss == LOSSES[0]}).items():
        aurocs = {Path(key).name: strange["scores"][score]["auroc"] for key, strange in report["ood"].items()}
        table[row]["mean"].append(mean(aurocs.values()))
        table[row]["worst"].append(min(aurocs.values()))
        for key, value in aurocs.items():
            table[row][key].append(value)


def add_quality(table: Table, loss: str, report: dict[str, Any]) -> None:
    rows = {loss: report["metrics"]} | ({"cross-entropy": report["baseline"]} if loss == LOSSES[0] else {})
    for row, metrics in rows.items():
        for name in (
            "accuracy",
            "nll",
            "brier",
            "ece",
            "adaptive_ece",
            "classwise_ece",
            "aurc",
            "misclassification_auroc",
        ):
            table[row][name].append(metrics[name]["value"])


def add_near(table: Table, root: Path, seed: int, folder: Path, strange: list[Path]) -> None:
    """Another classifier that never saw two of the classes."""
    held_out = HELD_OUT[seed % len(HELD_OUT)]
    checkpoint = folder / "near.pth"
    train_classifier(root, checkpoint, ARCH, seed, without=held_out)
    more = [word for name in held_out for word in ("--hold-out", name)]
    model = fit(root, checkpoint, LOSSES[0], seed, folder / "near.pt", *more)
    report = evaluate(root, model, strange)
    (near,) = (each for each in report["ood"].values() if each["kind"] == "near")
    for score in ("vacuity", "head_vacuity", *RIVALS):
        table[score]["mean"].append(near["scores"][score]["auroc"])
        table[score][" + ".join(held_out)].append(near["scores"][score]["auroc"])


def add_promises(table: Table, root: Path, checkpoint: Path, seed: int, folder: Path) -> None:
    for rate in RATES:
        model = fit(root, checkpoint, LOSSES[0], seed, folder / "rate.pt", "--flag-rate", str(rate))
        report = evaluate(root, model, [])
        table["share flagged"][f"promised {rate:.0%}"].append(report["metrics"]["flag_rate"]["value"])
    for method in ("lac", "aps"):
        words = ["--data-root", str(root), "--sets", "0.95", "--set-method", method, "-f", "csv"]
        rows = list(csv.DictReader(io.StringIO(ul("score", str(model), "fashion-mnist", *words))))
        covered = mean(row["label"] in row["set"].split("|") for row in rows)
        table["set coverage, promised 95%"][method].append(covered)
        table["classes in a set"][method].append(mean(len(row["set"].split("|")) for row in rows))


def show(title: str, table: Table) -> None:
    """Markdown: the mean over the seeds, and their range."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print(f"\n{title}\n\n| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in table.items():
        cells = [_cell(row[column]) if column in row else "" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _cell(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"


if __name__ == "__main__":
    main()
