"""`model.pt`: what `ul train` writes and the other commands read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import uncertainty_loss as ul
from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.files import atomic_write, is_special
from ulcli.model import schema
from ulcli.model.baselines import FeatureBaselines
from ulcli.model.choices import EvidenceFrom
from ulcli.model.flags import Flags
from ulcli.model.head import Head
from ulcli.model.predictor import Predictor
from ulcli.model.sets import PredictionSets
from ulcli.network.anatomy.backbone import Backbone, difference
from ulcli.network.files.archive import read_archive
from ulcli.network.linear import Linear
from ulcli.network.loading.build import rebuilt_network
from uncertainty_loss import Familiarity, FeatureDensity

FORMAT = "uncertainty-loss model"
VERSION = 1


# Other versions and processors differ in the last digits; what differs by more of its length is another network.
_SAME = 0.01


def probe_images(shape: tuple[int, int, int]) -> Tensor:
    """Give two images, the same everywhere, that no random generator has to draw."""
    pixels = torch.arange(2 * math.prod(shape), dtype=torch.float64).mul(0.7).sin().float()
    return pixels.reshape(2, *shape)


class Fit(NamedTuple):
    """What the rest of a model expects of its network."""

    shape: tuple[int, int, int]  # of an image: (channels, height, width)
    features: int
    embedding: int


@dataclass(frozen=True)
class BackboneRecord:
    """What it takes to build the network again."""

    arch: str
    num_classes: int | None
    head: str | None
    taps: tuple[str, ...]
    state: dict[str, Tensor]
    fit: Fit | None = None  # known where a whole model was read
    options: dict[str, Any] = field(default_factory=dict)  # further arguments that the network was built with
    probe: Tensor | None = None  # features (2, D) of `probe_images`, by which the network is known again

    def build(self, *, trusted: bool = False) -> Backbone:
        """Build the network with its weights, ready to give features; `trusted` lets code from here run."""
        network = rebuilt_network(self.arch, self.state, self.num_classes, self.options, trusted=trusted)
        network.eval().requires_grad_(False)
        backbone = Backbone(self.arch, self.num_classes, network, self.head, self.taps)
        if self.fit is not None:
            _check_fit(backbone, self.fit, self.probe)
        return backbone


@dataclass(frozen=True)
class Model:
    """Everything that a model file holds. The network itself is built only when it is needed."""

    backbone: BackboneRecord
    transform: Transform
    classes: tuple[str, ...]
    predictor: Predictor
    loss: dict[str, Any]  # name, reg_factor, epochs
    flags: Flags
    sets: PredictionSets
    validation: dict[str, float]  # figures on the validation data
    data: dict[str, Any]  # what the head was fitted on: name, root, digest
    provenance: dict[str, Any]  # tool and library versions, seed
    feature_baselines: FeatureBaselines | None = None  # what the model is compared with, where it is small

    def save(self, path: Path, check: Callable[[Model], None] | None = None) -> None:
        """Write the file; a reader sees the old one or the new one, never a part.

        Args:
            path: Where to; what `check` cannot read again (a pipe, a device) is not checked.
            check: Takes the model as it reads from the new file. What it raises leaves the old one in place.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "backbone": {
                "arch": self.backbone.arch,
                "num_classes": self.backbone.num_classes,
                "options": self.backbone.options,
                "head": self.backbone.head,
                "taps": list(self.backbone.taps),
                "probe": self.backbone.probe,
                "state": self.backbone.state,
            },
            "transform": self.transform.to_dict(),
            "classes": list(self.classes),
            **_predictor_content(self.predictor),
            "loss": self.loss,
            "flags": asdict(self.flags),
            "sets": self.sets.state_dict(),
            "validation": self.validation,
            "data": self.data,
            "provenance": self.provenance,
            "feature_baselines": self.feature_baselines and self.feature_baselines.state_dict(),
        }
        try:
            with atomic_write(path, "wb") as stream:
                torch.save(content, stream)
                if check is not None and not is_special(path):
                    stream.flush()
                    check(Model.load(Path(stream.name)))
        except OSError as error:
            raise UserError(f"cannot write '{path}': {error.strerror or error}") from None

    @classmethod
    def load(cls, path: Path) -> Model:
        """Read a model file; `UserError` where it is missing, damaged, newer than this tool, or something else."""
        return cls.parse(read_archive(path), path)

    @classmethod
    def parse(cls, content: Any, path: Path) -> Model:
        """Make a model of the content of its file."""
        if not is_model(content):
            raise UserError(f"'{path}' is no model of this tool; make one of a checkpoint: ul train {path} --arch ...")
        version = content.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise UserError(f"'{path}' has format version {version}, this ul reads up to {VERSION}; upgrade ul")
        try:
            schema.check(content, schema.MODEL)
            schema.check(content, schema.READ_AGAIN)
            if "options" in content["backbone"]:  # files of earlier versions have none
                schema.check(content, schema.OPTIONS)
            if content["backbone"].get("probe") is not None:
                schema.check(content, schema.PROBE)
            said = {key: kind for key, kind in schema.TRANSFORM.items() if key in content["transform"]}
            schema.check(content["transform"], said, "transform")
            if content.get("feature_baselines") is not None:
                schema.check(content, schema.FEATURE_BASELINES)
            return _checked(_from_content(content))
        # RuntimeError: lists that hold themselves; OverflowError: whole numbers beyond any float.
        except (TypeError, ValueError, OverflowError, RuntimeError, IndexError) as error:
            raise UserError(f"'{path}' is damaged: {error}; train the model again") from None


def is_model(content: Any) -> bool:
    """Tell whether the content of an archive is a model of this tool."""
    return isinstance(content, dict) and content.get("format") == FORMAT


def _predictor_content(predictor: Predictor) -> dict[str, Any]:
    head, baseline = predictor.head, predictor.baseline
    return {
        "head": {
            "weight": head.linear.weight,
            "bias": head.linear.bias,
            "evidence": head.evidence,
            "prior": head.prior,
            "temperature": head.temperature,
        },
        "baseline": {"weight": baseline.weight, "bias": baseline.bias},
        "density": predictor.density.state_dict(),
        "familiarity": predictor.familiarity.state_dict(),
        "evidence": {
            "from": predictor.evidence_from.value,
            "images": predictor.images,
            "fading": predictor.fading,
        },
    }


def _predictor_from(content: dict[str, Any]) -> Predictor:
    head, evidence = content["head"], content["evidence"]
    linear = Linear(head["weight"], head["bias"])
    return Predictor(
        head=Head(linear, head["evidence"], float(head["prior"]), float(head["temperature"])),
        baseline=Linear(content["baseline"]["weight"], content["baseline"]["bias"]),
        density=FeatureDensity.from_state_dict(content["density"]),
        familiarity=Familiarity.from_state_dict(content["familiarity"]),
        images=int(evidence["images"]),
        fading=float(evidence["fading"]),
        evidence_from=EvidenceFrom(evidence["from"]),
    )


def _from_content(content: dict[str, Any]) -> Model:
    backbone = content["backbone"]
    transform, predictor = Transform.from_dict(content["transform"]), _predictor_from(content)
    features, embedding = predictor.head.linear.weight.shape[-1], len(predictor.density.centre)
    baselines = content.get("feature_baselines")
    return Model(
        backbone=BackboneRecord(
            backbone["arch"],
            backbone["num_classes"],
            backbone["head"],
            tuple(backbone["taps"]),
            backbone["state"],
            Fit(transform.shape, features, embedding),
            dict(backbone.get("options", {})),
            backbone.get("probe"),
        ),
        transform=transform,
        classes=tuple(content["classes"]),
        predictor=predictor,
        loss=dict(content["loss"]),
        flags=Flags(**content["flags"]),
        sets=PredictionSets.from_state_dict(content["sets"]),
        validation=dict(content["validation"]),
        data=dict(content["data"]),
        provenance=dict(content["provenance"]),
        feature_baselines=None if baselines is None else FeatureBaselines.from_state_dict(baselines),
    )


def _checked(model: Model) -> Model:
    """Check that entries which are each in order fit together, too."""
    classes, predictor = len(model.classes), model.predictor
    if not classes or len(set(model.classes)) != classes:
        raise ValueError("class names are not distinct texts")
    for part in (predictor.head.linear, predictor.baseline):
        if part.weight.dim() != 2 or part.weight.shape[0] != classes or part.bias.shape != (classes,):
            raise ValueError(f"a classifier of shape {tuple(part.weight.shape)} does not fit {classes} classes")
    if predictor.head.linear.weight.shape != predictor.baseline.weight.shape:
        raise ValueError("head and baseline do not read the same features")
    ul.get_evidence_function(predictor.head.evidence)  # raises ValueError for a name that it does not know
    densities, familiarity = [predictor.density], predictor.familiarity
    if model.feature_baselines is not None:
        densities.append(model.feature_baselines.density)
        if len(model.feature_baselines.origin) != predictor.baseline.weight.shape[1]:
            raise ValueError("the feature baselines and the classifier do not read the same features")
    if any(not len(density.means) or (density.between < 0).any() for density in densities):
        raise ValueError("the density has no class means, or a variance below 0")
    if familiarity.scores.dim() != 1 or (familiarity.scores.diff() < 0).any() or (familiarity.std <= 0).any():
        raise ValueError("the familiarity scores are not in order, or have no spread")
    if model.sets.lac.dim() != 1 or model.sets.lac.shape != model.sets.aps.shape:
        raise ValueError("the scores for prediction sets are not two rows of the same length")
    # The number was read off the weights; a file that asks for a million more asks for memory.
    sizes = {tensor.shape[0] for tensor in model.backbone.state.values() if tensor.dim()}
    if model.backbone.num_classes is not None and model.backbone.num_classes not in sizes:
        raise ValueError(f"no weights are of {model.backbone.num_classes} classes")
    return model


def _check_fit(backbone: Backbone, fit: Fit, probe: Tensor | None) -> None:
    """Raise `UserError` unless two images come out as the head and the density will read it, and as they once did."""
    again = f"'{backbone.arch}' does not fit the rest of the model file"
    try:
        features, embedding = backbone(probe_images(fit.shape))
    except UserError as error:
        raise UserError(f"{again}: {error}; train it again") from error
    except Exception as error:  # a network that is not the one of the file may raise anything
        raise UserError(f"{again}: {error!r}; train it again") from error
    if features.shape != (2, fit.features) or embedding.shape != (2, fit.embedding):
        raise UserError(
            f"{again}: it gives features {tuple(features.shape[1:])} and an embedding {tuple(embedding.shape[1:])}, "
            f"expected {fit.features} and {fit.embedding}; train it again"
        )
    if probe is not None and (features.shape != probe.shape or difference(features, probe) > _SAME):
        raise UserError(
            f"'{backbone.arch}' gives other features than when the model was fitted: its code, a library or something "
            "that it reads has changed; restore that, or train the model again"
        )
