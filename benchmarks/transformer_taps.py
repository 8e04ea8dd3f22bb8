"""Which layers of a vision transformer tell strange images best, and how their tokens are best pooled.

    python benchmarks/transformer_taps.py --data-root ROOT [--seeds 3] [--data digits fashion-mnist] [--keep DIR]

Small transformers (six blocks of 64 channels, 28 pixels in patches of 4 or 7) are trained here on scikit-learn's digits
and on FashionMNIST, two classes held out. Their layers go into the tool's own density: the moments of the train part,
the familiarity of the val part. AUROC of the test part against a thousand images each of the eleven kinds of
benchmarks/strange.py, of the other data set, and of the held-out classes. ROOT/FashionMNIST/raw holds the four files of
FashionMNIST. With --keep, networks that are there are not trained again.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.strange import COUNT, KINDS
from benchmarks.tables import Table, show
from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.network.anatomy.backbone import Backbone
from ulcli.network.linear import Linear
from uncertainty_loss import Familiarity, FeatureDensity, Moments, embed, pool_map

SIDE, BLOCKS, CLASSES = 28, 6, 8
PATCH = {"digits": 4, "fashion-mnist": 7}
EPOCHS = {"digits": 30, "fashion-mnist": 10}
MOST = 8_000  # training images
OTHER = {"digits": "fashion-mnist", "fashion-mnist": "digits"}
DEEP = (1, 3, 5)  # of the blocks: a third, two thirds, and all of the way
TAP_LIMIT, FEATURE_LIMIT = 512, 1024


class Part(NamedTuple):
    """Images as the network takes them, and their classes."""

    x: Tensor
    labels: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", choices=EPOCHS, default=list(EPOCHS))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where networks are kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        means: Table = defaultdict(lambda: defaultdict(list))
        for data in arguments.data:
            table: Table = defaultdict(lambda: defaultdict(list))
            for seed in range(arguments.seeds):
                measure(data, seed, arguments.data_root, arguments.keep or Path(folder), table)
            show(f"{data}: AUROC", table)
            for name, row in table.items():
                means[name][data] = row["mean"]
                means[name]["mean"] += row["mean"]
        show("All: mean AUROC", means)


def measure(data: str, seed: int, root: Path, folder: Path, table: Table) -> None:
    """One network, a row a choice of layers."""
    train, val, test = (known(data, part, root) for part in ("train", "val", "test"))
    network = trained(data, seed, train, folder / f"vit-{data}-{seed}.pth")
    strange = dict(strange_sets(data, root))
    inputs = {"train": train.x, "val": val.x, "test": test.x, **strange}
    layers = {name: activations(network, x) for name, x in inputs.items()}
    own = Linear(network.heads.head.weight.detach(), network.heads.head.bias.detach())
    accuracy = float((own(layers["test"]["features"]).argmax(1) == test.labels).float().mean())
    print(f"{data}, seed {seed}: accuracy {accuracy:.3f}", file=sys.stderr, flush=True)
    backbone = Backbone.take_apart("vit", None, network, (3, SIDE, SIDE))
    print(f"taps of the tool: {', '.join(backbone.taps)}", file=sys.stderr)
    narrow = f"{NARROW}, each in {NARROW_LIMIT} dimensions"
    choices = [(name, blocks, TAP_LIMIT) for name, blocks in CHOICES.items()]
    for name, blocks, limit in [*choices, (narrow, CHOICES[NARROW], NARROW_LIMIT)]:
        embedded = {part: embedding(found, blocks, limit) for part, found in layers.items()}
        add(table[name], score(embedded, layers, own, train.labels), strange)
    embedded = {part: torch.cat([backbone(x).embedding for x in each.split(500)]) for part, each in inputs.items()}
    add(table["as the tool taps"], score(embedded, layers, own, train.labels), strange)
    for name, row in table.items():
        print(f"  {name}: {row['mean'][-1]:.4f}, worst {row['worst'][-1]:.4f}", file=sys.stderr, flush=True)


def embedding(layers: dict[str, Tensor], names: tuple[str, ...], limit: int) -> Tensor:
    """As the tool puts them side by side."""
    taps = [embed([layers[name]], limit) for name in names]
    return torch.cat([*taps, embed([layers["features"]], FEATURE_LIMIT)], 1)


def score(
    embedded: dict[str, Tensor], layers: dict[str, dict[str, Tensor]], own: Linear, labels: Tensor
) -> dict[str, Tensor]:
    """How strange each image is, as the tool has it."""
    moments = Moments(CLASSES)
    moments.update(embedded["train"], labels)
    density = FeatureDensity.fit(moments)
    signs = {}
    for part, values in embedded.items():
        distance, relative = density.score(values)
        energy = -own(layers[part]["features"]).logsumexp(1)
        signs[part] = torch.stack([distance, relative, energy.double()], 1)
    familiarity = Familiarity.fit(signs["val"])
    return {part: familiarity.score(values) for part, values in signs.items()}


def add(row: dict[str, list[float]], scores: dict[str, Tensor], strange: dict[str, Tensor]) -> None:
    aurocs = {name: auroc(scores["test"], scores[name]) for name in strange}
    row["mean"].append(mean(aurocs.values()))
    row["worst"].append(min(aurocs.values()))
    for name, value in aurocs.items():
        row[name].append(value)


def auroc(familiar: Tensor, strange: Tensor) -> float:
    truth = np.r_[np.zeros(len(familiar)), np.ones(len(strange))]
    return float(roc_auc_score(truth, torch.cat([familiar, strange]).numpy()))


def _choices() -> dict[str, tuple[str, ...]]:
    """What is compared: names of `activations`."""

    def deep(*kinds: str) -> tuple[str, ...]:
        return tuple(f"{kind} {block}" for block in DEEP for kind in kinds)

    return {
        "features alone": (),
        "patches": ("patches",),
        "patches as tokens": ("patch tokens",),
        "blocks, mean + std": deep("mean + std"),
        "patches, blocks mean + std": ("patches", *deep("mean + std")),
        "patches, last block mean + std": ("patches", "mean + std 5"),
        "patches, first third mean + std": ("patches", "mean + std 1"),
        "patches, blocks mean": ("patches", *deep("mean")),
        "patches, blocks class token + mean": ("patches", *deep("class + mean")),
        "patches, blocks class token": ("patches", *deep("class")),
        "patches, blocks as maps": ("patches", *deep("map")),
        "blocks as maps": deep("map"),
        "normalised blocks, mean + std": deep("normalised mean + std"),
        "patches, normalised blocks mean + std": ("patches", *deep("normalised mean + std")),
        "patches, normalised blocks mean": ("patches", *deep("normalised mean")),
        "patches, normalised blocks as maps": ("patches", *deep("normalised map")),
        "normalised blocks as maps": deep("normalised map"),
    }


CHOICES = _choices()
# Larger transformers' taps are wider than the tool's limit: does the pooling still pay when it is cut to the width of
# mean + std?
NARROW, NARROW_LIMIT = "patches, blocks as maps", 128


def activations(network: VisionTransformer, x: Tensor) -> dict[str, Tensor]:
    """All that is chosen from, pooled; `features` are what the head reads."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    hooks = [network.conv_proj.register_forward_hook(lambda _, __, out: pool_patches(out, parts))]
    for block, layer in enumerate(network.encoder.layers):
        hooks.append(layer.register_forward_hook(lambda _, __, out, block=block: pool_block(out, block, "", parts)))
    norms = [*(layer.ln_1 for layer in network.encoder.layers[1:]), network.encoder.ln]
    for block, norm in enumerate(norms):
        hooks.append(
            norm.register_forward_hook(lambda _, __, out, block=block: pool_block(out, block, "normalised ", parts))
        )
    hooks.append(network.heads.register_forward_hook(lambda _, ins, __: parts["features"].append(ins[0])))
    with torch.inference_mode():
        for batch in x.split(500):
            network(batch)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(each).clone() for name, each in parts.items()}


def pool_patches(out: Tensor, parts: dict[str, list[Tensor]]) -> None:
    parts["patches"].append(pool_map(out))
    parts["patch tokens"].append(mean_and_std(out.flatten(2).mT))


def mean_and_std(tokens: Tensor) -> Tensor:
    return torch.cat([tokens.mean(1), tokens.std(1, correction=0)], 1)


def pool_block(out: Tensor, block: int, kind: str, parts: dict[str, list[Tensor]]) -> None:
    if block not in DEEP:
        return
    side = math.isqrt(out.shape[1])
    pooled = {
        "mean + std": mean_and_std(out),
        "mean": out.mean(1),
        "class": out[:, 0],
        "class + mean": torch.cat([out[:, 0], out[:, 1:].mean(1)], 1),
        "map": pool_map(out[:, 1:].mT.unflatten(2, (side, side))),
    }
    for name, values in pooled.items():
        parts[f"{kind}{name} {block}"].append(values)


def trained(data: str, seed: int, train: Part, path: Path) -> VisionTransformer:
    """A small transformer, trained with plain cross-entropy, shifts by up to two pixels."""
    torch.manual_seed(seed)
    network = VisionTransformer(SIDE, PATCH[data], BLOCKS, 4, 64, 128, num_classes=CLASSES)
    if path.exists():
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval()
    steps = EPOCHS[data] * -(-len(train.x) // 64)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(EPOCHS[data]):
        for rows in torch.randperm(len(train.x)).split(64):
            optimizer.zero_grad()
            shift: Any = torch.randint(-2, 3, (2,)).tolist()
            F.cross_entropy(network(train.x[rows].roll(shift, (2, 3))), train.labels[rows]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path)
    return network.eval()


def known(data: str, part: str, root: Path) -> Part:
    """Images of the classes that the network knows."""
    images = labelled_set(DataName(data), part, Places(root))
    assert images.labels is not None
    rows = np.flatnonzero(images.labels < CLASSES)[: MOST if part == "train" else 2 * COUNT]
    return Part(tensors([load(images, row) for row in rows]), torch.from_numpy(images.labels[rows]))


def strange_sets(data: str, root: Path) -> Iterator[tuple[str, Tensor]]:
    """Everything that the network does not know."""
    images = labelled_set(DataName(data), "test", Places(root))
    assert images.labels is not None
    familiar = [load(images, row) for row in np.flatnonzero(images.labels < CLASSES)[:COUNT]]
    for name, make in KINDS.items():
        yield name, tensors(list(make(familiar, np.random.default_rng(0))))
    other = labelled_set(DataName(OTHER[data]), "test", Places(root))
    yield "the other data", tensors([load(other, row) for row in range(min(COUNT, len(other)))])
    held_out = np.flatnonzero(images.labels >= CLASSES)[:COUNT]
    yield "held-out classes", tensors([load(images, row) for row in held_out])


def load(images: Any, row: int) -> Image.Image:
    image: Image.Image = images.load(int(row)).convert("L")
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def tensors(images: list[Image.Image]) -> Tensor:
    """Pixels from -1 to 1, in three channels."""
    values = torch.from_numpy(np.stack([np.asarray(image) for image in images])).float().div(127.5).sub(1)
    return values.unsqueeze(1).expand(-1, 3, -1, -1)


if __name__ == "__main__":
    main()
