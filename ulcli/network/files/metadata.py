"""What a checkpoint says about itself beside its weights: its architecture, its classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ulcli.network.files.standins import Array

# Where training scripts keep what they were called with.
_RECORDS = (
    *("hyper_parameters", "hparams", "args", "config", "cfg", "meta", "metadata", "opt", "options"),
    *("model_args", "model_config", "model_kwargs", "model_cfg", "data", "dataset"),
)
_ARCH = ("arch", "architecture", "model_name", "model_arch", "arch_name", "model", "backbone", "net", "network")
_COUNT = ("num_classes", "n_classes", "nb_classes", "num_labels", "num_class", "classes")
_INDEX_OF_NAME = ("class_to_idx", "class_to_index", "class2idx", "label_to_idx", "label2id", "label2idx", "name_to_idx")
_NAME_OF_INDEX = ("idx_to_class", "index_to_class", "idx2class", "idx_to_label", "id2label", "idx2label", "idx_to_name")
_NAMES = ("classes", "class_names", "classnames", "label_names", "categories", "target_names", "names", "labels")
# Beyond these, a list is no list of classes.
_MOST_CLASSES, _LONGEST_NAME = 100_000, 500


@dataclass(frozen=True)
class Metadata:
    """What a file says; nothing of it is checked against its weights."""

    arch: str | None = None  # under 'arch' at the top, where it has always been believed
    arch_hints: tuple[str, ...] = ()  # other texts that may name the architecture
    classes: tuple[str, ...] | None = None  # in the order of the outputs
    num_classes: int | None = None
    notes: tuple[str, ...] = ()


def read_metadata(content: Any, config: Any = None) -> Metadata:
    """Collect what the content of a file, and the `config.json` beside it, say."""
    records = [*_records(content), *_records(config)]
    arch = content.get("arch") if isinstance(content, Mapping) else None
    arch = arch if isinstance(arch, str) and _is_name(arch) else None
    if arch is not None and _is_from_timm(content):
        arch = f"timm/{arch}"
    if isinstance(config, Mapping) and isinstance(config.get("architecture"), str):  # as timm writes it
        arch = f"timm/{config['architecture']}"
    hints = (value for record in records for key in _ARCH if isinstance(value := record.get(key), str))
    # Code is named at the top of the file, or on the command line; not somewhere among the options of a script.
    hints = (hint for hint in hints if _is_name(hint) and ":" not in hint)
    counts = (value for record in records for key in _COUNT if _is_count(value := record.get(key)))
    found = dict.fromkeys(names for record in records if (names := _class_names(record)) is not None)
    if len(found) > 1:
        note = f"the file lists its classes in {len(found)} ways that contradict each other; none is used"
        return Metadata(arch, tuple(dict.fromkeys(hints)), None, next(counts, None), (note,))
    return Metadata(arch, tuple(dict.fromkeys(hints)), next(iter(found), None), next(counts, None))


def _records(content: Any, depth: int = 2) -> Iterator[Mapping[str, Any]]:
    """The dictionaries that may say something: the content itself, and what scripts keep their options in."""
    if not isinstance(content, Mapping):
        return
    yield content
    if depth:
        for key in _RECORDS:
            yield from _records(content.get(key), depth - 1)


def _is_from_timm(content: Mapping[str, Any]) -> bool:
    """Tell whether timm's training script wrote a file: its saver numbers its format."""
    return content.get("version") == 2 and {"epoch", "arch", "state_dict", "optimizer"} <= content.keys()


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 200 and re.fullmatch(r"[\w./:@-]+", text) is not None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_CLASSES


def _class_names(record: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The classes that one record lists, under the first key that lists any."""
    for keys, named in ((_INDEX_OF_NAME, _by_index_of_name), (_NAME_OF_INDEX, _by_name_of_index), (_NAMES, _listed)):
        for key in keys:
            if (names := named(record.get(key))) is not None:
                return names
    return None


def _by_index_of_name(value: Any) -> tuple[str, ...] | None:
    """Classes of a dictionary from names to indices, which must be 0, 1, 2, ..."""
    if not isinstance(value, Mapping) or not 0 < len(value) <= _MOST_CLASSES:
        return None
    indices = {name: _as_index(index) for name, index in value.items()}
    if any(index is None for index in indices.values()):
        return None
    if sorted(indices.values()) != list(range(len(indices))):  # type: ignore[type-var]
        return None
    return _as_names(sorted(indices, key=lambda name: indices[name] or 0))


def _by_name_of_index(value: Any) -> tuple[str, ...] | None:
    """Classes of a dictionary from indices to names, or of a list."""
    if not isinstance(value, Mapping):
        return _listed(value)
    if len(value) > _MOST_CLASSES:
        return None
    indices = {_as_index(key): name for key, name in value.items()}
    if None in indices or set(indices) != set(range(len(value))):
        return None
    return _as_names([indices[index] for index in range(len(value))])


def _listed(value: Any) -> tuple[str, ...] | None:
    """Classes of a list, or of a dictionary whose keys show in which direction it goes."""
    if isinstance(value, Mapping):
        return _by_name_of_index(value) or _by_index_of_name(value)
    if isinstance(value, Array):
        value = value.tolist()
    return _as_names(value) if isinstance(value, list | tuple) else None


def _as_index(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"\d{1,6}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _as_names(values: list[Any] | tuple[Any, ...]) -> tuple[str, ...] | None:
    """Distinct names, all of them texts or all whole numbers; None for anything else."""
    if not 0 < len(values) <= _MOST_CLASSES or not (_all_are(str, values) or _all_are(int, values)):
        return None
    names = tuple(str(value) for value in values)
    if any(len(name) > _LONGEST_NAME for name in names) or len(set(names)) != len(names):
        return None
    # What transformers writes where nobody gave names
    return None if all(re.fullmatch(r"LABEL_\d+", name) for name in names) else names


def _all_are(kind: type, values: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
