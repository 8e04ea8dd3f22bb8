"""Every source of images; a new one needs its file and a line here."""

from __future__ import annotations

from ulcli.data.sources.builtin import Digits, Strange
from ulcli.data.sources.folders import Folders
from ulcli.data.sources.lists import Lists
from ulcli.data.sources.source import Source
from ulcli.data.sources.torchvision import Torchvision

# The first that recognises a word opens it, so names come before paths.
SOURCES: tuple[Source, ...] = (Digits(), Torchvision(), Strange(), Folders(), Lists())
