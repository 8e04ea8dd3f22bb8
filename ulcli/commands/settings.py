"""What each command is asked to do: the one place of every default, every choice and every check.

Typer's options, and whoever calls the commands from Python, build these objects; a field is called as its long option.
Fields hold what was written, properties what it means. Light to import, for help pages read the defaults: what takes
numpy or torch is imported where a value is checked or used.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ulcli.errors import UserError, unknown_name
from ulcli.evaluation.figures import REQUIREMENTS
from ulcli.expressions import Condition, parse_condition
from ulcli.model.choices import EvidenceFrom, SetMethod
from ulcli.rows import MEASURES

if TYPE_CHECKING:
    from ulcli.data.catalog import DataName, Places
    from ulcli.data.shifts import Shift

_Choice = TypeVar("_Choice", bound=Enum)

FEWEST_RESAMPLES = 40  # of fewer, the 2.5% that an interval leaves out on either side are not a single one
LARGEST_SEED = 2**63 - 1  # of torch's generators


@dataclass(frozen=True, kw_only=True)
class PassSettings:
    """What every command says of its pass of images through the network."""

    data_root: Path | None = None
    batch_size: int = 64
    workers: int | None = None  # None: one thread a core
    device: str = "auto"
    trust_code: bool = False  # whether code in the working directory may run where a file names it

    def __post_init__(self) -> None:
        _check_whole("--batch-size", self.batch_size)
        if self.workers is not None:
            _check_whole("--workers", self.workers)

    @property
    def threads(self) -> int:
        """Give the number of threads that decode images."""
        from ulcli.data.loader import default_workers

        return self.workers or default_workers()


@dataclass(frozen=True)
class TrainSettings(PassSettings):
    """What `ul train` is asked to do."""

    checkpoint: Path | None = None  # None: the published weights of `arch`, or the sample classifier without one
    data: str | None = None  # None: what the sample classifier was trained on
    val: str | None = None  # None: the val split of `data`
    arch: str | None = None
    arch_arg: Sequence[str] = ()  # NAME=VALUE, for whoever builds the network
    head: str | None = None  # None: the classifier is searched for
    weights_key: str | None = None  # None: EMA weights where there are some
    loss: str = "maxnorm"
    reg_factor: float | None = None  # None: 0, and the loss's own where the evidence comes from the head
    output: Path = Path("model.pt")
    weights: str | None = None  # None: those that torchvision takes by default
    classes: Path | None = None  # None: the names in the checkpoint, where it has any
    image_size: int | None = None
    resize: int | None = None
    crop: int | None = None
    squash: bool | None = None
    interpolation: str | None = None
    antialias: bool | None = None
    mean: str | None = None
    std: str | None = None
    grayscale: bool | None = None
    flag_rate: float = 0.05
    target_accuracy: float | None = None
    evidence_from: EvidenceFrom = EvidenceFrom.DENSITY
    hold_out: Sequence[str] = ()  # classes that the head is not to know
    download: bool = False
    seed: int = 0
    no_cache: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in losses():
            raise unknown_name("loss", self.loss, losses())
        reg_factor = 0.0 if self.reg_factor is None else self.reg_factor
        if not _is_number(reg_factor) or not 0 <= reg_factor < math.inf:
            raise UserError(f"--reg-factor is {_shown(reg_factor)}, expected a finite weight of 0 or more")
        _check_share("--flag-rate", self.flag_rate, "a share", 0.05)
        if self.target_accuracy is not None:
            _check_share("--target-accuracy", self.target_accuracy, "a share", 0.98)
        _choose(self, "evidence_from", EvidenceFrom)
        _check_texts("--hold-out", self.hold_out)
        _check_texts("--arch-arg", self.arch_arg)
        _ = self.arch_options
        _check_whole("--seed", self.seed, least=0, most=LARGEST_SEED)
        self._check_preprocessing()

    @property
    def places(self) -> Places:
        from ulcli.data.catalog import Places

        return Places(self.data_root or Places.root, self.download)

    @property
    def data_name(self) -> DataName | None:
        return None if self.data is None else _data_name(self.data)

    @property
    def val_name(self) -> DataName | None:
        return None if self.val is None else _data_name(self.val)

    @property
    def arch_options(self) -> dict[str, Any]:
        """Give the arguments that the network is built with."""
        return dict(map(_argument, self.arch_arg))

    @property
    def channel_means(self) -> tuple[float, ...] | None:
        return _normalization("--mean", self.mean, self.std, 0)

    @property
    def channel_stds(self) -> tuple[float, ...] | None:
        return _normalization("--std", self.std, self.mean, 1)

    def _check_preprocessing(self) -> None:
        for option, size in (("--image-size", self.image_size), ("--resize", self.resize), ("--crop", self.crop)):
            if size is not None:
                _check_whole(option, size)
        if self.image_size is not None and (self.resize is not None or self.crop is not None):
            raise UserError("--image-size sets both --resize and --crop; leave it out, or leave them out")
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise UserError(
                f"--crop {self.crop} is larger than --resize {self.resize}; the crop is cut from the resized image"
            )
        if self.interpolation is not None:
            from ulcli.data.transform import RESAMPLING, UNSMOOTHED

            if self.interpolation not in RESAMPLING:
                raise unknown_name("value of --interpolation", self.interpolation, RESAMPLING)
            if self.antialias is False and self.interpolation not in UNSMOOTHED:
                raise UserError(f"--no-antialias does not go with --interpolation {self.interpolation}")
        _ = self.channel_means, self.channel_stds


@dataclass(frozen=True)
class EvaluateSettings(PassSettings):
    """What `ul evaluate` is asked to do."""

    model: Path
    data: str | None = None  # None: the test split of what the model was fitted on
    ood: Sequence[str] = ()  # none: the built-in sets
    require: Sequence[str] = ()
    shift: Sequence[str] = ()
    bootstrap: int = 200  # resamples for the intervals; 0 for none
    seed: int = 0
    download: bool = False
    no_cache: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for option, texts in (("--ood", self.ood), ("--require", self.require), ("--shift", self.shift)):
            _check_texts(option, texts)
        _ = self.shifts, self.requirements
        _check_whole("--bootstrap", self.bootstrap, least=0)
        if 0 < self.bootstrap < FEWEST_RESAMPLES:
            raise UserError(
                f"--bootstrap is {self.bootstrap}, expected {FEWEST_RESAMPLES} resamples or more, or 0 for no intervals"
            )
        _check_whole("--seed", self.seed, least=0)

    @property
    def places(self) -> Places | None:
        """Give the places of data sets; None stands for those of the model's training data."""
        from ulcli.data.catalog import Places

        return None if self.data_root is None else Places(self.data_root, self.download)

    @property
    def data_name(self) -> DataName | None:
        return None if self.data is None else _data_name(self.data)

    @property
    def ood_names(self) -> list[DataName]:
        return [_data_name(text) for text in self.ood]

    @property
    def shifts(self) -> list[Shift]:
        from ulcli.data.shifts import Shift

        return [Shift.parse(text) for text in self.shift]

    @property
    def requirements(self) -> list[Condition]:
        return [parse_condition(text, REQUIREMENTS) for text in self.require]


@dataclass(frozen=True)
class ScoreSettings(PassSettings):
    """What `ul score` is asked to do."""

    model: Path
    inputs: Sequence[str]
    flag_on: str | None = None  # None: the thresholds that the model carries
    max_flagged: str | None = None
    probs: bool = False
    alpha: bool = False
    sets: float | None = None  # coverage
    set_method: SetMethod = SetMethod.LAC

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_texts("INPUT", self.inputs)
        _ = self.flag_rule, self.flag_limit
        if self.sets is not None:
            _check_share("--sets", self.sets, "a coverage", 0.95)
        _choose(self, "set_method", SetMethod)

    @property
    def places(self) -> Places:
        from ulcli.data.catalog import Places

        return Places(self.data_root or Places.root)

    @property
    def flag_rule(self) -> Condition | None:
        return None if self.flag_on is None else parse_condition(self.flag_on, MEASURES)

    @property
    def flag_limit(self) -> Limit | None:
        return None if self.max_flagged is None else Limit.parse(self.max_flagged)


@dataclass(frozen=True)
class Limit:
    """How many flagged images are too many: a count, or a share of those that could be read."""

    value: float
    is_share: bool

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read `N` or `P%`."""
        share = text.strip().endswith("%")
        try:
            value = float(text.strip().removesuffix("%")) / 100 if share else int(text)
        except ValueError:
            value = -1.0
        if not value >= 0 or (share and value > 1):
            raise UserError(f"--max-flagged is '{text}', expected a count (10) or a share (5%)")
        return cls(value, share)

    def exceeded(self, flagged: int, scored: int) -> bool:
        """Tell whether `flagged` of `scored` images are too many."""
        return flagged > (self.value * scored if self.is_share else self.value)

    def __str__(self) -> str:
        return f"{100 * self.value:g}%" if self.is_share else f"{self.value:g}"


@cache
def losses() -> dict[str, str]:
    """Give name and summary of every loss.

    Read off the source of the library's registry: importing it would import torch, seconds that a help page or an
    error about a mistyped name should not take.
    """
    package = find_spec("uncertainty_loss")
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).with_name("losses") / "registry.py"
    entries = [
        {keyword.arg: keyword.value.value for keyword in call.keywords if isinstance(keyword.value, ast.Constant)}
        for call in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Loss"
    ]
    return {str(entry["name"]): str(entry["summary"]) for entry in entries}


def _data_name(text: str) -> DataName:
    from ulcli.data.catalog import DataName

    return DataName.parse(text)


def _argument(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE, with a value as JSON has it; anything else is a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UserError(f"--arch-arg is '{text}', expected NAME=VALUE, such as transform_input=false")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _normalization(option: str, text: str | None, other: str | None, part: int) -> tuple[float, ...] | None:
    """Read numbers, or the name of a usual normalization; where only one of two options is given, a name is both."""
    from ulcli.data.transform import NORMALIZATIONS

    if text is None:
        return NORMALIZATIONS[other][part] if other in NORMALIZATIONS else None
    if text in NORMALIZATIONS:
        return NORMALIZATIONS[text][part]
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        names = ", ".join(NORMALIZATIONS)
        raise UserError(
            f"{option} is '{text}', expected one number, three with commas between, or one of {names}"
        ) from None


def _choose(settings: Any, field: str, choices: type[_Choice]) -> None:
    """Turn a text into the choice that it means; the command line brings the choice itself."""
    value = getattr(settings, field)
    try:
        object.__setattr__(settings, field, choices(value))
    except ValueError:
        option = f"--{field.replace('_', '-')}"
        raise unknown_name(f"value of {option}", str(value), [str(each.value) for each in choices]) from None


def _check_whole(option: str, value: int, *, least: int = 1, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise UserError(f"{option} is {value}, expected a whole number of {bounds}")


def _check_share(option: str, value: float, what: str, example: float) -> None:
    if not _is_number(value) or not 0 < value < 1:
        raise UserError(f"{option} is {_shown(value)}, expected {what} between 0 and 1, such as {example:g}")


def _check_texts(option: str, values: Iterable[str]) -> None:
    if isinstance(values, str):
        raise UserError(f"{option} is the text '{values}', expected a list of texts")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return f"{value:g}" if _is_number(value) else f"'{value}'"
