"""Choices of the command line that a model remembers. Without torch, so that help pages stay quick."""

from __future__ import annotations

from enum import Enum


class EvidenceFrom(str, Enum):
    """Where the amount of evidence comes from."""

    DENSITY = "density"
    HEAD = "head"


class SetMethod(str, Enum):
    """How classes join a prediction set."""

    LAC = "lac"
    APS = "aps"
