"""Fitting a state dict to a network: never fewer weights than it needs, and nothing left out without a word."""

import pytest
import torch
from forms import OTHER, STATE, Net, light, net, on_meta, prefixed
from torch import nn

from ulcli.network.loading.keys import MisfitError, aligned, classifier_name, fitted_state


def fitted(state, network=None):
    return fitted_state(state, network or net(2), "net")


def same(state):
    return state.keys() == STATE.keys() and all(torch.equal(state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("prefix", ["", "model.", "net.encoder.", "a.b.c.d."])
def test_any_prefix(prefix):
    found = fitted(prefixed(prefix))
    assert same(found.state)
    assert found.has_classifier
    assert found.notes == ()


def test_a_network_around_what_the_weights_are_of():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Net()

    assert fitted(STATE, Around()).state.keys() == prefixed("inner.").keys()


def test_data_parallel_amid_the_keys():
    """The ImageNet example of PyTorch wraps AlexNet's and VGG's features alone."""
    state = {key.replace("features.", "features.module."): value for key, value in light("alexnet").items()}
    network = on_meta("alexnet")
    assert fitted(state, network).state.keys() == network.state_dict().keys()


def test_what_lies_beside_the_network_is_left_out_and_told():
    state = {
        **prefixed("model."),
        "criterion.weight": torch.ones(3),
        "head.weight": torch.ones(3, 3),
        "t": torch.ones(1),
    }
    found = fitted(state)
    assert same(found.state)
    assert found.notes == (
        "3 of the checkpoint's 11 tensors are not of the network and are left out ('criterion': 1, 'head': 1, 't': 1)",
    )


def test_losses_beside_the_layers_are_left_out_and_told():
    found = fitted({**STATE, "criterion.weight": torch.ones(3), "train_acc.total": torch.ones(1)})
    assert same(found.state)
    assert len(found.notes) == 1


@pytest.mark.parametrize("key", ["layer1.weight", "mean", "conv1.bias", "fc2.weight", "normalize.mean"])
def test_a_layer_that_the_network_lacks_is_an_error(key):
    with pytest.raises(MisfitError, match=rf"of its keys 1 unexpected \(first: '{key}'\); check --arch"):
        fitted({**STATE, key: torch.ones(3)})


def test_a_larger_network_of_the_family_is_not_taken_for_a_smaller_one():
    with pytest.raises(MisfitError, match=r"of its keys 80 unexpected \(first: 'layer1\.2\.conv1\.weight'\)"):
        fitted(light("resnet34"), on_meta("resnet18"))
    with pytest.raises(MisfitError, match=r"of its keys 80 missing"):
        fitted(light("resnet18"), on_meta("resnet34"))


@pytest.mark.parametrize("key", ["fc.weight", "bn1.running_var", "conv1.weight"])
def test_a_missing_weight_is_an_error(key):
    state = {name: value for name, value in STATE.items() if name != key}
    with pytest.raises(MisfitError, match=rf"of its keys 1 missing \(first: '{key}'\); check --arch"):
        fitted(state)


def test_counters_of_old_batch_norms_may_be_missing_or_too_many():
    without = {key: value for key, value in STATE.items() if "num_batches" not in key}
    assert fitted(without).state.keys() == without.keys()
    assert fitted(without).notes == ()
    network = nn.Sequential(nn.Linear(2, 2))
    assert fitted({**network.state_dict(), "0.num_batches_tracked": torch.ones(1)}, network).notes == ()


def test_a_classifier_may_be_missing_as_a_whole_under_a_usual_name_alone():
    backbone = {key: value for key, value in STATE.items() if not key.startswith("fc")}
    found = fitted(backbone)
    assert not found.has_classifier
    assert found.notes == ("the checkpoint has no classifier ('fc'): a new one is fitted",)
    unnamed = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    with pytest.raises(MisfitError, match=r"2 missing \(first: '1\.weight'\)"):
        fitted({"0.weight": torch.ones(3, 2), "0.bias": torch.ones(3)}, unnamed)


def test_more_than_the_classifier_may_not_be_missing():
    """A VGG without its `classifier` lacks two layers of its features, too."""
    state = {key: value for key, value in light("vgg11").items() if not key.startswith("classifier")}
    with pytest.raises(MisfitError, match=r"6 missing \(first: 'classifier\.0\.weight'\)"):
        fitted(state, on_meta("vgg11"))


def test_auxiliary_heads_may_be_missing_only_where_they_are_known_to_be_idle():
    class Own(Net):
        def __init__(self):
            super().__init__()
            self.aux1 = nn.Linear(4, 3)

    with pytest.raises(MisfitError, match=r"2 missing \(first: 'aux1\.weight'\)"):
        fitted(STATE, Own())


def test_of_two_networks_in_one_state_dict_the_one_that_fits():
    teacher = {key: torch.ones(2, *value.shape) for key, value in STATE.items()}
    assert same(fitted({**prefixed("teacher.", teacher), **prefixed("student.")}).state)


def test_of_two_networks_of_one_kind_the_average_or_none():
    found = fitted({**prefixed("net.", OTHER), **prefixed("net_ema.")})
    assert same(found.state)
    assert found.notes[0] == "using EMA weights ('net_ema'); --weights-key net for the raw ones"
    with pytest.raises(MisfitError, match=r"several such networks \('a', 'b'\); choose one with --weights-key"):
        fitted({**prefixed("a.", OTHER), **prefixed("b.")})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_another_precision_are_converted_and_told(dtype):
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in STATE.items()}
    found = fitted(state)
    assert {value.dtype for value in found.state.values()} == {torch.float32, torch.int64}
    assert found.notes == (f"the weights are {str(dtype)[6:]}; the network computes with them in float32",)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.bool])
def test_what_is_no_float_is_not_converted(dtype):
    with pytest.raises(
        MisfitError, match=rf"1 of another type \(first: 'fc\.weight' is {str(dtype)[6:]}, expected float32"
    ):
        fitted({**STATE, "fc.weight": STATE["fc.weight"].to(dtype)})


def test_an_enormous_tensor_costs_nothing():
    """A file of a few bytes can claim any shape with strides of 0."""
    with pytest.raises(
        MisfitError, match=r"1 of another shape \(first: 'fc\.weight' is \(1000000, 1000000\), expected"
    ):
        fitted({**STATE, "fc.weight": torch.zeros((), dtype=torch.float16).expand(10**6, 10**6)})


def test_aligning_twice_changes_nothing():
    once = aligned({**prefixed("model."), "criterion.weight": torch.ones(3)}, net())
    assert once.notes
    again = aligned(once.state, net())
    assert (again.state, again.notes) == (once.state, ())


def test_keys_with_very_many_dots_take_no_time():
    state = {**STATE, **{"." * 1000 + str(i): torch.ones(1) for i in range(1000)}}
    with pytest.raises(MisfitError, match="1000 unexpected"):
        fitted(state)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet18", "fc"), ("vgg11", "classifier.6"), ("vit_b_32", "heads.head"), ("squeezenet1_1", "classifier.1")],
)
def test_the_classifier_by_its_place(name, expected):
    assert classifier_name(on_meta(name)) == expected
    assert classifier_name(nn.Conv2d(3, 3, 3)) is None
    assert classifier_name(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))) is None
