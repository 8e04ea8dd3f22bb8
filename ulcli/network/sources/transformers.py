"""Image classifiers in the format of transformers: a folder with `config.json` and weights.

transformers comes with an extra and is imported where it is needed: this takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ulcli.data.transform import RESAMPLING, Transform
from ulcli.errors import UserError, shorten
from ulcli.network.loading.keys import classifier_name, no_classifier
from ulcli.network.sources.source import Built, Bundle, NetworkSource

_PREFIX = "transformers/"
# What in a configuration would load code or further files, or another library's network with options of its own.
_NOT_PLAIN = ("auto_map", "quantization_config", "backbone", "backbone_config", "model_args")
# Attention that needs no kernel from elsewhere: a configuration may name one that would be downloaded and run.
_ATTENTION = "eager"


class Transformers(NetworkSource):
    """The classifiers that transformers builds from a configuration, `transformers/MODEL_TYPE`."""

    example = "transformers/MODEL_TYPE"
    description = "a classifier of transformers; a folder with config.json and weights names it by itself"

    @staticmethod
    def recognises(arch: str) -> bool:
        return arch.startswith(_PREFIX)

    def build(self, arch: str, num_classes: int | None = None, options: Mapping[str, Any] | None = None) -> nn.Module:
        config = (options or {}).get("config")
        if not isinstance(config, dict):
            raise UserError(f"'{arch}' is built from a configuration; give the folder that holds its config.json")
        transformers = _transformers()
        try:
            made = transformers.AutoConfig.for_model(arch.removeprefix(_PREFIX), **_plain(config, arch))
            network: nn.Module = transformers.AutoModelForImageClassification.from_config(
                made, trust_remote_code=False, attn_implementation=_ATTENTION
            )
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"transformers cannot build '{arch}' from its configuration: {error}") from error
        return network

    def accepts_class_count(self, arch: str) -> bool:
        return False  # the configuration says it


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder in the format of transformers."""
    return (path / "config.json").is_file()


def read_folder(path: Path) -> Bundle:
    """Build the network of a folder with its weights; nothing in it can run code, nothing is downloaded."""
    config = _read_json(path / "config.json")
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"'{path / 'config.json'}' names no model_type; is it of transformers?")
    arch = _PREFIX + kind
    made = _plain(config, str(path))
    transformers = _transformers()
    try:
        network, found = transformers.AutoModelForImageClassification.from_pretrained(
            path,
            config=transformers.AutoConfig.for_model(kind, **made),
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            attn_implementation=_ATTENTION,
            output_loading_info=True,
        )
    except Exception as error:  # of many kinds: no weights, damaged ones, no classifier of this type
        raise UserError(f"transformers cannot load '{path}': {error}") from error
    missing = sorted(found["missing_keys"])
    layers = {key.rpartition(".")[0] for key in missing}
    if missing and layers != {classifier_name(network)}:
        raise UserError(f"'{path}' has no weights for {shorten(missing)}; is it a classifier?")
    notes = tuple(map(no_classifier, layers))
    stored = json.loads(network.config.to_json_string(use_diff=False))
    options = {"config": _plain(stored, str(path))}
    built = Built(network, None, options, notes, has_classifier=not missing)
    return Bundle(arch, built, None if missing else _classes(made), _transform(path))


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise UserError("this needs transformers: pip install 'uncertainty-loss[transformers]'") from None
    # Its reports and progress bars would stand between our lines, with -q too.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _plain(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The configuration of a network that transformers' own code builds; private entries could name other code."""
    wrong = [key for key in _NOT_PLAIN if config.get(key) is not None]
    if wrong or config.get("model_type") == "timm_wrapper":
        raise UserError(f"'{where}' needs code or files that are not its own ({shorten(wrong or ['timm_wrapper'])})")
    left_out = ("model_type", "transformers_version", "torch_dtype", "dtype")
    return {
        key: value
        for key, value in config.items()
        if key not in left_out and not key.startswith("_") and not key.endswith("_implementation")
    }


def _classes(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    labels = config.get("id2label")
    if not isinstance(labels, dict) or not all(str(key).isdecimal() for key in labels):
        return None
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    return None if all(name == f"LABEL_{place}" for place, name in enumerate(names)) else names


def _transform(path: Path) -> Transform | None:
    """The preprocessing in `preprocessor_config.json`; None where there is none, or one that `Transform` cannot do."""
    file = path / "preprocessor_config.json"
    if not file.is_file():
        return None
    said = _read_json(file)
    names = {member.value: name for name, member in RESAMPLING.items()}
    try:
        resize, crop, squash = _sizes(said)
        scale = float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0
        normalizes = bool(said.get("do_normalize", True))
        # `Transform` scales to [0, 1] and then normalises.
        return Transform(
            resize=resize,
            crop=crop,
            mean=tuple(value / (255 * scale) for value in said["image_mean"]) if normalizes else (0.0,) * 3,
            std=tuple(value / (255 * scale) for value in said["image_std"]) if normalizes else (1 / (255 * scale),) * 3,
            interpolation=names[int(said.get("resample", 2))],
            squash=squash,
        )
    except (KeyError, TypeError, ValueError):
        return None


def _sizes(said: Mapping[str, Any]) -> tuple[int, int, bool]:
    """Lengths to resize to and to crop, and whether both sides are resized; raises where they say something else."""
    size = said["size"] if isinstance(said["size"], dict) else {"height": said["size"], "width": said["size"]}
    if "shortest_edge" in size:
        resize, squash = int(size["shortest_edge"]), False
    else:
        resize, squash = int(size["height"]), True
        if size["height"] != size["width"]:
            raise ValueError("not square")
    if said.get("crop_pct") is not None:  # of ConvNeXT: below 384 pixels a margin is cropped, from there none is left
        if resize >= 384:
            return resize, resize, True
        return int(resize / float(said["crop_pct"])), resize, False
    if not said.get("do_resize", True):
        raise ValueError("images of any size")
    if not said.get("do_center_crop", False):
        if not squash:
            raise ValueError("images of any aspect")
        return resize, resize, squash
    crop = (
        said["crop_size"]
        if isinstance(said["crop_size"], dict)
        else dict.fromkeys(("height", "width"), said["crop_size"])
    )
    if crop["height"] != crop["width"]:
        raise ValueError("not square")
    return resize, int(crop["height"]), squash


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read '{path}': {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"'{path}' holds no configuration")
    return content
