"""What knowing the familiar from the strange costs, beside the network and the head.

    python benchmarks/cost.py [--arch resnet18] [--size 3 224 224] [--images 1000 10000] [--rounds 15]

The tool's own code on random images and weights, which cost what others do; one thread, processor time. The passes
with and without the density take turns in one process, batch by batch, so that whatever else the machine does hits
them alike; figures are medians over the rounds. What is fitted once runs on as many features as `ul train` would have,
drawn about those of the batches, with a fifth more for validation.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ulcli.model.baselines import FeatureBaselines
from ulcli.model.choices import EvidenceFrom
from ulcli.model.flags import Flags
from ulcli.model.head import Head
from ulcli.model.measures import measure_all
from ulcli.model.predictor import Predictions, Predictor
from ulcli.model.sets import PredictionSets
from ulcli.network.anatomy.backbone import Activations, Backbone
from ulcli.network.loading.build import build_network
from ulcli.reporting import Silent
from uncertainty_loss import Moments, expected_probability

CLASSES, BATCH = 10, 64
VALIDATION = 0.2


class Clock:
    """Processor seconds by name, one a round; their median."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self._seconds[name].append(time.process_time() - start)

    def __getitem__(self, name: str) -> float:
        return statistics.median(self._seconds[name])

    def items(self) -> list[tuple[str, float]]:
        return [(name, self[name]) for name in self._seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18", help="as for ul train")
    parser.add_argument("--size", nargs=3, type=int, default=[3, 224, 224], metavar=("CHANNELS", "HEIGHT", "WIDTH"))
    parser.add_argument("--images", nargs="+", type=int, default=[1000, 10000], help="training images")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = tuple(arguments.size)
    backbone = Backbone.take_apart(arguments.arch, CLASSES, build_network(arguments.arch, CLASSES), shape)
    clock, seen = passes(backbone, shape, arguments.rounds)
    print_passes(clock)
    for images in arguments.images:
        print_fits(images, clock, fits(images, seen, backbone))


def passes(backbone: Backbone, shape: tuple[int, int, int], rounds: int) -> tuple[Clock, Activations]:
    """Batches through the network, with and without what the density needs; and what came out, for the fits."""
    bare = replace(backbone, taps=())
    predictor = fitted(Clock(), 4 * CLASSES, backbone(torch.randn(BATCH, *shape)), backbone)
    clock, moments, seen = Clock(), Moments(CLASSES), []
    for number in range(rounds + 1):
        images, labels = torch.randn(BATCH, *shape), torch.randint(CLASSES, (BATCH,))
        timed = clock if number else Clock()  # the first round warms up
        with timed("pass"):
            plain = bare(images)
        with timed("scores of the head"):
            measure_all(of_the_head(predictor.head, plain))
        with timed("pass with taps"):
            full = backbone(images)
        with timed("scores with density"):
            measure_all(predictor(*full))
        with timed("moments"):
            moments.update(full.embedding, labels)
        seen.append(full)
    return clock, Activations(*map(torch.cat, zip(*seen, strict=True)))


def of_the_head(head: Head, activations: Activations) -> Predictions:
    """What a model without density would say."""
    alpha = head.alpha(activations.features)
    return Predictions(alpha, head.prior, alpha, torch.ones(len(alpha)))


def fits(images: int, seen: Activations, backbone: Backbone) -> Clock:
    """Everything that is fitted once, for so many training images."""
    clock = Clock()
    fitted(clock, images, seen, backbone)
    return clock


def fitted(clock: Clock, images: int, seen: Activations, backbone: Backbone) -> Predictor:
    """A predictor for features drawn about those that were seen."""
    classifier = backbone.own_classifier()
    assert classifier is not None
    head = Head(classifier, "clamped_exp", prior=1.0)
    train, labels = drawn(seen, images)
    validation, held_out = drawn(seen, max(round(VALIDATION * images), 20))
    moments = Moments(CLASSES)
    for rows in torch.arange(images).split(1024):
        moments.update(train.embedding[rows], labels[rows])
    with clock("density, familiarity, temperature"):
        predictor = Predictor.fit(
            head, classifier, moments, *validation, held_out, fading=0.05, evidence_from=EvidenceFrom.DENSITY
        )
    with clock("thresholds and sets"):
        predictions = predictor(*validation)
        Flags.fit(predictions, held_out, rate=0.05, target_accuracy=0.9, reporter=Silent())
        PredictionSets.fit(expected_probability(predictions.alpha), held_out)
    with clock("statistics of the baselines"):
        FeatureBaselines.fit(train.features, labels, classifier)
    return predictor


def drawn(seen: Activations, count: int) -> tuple[Activations, torch.Tensor]:
    """Activations about those that were seen, and labels."""
    rows = torch.randint(len(seen.features), (count,))
    parts = (part[rows] + 0.1 * part.std(0) * torch.randn(count, part.shape[1]) for part in seen)
    return Activations(*parts), torch.randint(CLASSES, (count,))


def print_passes(clock: Clock) -> None:
    print("| step | µs an image | share of the pass |\n|---|---|---|")
    for name, seconds in clock.items():
        print(f"| {name} | {1e6 * seconds / BATCH:,.0f} | {seconds / clock['pass']:.1%} |")
    without = clock["pass"] + clock["scores of the head"]
    extra = (clock["pass with taps"] + clock["scores with density"]) / without - 1
    print(f"\nScoring with the density against without: {extra:+.1%}")


def print_fits(images: int, passes: Clock, fits: Clock) -> None:
    validation = VALIDATION * images
    whole = passes["pass"] / BATCH * (images + validation)
    taps = (passes["pass with taps"] - passes["pass"]) / BATCH * (images + validation)
    steps = [("taps", taps), ("moments", passes["moments"] / BATCH * images), *fits.items()]
    print(f"\n| {images:,} training images, {validation:,.0f} for validation | seconds | share |\n|---|---|---|")
    print(f"| the pass | {whole:.1f} | 100.0% |")
    for name, seconds in steps:
        print(f"| {name} | {seconds:.2f} | {seconds / whole:.1%} |")
    beyond = sum(seconds for _, seconds in steps)
    print(f"| all beyond the head | {beyond:.2f} | {beyond / whole:.1%} |")


if __name__ == "__main__":
    main()
