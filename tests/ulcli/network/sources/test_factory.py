"""Networks of the user's own: imported and called with care, and never what is no network."""

import sys

import pytest
from torch import nn

from ulcli.errors import UserError
from ulcli.network.sources.factory import Factory

FACTORY = Factory()


@pytest.mark.parametrize("name", ["fixed", "sized", "Net"])
def test_the_users_own_network_beside_the_working_directory(here, name):
    before = list(sys.path)
    network = FACTORY.build(f"own_networks:{name}")
    assert isinstance(network, nn.Module)
    assert sys.path == before


def test_a_class_count_where_the_factory_takes_one(here):
    assert FACTORY.build("own_networks:sized", 7)[1].out_features == 7
    assert FACTORY.accepts_class_count("own_networks:sized")
    assert not FACTORY.accepts_class_count("own_networks:fixed")
    assert FACTORY.accepts_class_count("own_networks:keywords")


@pytest.mark.parametrize("name", ["short", "long", "sequence"])
def test_a_function_that_says_what_it_gives_need_not_import_torch(here, name):
    assert isinstance(FACTORY.build(f"own_tool:{name}"), nn.Linear)


@pytest.mark.parametrize("name", ["main", "text", "Main"])
def test_what_does_not_look_like_a_network_is_not_called(here, name):
    with pytest.raises(UserError, match=f"'own_tool:{name}' does not look like a network and is not called"):
        FACTORY.build(f"own_tool:{name}")
    assert sys.modules["called"].times == 0


@pytest.mark.parametrize(
    "name",
    ["_pytest.config:main", "torch.utils.collect_env:main", "torch:get_num_threads"],
)
def test_mains_of_installed_tools_are_not_called(name):
    pytest.importorskip(name.partition(":")[0])
    with pytest.raises(UserError, match=r"does not look like a network|is not a function or class that"):
        FACTORY.build(name)


def test_networks_of_installed_libraries():
    assert isinstance(FACTORY.build("torchvision.models.squeezenet:squeezenet1_1"), nn.Module)
    assert isinstance(FACTORY.build("torch.nn.modules.linear:Identity"), nn.Module)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_networks:sised", r"unknown factory in 'own_networks' 'sised'; did you mean 'sized'"),
        ("own_networks:needs", r"'own_networks:needs' must be callable without arguments: .*width"),
        ("own_networks:number", "'own_networks:number' gave a int, expected a torch.nn.Module"),
        ("own_networks:constant", "is not a function or class that 'own_networks' defines"),
        ("own_networks:Imported", "is not a function or class that 'own_networks' defines"),
        ("own_networks:partial", "is not a function or class that 'own_networks' defines"),
        ("own_networks:join", "is not a function or class that 'own_networks' defines"),
        ("own_nothing:net", "cannot import 'own_nothing' for --arch own_nothing:net: .*; run where it lies or set"),
        ("own_needy:net", "No module named 'not_installed_anywhere'; run where it lies or set PYTHONPATH"),
        ("own_broken:net", r"importing 'own_broken' for --arch own_broken:net failed: RuntimeError\('no licence'\)"),
        ("os:abort", "'os:abort' is part of Python, not a network"),
        ("os.path:exists", "is part of Python, not a network"),
        ("subprocess:call", "is part of Python, not a network"),
        (":net", "':net' names no network; expected package.module:factory"),
        (".own_networks:fixed", "'.own_networks:fixed' names no network; expected package.module:factory"),
        ("own_networks:", "'own_networks:' names no network; expected package.module:factory"),
        ("own_networks:boom", r"calling 'own_networks:boom' failed: RuntimeError\('no\\nweights'\)"),
        ("own_networks:type_error", r"calling 'own_networks:type_error' failed: TypeError\(.*has no len"),
        ("own_networks:leave", r"calling 'own_networks:leave' failed: SystemExit\(0\)"),
        ("own_networks:NoNetwork", "'own_networks:NoNetwork' does not look like a network"),
        ("own_exit:net", r"importing 'own_exit' for --arch own_exit:net failed: SystemExit\(0\)"),
    ],
)
def test_factories_that_cannot_serve(here, name, message):
    with pytest.raises(UserError, match=message):
        FACTORY.build(name)


def test_own_networks_have_nothing_published():
    assert FACTORY.published_transform("own:net") is None
    with pytest.raises(UserError, match="'own:net' has no published weights; give a checkpoint"):
        FACTORY.published_network("own:net")
