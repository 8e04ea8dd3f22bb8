"""The words of help pages, written by hand so that they import nothing, name every entry of the registries."""

import re

import pytest
import typer.main

from ulcli.app import app
from ulcli.data.shifts import KINDS
from ulcli.data.sources.registry import SOURCES as IMAGES
from ulcli.network.sources.registry import SOURCES as NETWORKS


def help_of(command, *names):
    parameters = typer.main.get_command(app).commands[command].params
    return " ".join(parameter.help or "" for parameter in parameters if parameter.name in names).lower()


@pytest.mark.parametrize("source", IMAGES, ids=lambda source: type(source).__name__)
def test_every_kind_of_data(source):
    words = [word.lower() for word in (*source.spellings, *re.findall(r"\w{3,}", source.noun))]
    text = help_of("train", "data") if source.has_labels else help_of("evaluate", "ood")
    assert any(word in text for word in words), text


@pytest.mark.parametrize("source", NETWORKS, ids=lambda source: source.__name__)
def test_every_kind_of_network(source):
    assert source.example.partition("/")[0].lower() in help_of("train", "checkpoint", "arch")


@pytest.mark.parametrize("kind", KINDS)
def test_every_shift(kind):
    assert kind in help_of("evaluate", "shift")
