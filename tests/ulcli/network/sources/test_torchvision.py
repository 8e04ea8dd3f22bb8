"""torchvision's classifiers: names, published weights and their preprocessing."""

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from ulcli.errors import UserError
from ulcli.network.sources.torchvision import Torchvision

TORCHVISION = Torchvision()


@pytest.mark.parametrize("name", ["resnet19", "ResNet18", "fcn_resnet50", "r3d_18", "quantized_resnet18"])
def test_unknown_architectures_name_the_nearest_and_the_way_out(name):
    with pytest.raises(UserError, match=rf"unknown architecture '{name}'.* \(your own network is --arch package"):
        TORCHVISION.build(name)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "squeezenet1_1"])
def test_networks_are_built_without_a_warning(name):
    assert isinstance(TORCHVISION.build(name, 3), nn.Module)


@pytest.mark.parametrize("name", models.list_models(module=models))
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
    got = TORCHVISION.published_network("squeezenet1_1").state_dict()
    assert all(torch.equal(value, got[key]) for key, value in network.state_dict().items())


def test_published_weights_that_cannot_be_had(tmp_path, monkeypatch):
    (tmp_path / "hub").write_text("in the way")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        UserError, match=r"could not download the published weights of 'squeezenet1_1': .*; give a check"
    ):
        TORCHVISION.published_network("squeezenet1_1")
