"""A network with the weights of a state dict."""

import pytest
import torch
from torch import nn
from torchvision import models

from ulcli.errors import UserError
from ulcli.network.loading.build import build_network, network_for, rebuilt_network
from ulcli.network.loading.load import load_network


def test_a_state_dict_with_its_own_class_count():
    state = models.squeezenet1_1(num_classes=5).state_dict()
    network, num_classes, options, notes = network_for("squeezenet1_1", state)[:4]
    assert (options, notes) == ({}, ())
    assert num_classes == 5
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert network_for("squeezenet1_1", models.squeezenet1_1().state_dict()).num_classes is None


def test_an_own_network_with_its_own_class_count(here):
    state = build_network("own_networks:sized", 7, trusted=True).state_dict()
    for name in ("sized", "required", "keywords"):
        network, num_classes, *_ = network_for(f"own_networks:{name}", state, trusted=True)
        assert (network[1].out_features, num_classes) == (7, 7)
    two = build_network("own_networks:sized", 2, trusted=True).state_dict()
    assert network_for("own_networks:required", two, trusted=True).num_classes == 2
    with pytest.raises(UserError, match=r"2 of another shape \(first: '1.weight' is \(7, 12\), expected \(3, 12\)\)"):
        network_for("own_networks:fixed", state, trusted=True)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_networks_with_auxiliary_heads_read_their_input_as_published(name, auxiliary):
    torch.manual_seed(0)
    settings = {"num_classes": 7, "aux_logits": auxiliary, "init_weights": False}
    trained = models.get_model(name, weights=None, transform_input=True, **settings).eval()
    built = network_for(name, trained.state_dict())
    assert (built.num_classes, len(built.notes)) == (7, 1)
    again = rebuilt_network(name, built.network.state_dict(), built.num_classes, built.options).eval()
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(built.network.eval()(images), trained(images))
        assert torch.equal(again(images), trained(images))
        plain = network_for(name, trained.state_dict(), {"transform_input": False})
        assert plain.notes == ()
        assert not torch.equal(plain.network.eval()(images), trained(images))


def test_weights_that_a_users_own_network_cannot_take(here):
    with pytest.raises(UserError, match=r"loading the weights into 'own' failed: ZeroDivisionError: no"):
        load_network(lambda _: Refusing(1, 1), nn.Linear(1, 1).state_dict(), "own")


class Refusing(nn.Linear):
    """A layer that takes no weights."""

    def _load_from_state_dict(self, *_):
        raise ZeroDivisionError("no")


@pytest.mark.parametrize(
    ("arch", "num_classes", "options"),
    [
        ("squeezenet1_1", 3, {}),
        ("mnasnet0_5", None, {}),
        ("googlenet", 4, {"aux_logits": False, "transform_input": True}),
        ("torchvision.models.squeezenet:squeezenet1_1", 5, {"dropout": 0.1}),
        ("own_networks:wide", 4, {"width": 48}),
    ],
)
def test_rebuilt_is_the_same_network(here, arch, num_classes, options):
    torch.manual_seed(0)
    first = build_network(arch, num_classes, options, trusted=True).eval()
    state = {key: value.clone() for key, value in first.state_dict().items()}
    again = rebuilt_network(arch, state, num_classes, options, trusted=True).eval()
    images = torch.randn(2, 48) if arch.startswith("own") else torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again(images), first(images))
    del state[next(iter(state))]
    with pytest.raises(UserError, match=f"the checkpoint does not fit '{arch}': of its keys 1 missing"):
        rebuilt_network(arch, state, num_classes, options, trusted=True)
