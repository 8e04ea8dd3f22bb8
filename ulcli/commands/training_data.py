"""The images that a training reads: those to fit on, and others to validate with."""

from __future__ import annotations

from collections.abc import Sequence

from ulcli.commands.settings import TrainSettings
from ulcli.data.catalog import DataName, comes_in_parts, labelled_set
from ulcli.data.imageset import LabelledSet, of_classes, relabel
from ulcli.errors import UserError, shorten, unknown_name


def training_name(settings: TrainSettings) -> DataName:
    """Name the data to fit on; only the sample classifier has a data set of its own."""
    if settings.data_name is not None:
        return settings.data_name
    if settings.checkpoint is not None or settings.arch is not None:
        raise UserError("say which labelled images to fit on with --data, for example --data photos/train")
    return DataName("digits")


def training_data(settings: TrainSettings, classes: tuple[str, ...] | None) -> tuple[LabelledSet, LabelledSet]:
    """Open the images to fit on and those to validate with; `classes` are those of a model that is fitted again."""
    data = training_name(settings)
    val = settings.val_name or DataName(data.name, "val")
    if settings.val is None and data.split not in (None, "train"):
        raise UserError(f"'{data}' leaves nothing to validate with; give --val, or fit on '{data.name}:train'")
    same = val.resolved().name == data.resolved().name
    if same and val.split in ("all", data.split or "train"):
        raise UserError(f"--val {val} holds images of --data {data}: thresholds from them would promise too much")
    images = labelled_set(data, "train", settings.places)
    validation = labelled_set(val, "val" if same or comes_in_parts(val.name) else "all", settings.places)
    for name in settings.hold_out:
        if name not in images.classes:
            raise unknown_name("class", name, images.classes, "given to --hold-out")
    images, validation = _without(images, settings.hold_out), _without(validation, settings.hold_out)
    found = images.classes
    if len(found) < 2:
        raise UserError(f"'{images.name}' has too few classes to fit on ({len(found)}); a classifier needs two or more")
    if classes is not None:
        _check_classes(images, classes, "the model")
        found = classes
    _check_classes(validation, found, f"'{images.name}'")
    return relabel(images, found), relabel(validation, found)


def _without(images: LabelledSet, names: Sequence[str]) -> LabelledSet:
    """Leave out the classes to hold out, where the set has them."""
    left = [name for name in images.classes if name not in names]
    return of_classes(images, left, images.name) if len(left) < len(images.classes) else images


def _check_classes(images: LabelledSet, classes: tuple[str, ...], owner: str) -> None:
    """Raise `UserError` unless the classes of a labelled set are the expected ones."""
    unknown = [name for name in images.classes if name not in classes]
    missing = [name for name in classes if name not in images.classes]
    if unknown or missing:
        parts = [f"{shorten(unknown)} unknown to {owner}"] if unknown else []
        parts += [f"{shorten(missing)} missing"] if missing else []
        raise UserError(
            f"the classes of '{images.name}' ({len(images.classes)}) differ from those of {owner} ({len(classes)}): "
            f"{'; '.join(parts)}"
        )
