"""Which row of a checkpoint's classifier stands for which class of the data.

A file may name its classes, in any spelling; most do not. Then the order is a guess, and a wrong one makes a good
classifier look like chance. So every order is checked on labelled images: the names' own, those that numbers
suggest, and the one that fits the predictions best.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import bdtr, bdtrc
from torch import Tensor

from ulcli.errors import UserError

# A finding by chance is to be rarer than this. The check is made once a training, and what it finds is told.
_SIGNIFICANT = 1e-3
_FOLDS = 3  # with three images a class two of them find a row, and the third checks it

_SYNSET = re.compile(r"(n\d{8})[\s_,:-]+(.+)")  # 'n01440764 tench, Tinca tinca'


class Origin(Enum):
    """What an order of rows comes from."""

    DATA = "the data's own order"
    NAMES = "class names"
    NUMBERS = "numbers as class names"
    PREDICTIONS = "predictions"


@dataclass(frozen=True)
class Order:
    """Which row stands for each class of the data."""

    rows: tuple[int, ...]
    origin: Origin


@dataclass(frozen=True)
class Match:
    """The order that fits labelled images best, and how well."""

    order: Order
    right: Tensor  # (n,): which images it gets right; where it was found on them, each checked with others' order
    first_right: Tensor | None  # the same of the order that was to be expected; None without any

    @property
    def accuracy(self) -> float:
        """Share of images that are right."""
        return share(self.right)


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names in the order of a classifier's rows: a text file with one a line, or JSON.

    JSON may be a list, or map names to indices (`class_to_idx`, `label2id`) or indices to names (`id2label`), also
    inside a file that has more, such as a `config.json`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"no such file: '{path}'") from None
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"'{path}' is no text file; expected class names, one a line, or JSON") from None
    if not text.lstrip().startswith(("[", "{")):
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
    else:
        try:
            names = names_in(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise UserError(f"'{path}' holds no class names: {error}") from None
    if not names:
        raise UserError(f"'{path}' holds no class names; expected one a line, or JSON")
    return names


def names_in(content: Any) -> tuple[str, ...]:
    """Find class names in the order of their rows in a list, or in a mapping from or to indices; ValueError if none."""
    if isinstance(content, list):
        return tuple(_joined(entry) for entry in content)
    if not isinstance(content, dict) or not content:
        raise ValueError("expected a list, or a mapping between names and indices")
    for key in ("id2label", "class_to_idx", "label2id", "classes", "class_names"):
        if isinstance(content.get(key), dict | list):
            return names_in(content[key])
    try:
        if all(isinstance(value, int) for value in content.values()):
            indexed = {value: str(key) for key, value in content.items()}
        else:
            indexed = {int(key): _joined(value) for key, value in content.items()}
    except ValueError:
        raise ValueError("expected a mapping between names and indices") from None
    if sorted(indexed) != list(range(len(content))):
        raise ValueError(f"expected the indices 0 to {len(content) - 1}, each once")
    return tuple(indexed[index] for index in range(len(indexed)))


def _joined(entry: Any) -> str:
    """Give a class name as text; ImageNet's index has a synset and a word for each class."""
    if isinstance(entry, list) and entry and all(isinstance(part, str) for part in entry):
        return " ".join(entry)
    if not isinstance(entry, str | int) or isinstance(entry, bool):
        raise ValueError(f"{entry!r} is no class name")
    return str(entry)


def rows_by_name(known: Sequence[str], wanted: Sequence[str]) -> list[int | None]:
    """Find the row of each wanted class among the known ones, None where it is not there or not clear which it is.

    Names are compared as they are written, then without regard to case, spaces, hyphens and underscores, then synset
    by synset and synonym by synonym.
    """
    rows: list[int | None] = [None] * len(wanted)
    spellings: tuple[Callable[[str], Iterable[str]], ...] = (lambda name: [name], lambda name: [_folded(name)], _parts)
    for spell in spellings:
        owners: dict[str, set[int]] = {}
        for row, name in enumerate(known):
            for key in spell(name):
                owners.setdefault(key, set()).add(row)
        for place, name in enumerate(wanted):
            found = set().union(*(owners.get(key, set()) for key in spell(name)))
            if rows[place] is None and len(found) == 1:
                rows[place] = found.pop()
    claims = Counter(rows)
    return [row if claims[row] == 1 else None for row in rows]


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _parts(name: str) -> Iterable[str]:
    """Give the synset, and every synonym."""
    synset = _SYNSET.fullmatch(name)
    words = name if synset is None else synset[2]
    return [_folded(each) for each in (*([synset[1]] if synset else []), words, *words.split(","))]


def orders_by_number(classes: Sequence[str], count: int) -> list[Order]:
    """List the orders of `count` rows that whole numbers as class names suggest.

    Folders sort as text: 0, 1, 10, 11, 2. So do the classes of a checkpoint that was trained on such folders, while
    one that was trained on labels has them in numeric order.
    """
    if not all(re.fullmatch(r"[0-9]+", name) for name in classes):
        return []
    numbers = [int(name) for name in classes]
    if len(set(numbers)) < len(numbers):  # 1 and 01
        return []
    all_names = sorted(classes, key=int) if count == len(classes) else [str(number) for number in range(count)]
    found = []
    for names in (all_names, sorted(all_names)):
        if set(classes) <= set(names):
            rows = tuple(names.index(name) for name in classes)
            if count > len(classes) or rows != tuple(range(count)):
                found.append(Order(rows, Origin.NUMBERS))
    return found


def match_rows(logits: Tensor, labels: Tensor, num_classes: int, expected: Sequence[Order]) -> Match | None:
    """Choose the order of rows that fits labelled images best.

    The first of the `expected` orders stands unless another is far better. Where the predictions suggest an order of
    their own, two thirds of the images find it and the others check it, three times over: with a thousand classes and
    a few images each, some order always fits those that it was made of.

    Args:
        logits: What the classifier gives for the images, (n, rows).
        labels: Their classes (n,), below `num_classes`.
        num_classes: Of the data; no more than there are rows.
        expected: Orders to try, the likeliest first.

    Returns:
        None where no order was expected and the predictions suggest none.
    """
    best: Match | None = None
    for order in expected:
        right = _is_right(logits, labels, order.rows)
        if best is None:
            best = Match(order, right, right)
        elif is_far_better(right, best.right):
            best = Match(order, right, best.first_right)
    predicted, prior = logits.argmax(1), best.order.rows if best else None
    right = _cross_checked(logits, predicted, labels, num_classes, prior)
    rows = assign_rows(predicted, labels, num_classes, logits.shape[1], prior)
    if best is None:
        return Match(Order(rows, Origin.PREDICTIONS), right, None)
    if rows != best.order.rows and is_far_better(right, best.right):
        return Match(Order(rows, Origin.PREDICTIONS), right, best.first_right)
    return best


def assign_rows(
    predicted: Tensor, labels: Tensor, num_classes: int, count: int, prior: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Give each class the row that is predicted for it, no row twice, so that the mean recall is highest.

    Recall, not the number of images: a frequent class that is often taken for a rare one is no reason to swap them.
    Of orders that fit as well, the one nearest to `prior` is taken.
    """
    confusion = torch.bincount(labels * count + predicted, minlength=num_classes * count).view(num_classes, count)
    recall = confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    if prior is not None:
        # Less in all than one image of the largest class.
        recall[range(num_classes), list(prior)] += 0.5 / (num_classes * max(len(labels), 1))
    _, rows = linear_sum_assignment(recall.numpy(), maximize=True)
    return tuple(rows.tolist())


def folds(labels: Tensor) -> Tensor:
    """Number the images of each class 0, 1, 2, 0, 1, 2 ... in the order in which they come."""
    fold = torch.empty_like(labels)
    for of_class in _by_class(labels):
        fold[of_class] = torch.arange(len(of_class)) % _FOLDS
    return fold


def _cross_checked(
    logits: Tensor, predicted: Tensor, labels: Tensor, num_classes: int, prior: tuple[int, ...] | None
) -> Tensor:
    """Tell which images are right in the order that the others suggest."""
    right, fold = torch.zeros(len(labels), dtype=torch.bool), folds(labels)
    for number in range(_FOLDS):
        checked = fold == number
        rows = assign_rows(predicted[~checked], labels[~checked], num_classes, logits.shape[1], prior)
        right[checked] = _is_right(logits[checked], labels[checked], rows)
    return right


def _is_right(logits: Tensor, labels: Tensor, rows: Sequence[int]) -> Tensor:
    return logits[:, list(rows)].argmax(1) == labels


def is_far_better(right: Tensor, other: Tensor) -> bool:
    """Tell whether one way to classify beats another on the same images beyond chance: an exact sign test.

    Only images that one of them gets right and the other wrong count. If neither were better, each would be as often
    on the right side as on the wrong one.
    """
    wins, losses = int((right & ~other).sum()), int((other & ~right).sum())
    return wins > losses and bool(bdtrc(wins - 1, wins + losses, 0.5) < _SIGNIFICANT)


def is_chance(right: Tensor, labels: Tensor, num_classes: int) -> bool:
    """Tell whether a classifier looks like guessing.

    Its accuracy is not above that of the most frequent class (one-sided, 5%), and surely (97.5%) nearer to it than to
    perfection: a few images that are mostly right are no ground to doubt it.
    """
    n, count = len(right), int(right.sum())
    frequent = float(labels.bincount(minlength=num_classes).max()) / n
    above = count > 0 and bool(bdtrc(count - 1, n, frequent) < 0.05)
    return not above and bool(bdtr(count, n, (1 + frequent) / 2) < 0.025)


def sample_rows(labels: Tensor, most: int) -> Tensor:
    """Choose about `most` images, as many of each class as it has up to a number, spread evenly over the class."""
    by_class = _by_class(labels)
    each = max(_FOLDS, most // len(by_class))
    chosen = []
    for of_class in by_class:
        places = np.unique(np.linspace(0, len(of_class) - 1, min(each, len(of_class))).round().astype(np.int64))
        chosen.append(of_class[torch.from_numpy(places)])
    return torch.cat(chosen).sort().values


def _by_class(labels: Tensor) -> list[Tensor]:
    """List the images of each class that has any."""
    counts: list[int] = labels.bincount().tolist()
    return [rows for rows in torch.split(labels.argsort(stable=True), counts) if len(rows)]


def share(right: Tensor) -> float:
    """Give the share of True."""
    return float(right.double().mean())
