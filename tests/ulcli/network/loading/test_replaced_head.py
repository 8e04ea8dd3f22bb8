"""Replaced classifiers: the rebuilt network gives what the trained one gave, or the line says what is open."""

import re

import pytest
import torch
from forms import Net, net
from torch import nn
from torchvision import models

from ulcli.errors import UserError
from ulcli.network.loading.load import load_network
from ulcli.network.loading.replaced_head import adapt_head


def rebuilt(trained, fresh):
    """Trained and rebuilt network in eval mode, and what was told."""
    loaded = load_network(lambda _: fresh, trained.state_dict(), "net", accepts_class_count=False)
    return trained.eval(), loaded.network.eval(), loaded.notes


def with_fc(head):
    network = net()
    network.fc = head
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
    return network


@pytest.mark.parametrize(
    "head",
    [
        nn.Linear(4, 3, bias=False),
        nn.Sequential(nn.Linear(4, 7)),
        nn.Sequential(nn.Dropout(), nn.Linear(4, 7)),
        nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(4, 7, bias=False)),
        nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 7)),
        nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 7)),
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 7)),
    ],
)
def test_heads_that_their_keys_show_completely(head):
    trained, again, notes = rebuilt(with_fc(head), net(1))
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(trained(images), again(images))
    assert len(notes) == 1
    before = "that nothing but dropout stands before its first layer is an assumption"
    assert (before in notes[0]) == ("assumption" in notes[0]) == str(head).startswith("Sequential(\n  (0): Dropout")


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 7)),
        nn.Sequential(nn.Dropout(), nn.Linear(4, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 7)),
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 7)),
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 7)),
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 7)),
    ],
)
def test_between_linear_layers_relu_is_assumed_and_told(head):
    trained, again, notes = rebuilt(with_fc(head), net(1))
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(trained(images), again(images))
    assert notes[0].endswith("that the activation is ReLU is an assumption, which the keys leave open")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("efficientnet_b0", nn.Sequential(nn.Dropout(), nn.Linear(1280, 5), nn.ReLU(), nn.Linear(5, 3))),
        ("mobilenet_v2", nn.Linear(1280, 3)),
        ("densenet121", nn.Sequential(nn.Dropout(), nn.Linear(1024, 3))),
        # Its own activation is Hardswish, which stays where only the widths are others.
        ("mobilenet_v3_small", nn.Sequential(nn.Linear(576, 9), nn.Hardswish(), nn.Dropout(), nn.Linear(9, 3))),
    ],
)
def test_torchvisions_classifiers_replaced_as_a_whole(name, head):
    trained = models.get_model(name, weights=None)
    trained.classifier = head
    trained, again, _ = rebuilt(trained, models.get_model(name, weights=None))
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(trained(images), again(images))


class Deep(Net):
    """A classifier as VGG has it: the features pass through layers that belong to it."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Dropout(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def test_the_last_layer_of_several_replaced():
    trained = Deep()
    trained.fc[3] = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    trained, again, notes = rebuilt(trained, Deep())
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(trained(images), again(images))
    assert notes[0].startswith("the classifier 'fc.3' is rebuilt as the checkpoint's keys show: Linear(6, 5), ReLU,")


def test_where_only_widths_differ_the_networks_own_activation_stays():
    trained = Deep()
    trained.fc[1], trained.fc[3] = nn.Linear(4, 9), nn.Linear(9, 2)
    trained, again, notes = rebuilt(trained, Deep())
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(trained(images), again(images))
    assert "assumption" not in notes[0]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)), "its keys leave open which layers it has"),
        (nn.Sequential(nn.Linear(4, 5), nn.PReLU(), nn.Linear(5, 3)), "its keys leave open which layers it has"),
        (nn.Sequential(nn.BatchNorm1d(4)), "its keys leave open where its linear layer is"),
        (nn.Sequential(nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)), "leave open where its activations are"),
        (nn.ModuleDict({"a": nn.Linear(4, 3)}), "its keys leave open what it is ('a.weight')"),
        (nn.Sequential(nn.Sequential(nn.Linear(4, 3))), "its keys leave open what it is ('0.0.weight')"),
        (nn.Sequential(nn.Linear(6, 3)), "reads 6 features, but 'net' gives 4; check --arch"),
        (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(6, 3)), "its layers do not fit each other"),
    ],
)
def test_what_the_keys_leave_open(head, message):
    with pytest.raises(UserError, match=re.escape(message)):
        rebuilt(with_fc(head), net(1))


@pytest.mark.parametrize("classes", [3, 10])
def test_the_networks_own_head_stays(classes):
    fresh = net(1)
    assert adapt_head(fresh, Net(classes).state_dict(), "net") == ()
    assert isinstance(fresh.fc, nn.Linear)
    assert adapt_head(Deep(), Deep().state_dict(), "net") == ()


def test_a_position_from_a_hostile_file_is_bounded():
    state = {key: value for key, value in net().state_dict().items() if not key.startswith("fc")}
    state["fc.999999999.weight"] = torch.ones(3, 4)
    with pytest.raises(UserError, match="leave open what it is"):
        adapt_head(net(), state, "net")
