"""The shapes of results: what a format writes, and what a result can be written as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any


class Shape(Enum):
    """What a format writes, and what a result can be written as."""

    TABLE = "a table"
    ROWS = "rows"
    DOCUMENT = "a document"


# How to get a result in each of its shapes: on demand, for rows may come only once.
View = Mapping[Shape, Callable[[], Any]]
