"""Networks by name: torchvision's, and the user's own."""

import sys

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from ulcli.errors import UserError
from ulcli.network.arch import (
    accepts_class_count,
    build_network,
    load_weights,
    network_for,
    published_network,
    published_transform,
)

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


@pytest.mark.parametrize("name", ["fixed", "sized", "Net"])
def test_the_users_own_network_beside_the_working_directory(here, name):
    before = list(sys.path)
    network = build_network(f"own_networks:{name}")
    assert isinstance(network, nn.Module)
    assert sys.path == before


def test_a_class_count_where_the_factory_takes_one(here):
    assert build_network("own_networks:sized", 7)[1].out_features == 7
    assert accepts_class_count("own_networks:sized")
    assert not accepts_class_count("own_networks:fixed")
    assert accepts_class_count("own_networks:keywords")
    assert accepts_class_count("resnet18")


@pytest.mark.parametrize("name", ["short", "long", "sequence"])
def test_a_function_that_says_what_it_gives_need_not_import_torch(here, name):
    assert isinstance(build_network(f"own_tool:{name}"), nn.Linear)


@pytest.mark.parametrize("name", ["main", "text", "Main"])
def test_what_does_not_look_like_a_network_is_not_called(here, name):
    with pytest.raises(UserError, match=f"'own_tool:{name}' does not look like a network and is not called"):
        build_network(f"own_tool:{name}")
    assert sys.modules["called"].times == 0


@pytest.mark.parametrize(
    "name",
    ["_pytest.config:main", "torch.utils.collect_env:main", "torch:get_num_threads"],
)
def test_mains_of_installed_tools_are_not_called(name):
    pytest.importorskip(name.partition(":")[0])
    with pytest.raises(UserError, match=r"does not look like a network|is not a function or class that"):
        build_network(name)


def test_networks_of_installed_libraries():
    assert isinstance(build_network("torchvision.models.squeezenet:squeezenet1_1"), nn.Module)
    assert isinstance(build_network("torch.nn.modules.linear:Identity"), nn.Module)


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
        build_network(name)


@pytest.mark.parametrize("name", ["resnet19", "ResNet18", "fcn_resnet50", "r3d_18", "quantized_resnet18"])
def test_unknown_architectures_name_the_nearest_and_the_way_out(name):
    with pytest.raises(UserError, match=rf"unknown architecture '{name}'.* \(your own network is --arch package"):
        build_network(name)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "squeezenet1_1"])
def test_networks_are_built_without_a_warning(name):
    assert isinstance(build_network(name, 3), nn.Module)


def test_a_state_dict_with_its_own_class_count():
    state = models.squeezenet1_1(num_classes=5).state_dict()
    network, num_classes = network_for("squeezenet1_1", state)
    assert num_classes == 5
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert network_for("squeezenet1_1", models.squeezenet1_1().state_dict())[1] is None


def test_an_own_network_with_its_own_class_count(here):
    state = build_network("own_networks:sized", 7).state_dict()
    for name in ("sized", "required", "keywords"):
        network, num_classes = network_for(f"own_networks:{name}", state)
        assert (network[1].out_features, num_classes) == (7, 7)
    two = build_network("own_networks:sized", 2).state_dict()
    assert network_for("own_networks:required", two)[1] == 2
    with pytest.raises(UserError, match=r"2 of another shape \(first: '1.weight' is \(7, 12\), expected \(3, 12\)\)"):
        network_for("own_networks:fixed", state)


def test_keys_that_do_not_fit_are_named():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = network.state_dict()
    del state["0.bias"], state["1.running_var"]
    state["2.weight"] = torch.ones(1)
    state["0.weight"] = torch.ones(3, 5)
    message = (
        r"the checkpoint does not fit 'mine': of its keys 2 missing \(first: '0.bias'\), "
        r"1 unexpected \(first: '2.weight'\), 1 of another shape \(first: '0.weight' is \(3, 5\), expected \(3, 2\)\); "
        "check --arch"
    )
    with pytest.raises(UserError, match=message):
        load_weights(network, state, "mine")


def test_batch_norms_from_before_the_counter():
    network = nn.BatchNorm1d(3)
    state = {**network.state_dict(), "running_mean": torch.ones(3)}
    del state["num_batches_tracked"]
    load_weights(network, state, "mine")
    assert torch.equal(network.running_mean, torch.ones(3))


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_the_published_transform_of_every_architecture(name, picture):
    preset = models.get_model_weights(name).DEFAULT.transforms()
    assert isinstance(preset, ImageClassification)
    transform, image = published_transform(name), picture(40, 30)
    assert torch.equal(transform(image), preset(image))


def test_own_networks_have_nothing_published():
    assert published_transform("own:net") is None
    with pytest.raises(UserError, match="'own:net' has no published weights; give a checkpoint"):
        published_network("own:net")


def test_published_weights_from_torch_hubs_folder(tmp_path, monkeypatch):
    # The file that a download would leave there; the right content would be checked by its name on downloading only.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    network = models.squeezenet1_1()
    torch.save(network.state_dict(), folder / models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2])
    got = published_network("squeezenet1_1").state_dict()
    assert all(torch.equal(value, got[key]) for key, value in network.state_dict().items())


def test_published_weights_that_cannot_be_had(tmp_path, monkeypatch):
    (tmp_path / "hub").write_text("in the way")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        UserError, match=r"could not download the published weights of 'squeezenet1_1': .*; give a check"
    ):
        published_network("squeezenet1_1")
