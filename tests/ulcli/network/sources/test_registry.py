"""Which source an ARCH is meant for."""

from pathlib import Path

import pytest

from ulcli.network.sources.factory import Factory
from ulcli.network.sources.registry import SOURCES, source_of
from ulcli.network.sources.timm import Timm
from ulcli.network.sources.torchvision import Torchvision
from ulcli.network.sources.transformers import Transformers

COMMANDS = Path(__file__).parents[4] / "docs" / "commands.md"


@pytest.mark.parametrize(
    ("arch", "kind"),
    [
        ("resnet18", Torchvision),
        ("no_such_network", Torchvision),
        ("package.module:factory", Factory),
        (":", Factory),
        ("timm/resnet18.a1_in1k", Timm),
        ("transformers/vit", Transformers),
    ],
)
def test_the_form_of_an_arch_tells_its_source(arch, kind):
    assert isinstance(source_of(arch), kind)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_takes_its_own_example_and_is_documented(source):
    assert type(source_of(source.example)) is source
    assert source.description
    assert f"`{source.example}`" in COMMANDS.read_text()


def test_nobody_is_trusted_without_a_word():
    assert not source_of("package.module:factory").trusted
    assert source_of("package.module:factory", trusted=True).trusted
