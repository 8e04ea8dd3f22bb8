"""Modules of a user's own, with networks and other things in them."""

import sys

import pytest

FACTORIES = """
import functools
from collections import OrderedDict as Imported
from torch import nn

def fixed():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))

def sized(num_classes=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))

class Net(nn.Linear):
    def __init__(self):
        super().__init__(12, 3)

def needs(width):
    return nn.Linear(width, 3)

def number():
    return 3

def required(*, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))

def keywords(**options):
    return sized(**options)

def boom():
    raise RuntimeError("no\\nweights")

def type_error():
    return len(3)

class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")

def mute():
    raise Mute

def wide(num_classes=3, width=12):
    return nn.Linear(width, num_classes)

def leave():
    raise SystemExit(0)

class NoNetwork:
    pass

partial = functools.partial(needs, 12)
join = "".join
constant = 3
"""


TOOL = """
from __future__ import annotations
from typing import TYPE_CHECKING
import called
if TYPE_CHECKING:
    import torch
    from torch import nn

def main():
    called.times += 1

def text() -> str:
    called.times += 1

class Main:
    def __init__(self):
        called.times += 1

def short() -> nn.Module:
    return make()

def long() -> torch.nn.Module:
    return make()

def sequence() -> nn.Sequential:
    return make()

def make():
    import torch
    return torch.nn.Linear(12, 3)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the user's own module in it, which nothing has imported yet."""
    (tmp_path / "own_networks.py").write_text(FACTORIES)
    (tmp_path / "own_broken.py").write_text("raise RuntimeError('no licence')\n")
    (tmp_path / "own_exit.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "own_tool.py").write_text(TOOL)
    (tmp_path / "called.py").write_text("times = 0\n")
    (tmp_path / "own_needy.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    yield tmp_path
    for name in ("own_networks", "own_broken", "own_needy", "own_exit", "own_tool", "called"):
        sys.modules.pop(name, None)
