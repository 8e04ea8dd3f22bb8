"""A network with the weights of a state dict."""

import pytest
import torch
from torch import nn
from torchvision import models

from ulcli.errors import UserError
from ulcli.network.build import build_network, load_weights, network_for


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
