"""A network with the weights of a checkpoint, for as many classes as it has."""

import pytest
import torch
from forms import STATE, TWO_LAYERS, Net, net, prefixed, with_head
from torch import nn

from ulcli.network.loading.keys import MisfitError
from ulcli.network.loading.load import load_network


def build(num_classes):
    return net(1) if num_classes is None else Net(num_classes)


def test_the_class_count_is_that_of_the_weights_under_any_prefix():
    state = {**prefixed("model.", Net(10).state_dict()), "criterion.weight": torch.ones(10)}
    loaded = load_network(build, state, "net")
    assert loaded.num_classes == 10
    assert loaded.network.fc.out_features == 10
    assert torch.equal(loaded.network.fc.weight, state["model.fc.weight"])
    assert len(loaded.notes) == 1
    assert load_network(build, STATE, "net").num_classes is None
    with pytest.raises(
        MisfitError, match=r"2 of another shape \(first: 'fc\.weight' is \(10, 4\), expected \(3, 4\)\)"
    ):
        load_network(build, state, "net", accepts_class_count=False)


def test_a_backbone_alone_says_that_its_classifier_is_not_its_own():
    loaded = load_network(build, {key: value for key, value in STATE.items() if "fc" not in key}, "net")
    assert not loaded.has_classifier
    assert torch.equal(loaded.network.conv1.weight, STATE["conv1.weight"])


def test_what_was_loaded_is_loaded_again_from_its_own_state():
    """As a model file does it: the rebuilt network has the same classifier, replaced or not."""
    first = load_network(build, prefixed("model.", with_head(TWO_LAYERS)), "net").network.eval()
    again = load_network(lambda _: net(2), first.state_dict(), "net")
    assert again.has_classifier
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(first(images), again.network.eval()(images))
    assert isinstance(again.network.fc, nn.Sequential)
