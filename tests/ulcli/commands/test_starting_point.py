"""What a training starts from."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ulcli.commands.settings import TrainSettings
from ulcli.commands.starting_point import StartingPoint
from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.model.file import Model
from ulcli.model.sample import digits_cnn
from ulcli.network.checkpoint import sample_checkpoint
from ulcli.reporting import Silent

DIGITS_CNN = "ulcli.model.sample:digits_cnn"


@pytest.fixture
def images():
    return labelled_set(DataName("digits"), "val", Places())


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "cnn.pt"
    torch.save(digits_cnn().state_dict(), path)
    return path


def read(**settings):
    return StartingPoint.read(TrainSettings(**settings), Silent())


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_without_anything_it_is_the_sample_classifier(images):
    start = read()
    content = torch.load(sample_checkpoint(), weights_only=True)
    assert start.arch == DIGITS_CNN
    assert any(same_weights(start.state, part) for part in (content, *content.values()) if isinstance(part, dict))
    assert start.model is start.classes is start.baseline is None
    opened = start.open(images, Silent())
    backbone, transform = opened.backbone, opened.transform
    assert same_weights(backbone.network.state_dict(), start.state)
    assert transform == Transform(8, 8, (0.0,), (1.0,), grayscale=True)
    assert backbone.own_classifier().num_classes == 10


def test_an_architecture_alone_has_published_weights():
    start = read(arch="resnet18", image_size=64)
    assert (start.arch, start.state, start.model) == ("resnet18", None, None)
    assert start.preprocessing.image_size == 64


def test_a_checkpoint_and_what_is_said_of_its_images(checkpoint, images):
    said = {"image_size": 12, "mean": "0.25", "std": "0.5", "grayscale": True}
    start = read(checkpoint=checkpoint, arch=DIGITS_CNN, **said)
    assert same_weights(start.state, torch.load(checkpoint, weights_only=True))
    opened = start.open(images, Silent())
    backbone, transform = opened.backbone, opened.transform
    assert transform == Transform(12, 12, (0.25,), (0.5,), grayscale=True)
    assert backbone.arch == DIGITS_CNN
    assert backbone.num_classes is None
    assert same_weights(backbone.network.state_dict(), start.state)
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())


def test_what_is_said_of_the_architecture_goes_before_what_the_checkpoint_says(tmp_path, images):
    path = tmp_path / "named.pt"
    content = torch.load(sample_checkpoint(), weights_only=True)
    assert content["arch"] == DIGITS_CNN
    torch.save({**content, "arch": "resnet18"}, path)
    assert read(checkpoint=path, data="digits").arch == "resnet18"
    assert read(checkpoint=path, arch=DIGITS_CNN, data="digits").arch == DIGITS_CNN


def test_a_checkpoint_that_does_not_say_what_it_is_of(checkpoint):
    with pytest.raises(UserError) as told:
        read(checkpoint=checkpoint)
    assert str(told.value) == (
        f"'{checkpoint}' does not say which network it is of, and its keys are of no torchvision network; name it with "
        "--arch, for example resnet18 or package.module:factory"
    )


def test_as_many_classes_as_the_weights_have(tmp_path, monkeypatch, images):
    (tmp_path / "sized_network.py").write_text(
        "from torch import nn\n"
        "def net(num_classes=10):\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 7))
    torch.save(layers.state_dict(), tmp_path / "net.pt")
    backbone = read(checkpoint=tmp_path / "net.pt", arch="sized_network:net").open(images, Silent()).backbone
    assert backbone.num_classes == 7
    assert backbone.own_classifier().num_classes == 7


class TestModel:
    def test_it_knows_its_network_its_classes_and_its_classifier(self, digits_model, images, tmp_path):
        model = Model.load(digits_model)
        odd = replace(model.transform, mean=(0.125,))
        changed = replace(model, classes=tuple("jihgfedcba"), transform=odd)
        changed.save(tmp_path / "m.pt")
        start = read(checkpoint=tmp_path / "m.pt")
        assert (start.arch, start.classes) == (DIGITS_CNN, tuple("jihgfedcba"))
        assert torch.equal(start.baseline.weight, model.predictor.baseline.weight)
        opened = start.open(images, Silent())
        backbone, transform = opened.backbone, opened.transform
        assert transform == odd
        assert backbone.taps == model.backbone.taps
        assert same_weights(backbone.network.state_dict(), model.backbone.state)

    @pytest.mark.parametrize(
        "said",
        [
            {"arch": DIGITS_CNN},
            {"image_size": 8},
            {"mean": "0"},
            {"std": "1"},
            {"grayscale": True},
            {"grayscale": False},
            {"arch_arg": ("depth=2",)},
            {"weights": "DEFAULT"},
            {"weights_key": "model_ema"},
            {"head": "fc"},
            {"squash": True},
            {"antialias": False},
            {"interpolation": "bicubic"},
        ],
    )
    def test_nothing_can_be_said_of_it(self, digits_model, said):
        with pytest.raises(UserError) as told:
            read(checkpoint=digits_model, **said)
        assert str(told.value) == (
            f"'{digits_model}' is a model of this tool and knows its network, classes and preprocessing; leave out "
            "--arch, --arch-arg, --weights, --weights-key, --head, --classes and what tells the preprocessing "
            "(--image-size, --mean, --grayscale ...), or give the checkpoint that it was made of"
        )
