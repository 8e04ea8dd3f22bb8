"""What a model file must hold, entry by entry: damage is told on reading, not met in the middle of a run."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Kind:
    """What a value may be, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]

    def or_none(self) -> Kind:
        return Kind(f"{self.words} or None", lambda value: value is None or self.holds(value))


def check(content: Any, schema: Mapping[str, Any], place: str = "the file") -> None:
    """Raise ValueError that names the first entry which is missing or not what the schema says; more may be there."""
    if not isinstance(content, dict):
        raise ValueError(f"{place} is {reprlib.repr(content)}, expected a dictionary")
    for key, expected in schema.items():
        inside = key if place == "the file" else f"{place}.{key}"
        if key not in content:
            raise ValueError(f"{inside} is missing")
        if isinstance(expected, Kind):
            if not expected.holds(content[key]):
                raise ValueError(f"{inside} is {reprlib.repr(content[key])}, expected {expected.words}")
        else:
            check(content[key], expected, inside)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and not math.isnan(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**53  # whole in a float


def _is_text(value: Any) -> bool:
    """Tell whether it is a text that can be written, or be the name of a file, whose bytes may be no characters."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_plain(value: Any) -> bool:
    """Tell whether JSON could hold it."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, bool, int, float)


def _is_tensor(value: Any) -> bool:
    """Tell whether it is a tensor that has all its numbers: a few bytes can be expanded to any size."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.requires_grad
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _is_finite_tensor(value: Any) -> bool:
    return _is_tensor(value) and value.is_floating_point() and bool(value.isfinite().all())


def _is_single_tensor(value: Any) -> bool:
    return _is_finite_tensor(value) and value.element_size() == 4


def _is_double_tensor(value: Any) -> bool:
    return _is_finite_tensor(value) and value.element_size() == 8


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) and _is_tensor(item) for key, item in value.items())


TEXT = Kind("a text", _is_text)
TEXTS = Kind("a list of texts", _is_texts)
FLAG = Kind("True or False", lambda value: isinstance(value, bool))
COUNT = Kind("a positive whole number", _is_count)
NUMBER = Kind("a number", _is_number)
FINITE = Kind("a finite number", lambda value: _is_number(value) and -math.inf < value < math.inf)
POSITIVE = Kind("a finite number > 0", lambda value: _is_number(value) and 0 < value < math.inf)
PRIOR = Kind("a number from 0 to 1e6", lambda value: _is_number(value) and 0 <= value <= 1e6)
TEMPERATURE = Kind("a number from 1e-6 to 1e6", lambda value: _is_number(value) and 1e-6 <= value <= 1e6)
SHARE = Kind("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
NUMBERS = Kind("a list of numbers", lambda value: isinstance(value, list) and all(map(_is_number, value)))
PLAIN = Kind("a dictionary of plain values", lambda value: isinstance(value, dict) and _is_plain(value))
STATE = Kind("a dictionary of tensors", _is_state)
TENSOR = Kind("a tensor of finite floating-point numbers", _is_finite_tensor)
SINGLES = Kind("a tensor of finite single-precision numbers", _is_single_tensor)
DOUBLES = Kind("a tensor of finite double-precision numbers", _is_double_tensor)

DENSITY = dict.fromkeys(("centre", "whiten", "axes", "means", "between"), SINGLES)

MODEL: dict[str, Any] = {
    "backbone": {"arch": TEXT, "num_classes": COUNT.or_none(), "head": TEXT.or_none(), "taps": TEXTS, "state": STATE},
    "transform": {
        "resize": COUNT,
        "crop": COUNT,
        "mean": NUMBERS,
        "std": NUMBERS,
        "grayscale": FLAG,
        "interpolation": TEXT,
    },
    "classes": TEXTS,
    "head": {"weight": TENSOR, "bias": TENSOR, "evidence": TEXT, "prior": PRIOR, "temperature": TEMPERATURE},
    "baseline": {"weight": TENSOR, "bias": TENSOR},
    "density": DENSITY,
    "familiarity": {
        "mean": DOUBLES,
        "std": DOUBLES,
        "pair_std": POSITIVE,
        "pair_least": NUMBER,
        "scores": DOUBLES,
    },
    "evidence": {"from": TEXT, "images": COUNT, "fading": POSITIVE},
    "loss": PLAIN,
    "flags": {"rate": SHARE, "vacuity": NUMBER, "target_accuracy": SHARE.or_none(), "doubt": NUMBER.or_none()},
    "sets": {"lac": TENSOR, "aps": TENSOR},
    "validation": PLAIN,
    "data": PLAIN,
    "provenance": PLAIN,
}
# What is there where it is small; read where it is not None.
FEATURE_BASELINES: dict[str, Any] = {
    "feature_baselines": {
        "density": DENSITY,
        "vim": {"origin": SINGLES, "minor": SINGLES, "scale": FINITE},
    }
}
# Of the transform, what older files do not say.
TRANSFORM: dict[str, Any] = {"squash": FLAG, "antialias": FLAG}
# Of the free-form entries, what is read again.
READ_AGAIN: dict[str, Any] = {"data": {"name": TEXT, "root": TEXT, "digest": TEXT, "hold_out": TEXTS}}
# How the network was built, where a file tells.
OPTIONS: dict[str, Any] = {"backbone": {"options": PLAIN}}
# What the network gave for two images when it was fitted, where a file tells.
PROBE: dict[str, Any] = {"backbone": {"probe": SINGLES}}
