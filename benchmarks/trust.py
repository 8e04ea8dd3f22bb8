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
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.strange import write_strange_sets
from benchmarks.tables import LOSSES, Table, add_far, add_near, add_quality, show
from benchmarks.through_the_tool import evaluate, train_classifier, ul

ARCH = "benchmarks.networks:small_cnn"
# Which classes each seed leaves out: similar and dissimilar pairs, fixed before any result was seen.
HELD_OUT = (
    ("Sandal", "Bag"),
    ("Trouser", "Shirt"),
    ("Pullover", "Ankle boot"),
    ("T-shirt/top", "Sneaker"),
    ("Dress", "Coat"),
)
RATES = (0.01, 0.05, 0.1)


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
                report = figures(root, model, strange)
                add_far(far, loss, report)
                add_quality(quality, loss, report)
            add_promises(promises, root, checkpoint, seed, folder)
            held_out = HELD_OUT[seed % len(HELD_OUT)]
            model = without_two_classes(root, seed, folder, held_out)
            add_near(near, held_out, figures(root, model, strange[:1]))
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
    words = ["--arch", ARCH, "--data", "fashion-mnist", "--data-root", str(root)]
    ul("train", str(checkpoint), *words, "--loss", loss, "--seed", str(seed), "-o", str(model), *more)
    return model


def figures(root: Path, model: Path, strange: list[Path]) -> dict[str, Any]:
    """`ul evaluate` without intervals, for the seeds show the spread."""
    return evaluate(model, strange, "--data-root", str(root), "--bootstrap", "0")


def without_two_classes(root: Path, seed: int, folder: Path, held_out: tuple[str, ...]) -> Path:
    """A model of another classifier, which never saw these."""
    checkpoint = folder / "near.pth"
    train_classifier(root, checkpoint, ARCH, seed, without=held_out)
    more = [word for name in held_out for word in ("--hold-out", name)]
    return fit(root, checkpoint, LOSSES[0], seed, folder / "near.pt", *more)


def add_promises(table: Table, root: Path, checkpoint: Path, seed: int, folder: Path) -> None:
    for rate in RATES:
        model = fit(root, checkpoint, LOSSES[0], seed, folder / "rate.pt", "--flag-rate", str(rate))
        report = figures(root, model, [])
        table["share flagged"][f"promised {rate:.0%}"].append(report["metrics"]["flag_rate"]["value"])
    for method in ("lac", "aps"):
        words = ["--data-root", str(root), "--sets", "0.95", "--set-method", method, "-f", "csv"]
        rows = list(csv.DictReader(io.StringIO(ul("score", str(model), "fashion-mnist", *words))))
        covered = mean(row["label"] in row["set"].split("|") for row in rows)
        table["set coverage, promised 95%"][method].append(covered)
        table["classes in a set"][method].append(mean(len(row["set"].split("|")) for row in rows))


if __name__ == "__main__":
    main()
