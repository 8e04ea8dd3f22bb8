"""torchvision's classifiers: names, published weights and their preprocessing."""

import re
from functools import partial

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from ulcli.errors import UserError
from ulcli.network.loading.blank import build_blank
from ulcli.network.sources.torchvision import Torchvision

TORCHVISION = Torchvision(trusted=False)
NAMES = models.list_models(module=models)


@pytest.mark.parametrize("name", ["resnet19", "ResNet18", "fcn_resnet50", "r3d_18", "quantized_resnet18"])
def test_unknown_architectures_name_the_nearest_and_the_way_out(name):
    with pytest.raises(UserError, match=rf"unknown architecture '{name}'.* \(your own network is --arch package"):
        TORCHVISION.build(name)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "squeezenet1_1"])
def test_networks_are_built_without_a_warning(name):
    assert isinstance(TORCHVISION.build(name, 3), nn.Module)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_transform_of_every_architecture(name, picture):
    preset = models.get_model_weights(name).DEFAULT.transforms()
    assert isinstance(preset, ImageClassification)
    transform, image = TORCHVISION.published_transform(name), picture(40, 30)
    assert torch.equal(transform(image), preset(image))


def test_published_weights_from_torch_hubs_folder(tmp_path, monkeypatch):
    # The file that a download would leave there; the right content would be checked by its name on downloading only.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    network = models.squeezenet1_1()
    torch.save(network.state_dict(), folder / models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2])
    got = TORCHVISION.published_network("squeezenet1_1").network.state_dict()
    assert all(torch.equal(value, got[key]) for key, value in network.state_dict().items())


def test_published_weights_that_cannot_be_had(tmp_path, monkeypatch):
    (tmp_path / "hub").write_text("in the way")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        UserError, match=r"could not download the published weights of 'squeezenet1_1': .*; give a check"
    ):
        TORCHVISION.published_network("squeezenet1_1")


def shown(network):
    """Every layer with its settings; a head that was taken away and one that never was are the same."""
    return re.sub(r"\n *\(\w+\): None", "", repr(network))


def plain_attributes(network):
    """What each module of a network is set to, besides its weights."""
    return {
        (name, key): value
        for name, module in network.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, bool | int | float | str)
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_network_with_published_weights_is_built_the_same_again(name, monkeypatch):
    # Structure and settings alone, without the weights.
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    entries = models.get_model_weights(name)
    # Only those of vision transformers change how the network is built, one from the other.
    for entry in entries if name.startswith("vit_") else [entries.DEFAULT]:
        monkeypatch.setattr(type(entry), "get_state_dict", lambda *_, **__: {})
        built = []
        publish = partial(TORCHVISION.published_network, name, entry.name)
        build_blank(lambda publish=publish, to=built: to.append(publish()), may_draw=True)
        network, num_classes, options = built[0][:3]
        again = build_blank(partial(TORCHVISION.build, name, num_classes, options), may_draw=True)
        assert shown(again) == shown(network)
        assert plain_attributes(again) == plain_attributes(network)
        assert [(key, value.shape) for key, value in again.state_dict().items()] == [
            (key, value.shape) for key, value in network.state_dict().items()
        ]


@pytest.mark.parametrize("entry", ["IMAGENET1K_V1", "IMAGENET1K_V2", "DEFAULT"])
def test_the_transform_of_named_weights(entry, picture):
    preset, image = models.ResNet50_Weights[entry].transforms(), picture(300, 400)
    assert torch.equal(TORCHVISION.published_transform("resnet50", entry)(image), preset(image))


def test_unknown_names_of_weights():
    with pytest.raises(UserError, match="unknown weights of resnet50 'IMAGENET1K_V3'; known: DEFAULT, IMAGENET1K_V1"):
        TORCHVISION.published_transform("resnet50", "IMAGENET1K_V3")


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(("name", "first"), [("googlenet", "aux1."), ("inception_v3", "AuxLogits.")])
def test_a_state_dict_shows_its_auxiliary_heads(name, first, prefix):
    with torch.device("meta"):
        state = TORCHVISION.build(name).state_dict()
    with_heads = {prefix + key: value for key, value in state.items()}
    without = {key: value for key, value in with_heads.items() if "aux" not in key.lower()}
    assert any(key.startswith(prefix + first) for key in with_heads)
    for given, expected in ((with_heads, True), (without, False)):
        options, notes = TORCHVISION.options_for(name, given, {})
        assert options == {"aux_logits": expected, "transform_input": True}
        assert f"these weights of {name} are taken to expect" in notes[0]
    options, notes = TORCHVISION.options_for(name, state, {"transform_input": False})
    assert (options["transform_input"], notes) == (False, ())


@pytest.mark.parametrize("size", [224, 384, 512])
def test_a_state_dict_shows_the_size_of_a_vision_transformer(size):
    with torch.device("meta"):
        state = models.vit_b_16(image_size=size).state_dict()
    assert TORCHVISION.options_for("vit_b_16", state, {}) == ({"image_size": size}, ())
    transform = TORCHVISION.published_transform("vit_b_16", options={"image_size": size})
    assert transform.crop == size
    published = {224: "IMAGENET1K_V1", 384: "IMAGENET1K_SWAG_E2E_V1"}
    if size in published:
        assert transform == TORCHVISION.published_transform("vit_b_16", published[size])


def test_other_networks_need_no_options():
    assert TORCHVISION.options_for("resnet18", models.squeezenet1_1().state_dict(), {}) == ({}, ())
    assert TORCHVISION.options_for("vit_b_16", {}, {}) == ({}, ())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"depth": 3}, r"'resnet18' cannot be built with depth=3: .*depth"),
        ("vit_b_16", {"image_size": 225}, r"'vit_b_16' cannot be built with image_size=225: Input shape indivisible"),
        ("resnet18", {"pretrained": True}, r"'resnet18' cannot be built with pretrained=True"),
    ],
)
def test_options_that_make_no_sense(name, options, message):
    with pytest.raises(UserError, match=message):
        TORCHVISION.build(name, options=options)


def test_options_cannot_ask_for_a_download(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert isinstance(TORCHVISION.build("squeezenet1_1", options={"weights": "DEFAULT"}), nn.Module)
    assert not list(tmp_path.iterdir())
