"""The state dict in what users bring."""

from pathlib import Path

import pytest
import torch

from ulcli.errors import UserError
from ulcli.network.files.archive import read_archive
from ulcli.network.files.checkpoint import parse_checkpoint, sample_checkpoint

STATE = {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)}
PATH = Path("a.pt")


def prefixed(prefix):
    return {prefix + key: value for key, value in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "optimizer": {"state": {}}},
        {"model": STATE},
        {"model_state_dict": STATE, "loss": torch.tensor(0.5)},
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        prefixed("_orig_mod.module._orig_mod."),
        {"state_dict": prefixed("module.")},
        {**STATE, "_extra_state": {"version": 1}, "_metadata": None},
    ],
)
def test_state_dicts_as_training_scripts_save_them(content):
    found = parse_checkpoint(content, PATH)
    assert found.arch is None
    assert found.state.keys() == STATE.keys()
    assert all(found.state[key] is STATE[key] for key in STATE)


def test_a_prefix_goes_only_where_every_key_has_it():
    state = {"module.0.weight": torch.ones(1), "other.weight": torch.ones(1)}
    assert parse_checkpoint(state, PATH).state.keys() == state.keys()


def test_the_architecture_that_the_file_names():
    assert parse_checkpoint({"arch": "resnet18", "state_dict": STATE}, PATH).arch == "resnet18"
    assert parse_checkpoint({"arch": torch.nn.Linear, "state_dict": STATE}, PATH).arch is None


@pytest.mark.parametrize("content", [None, 3, [STATE], {}, {"state_dict": {}}, {"epoch": 3}, torch.ones(2)])
def test_what_holds_no_state_dict(content):
    with pytest.raises(UserError, match=r"'a\.pt' holds no state dict \(a dictionary of tensors\); save model\.state_"):
        parse_checkpoint(content, PATH)


def test_the_sample_classifier_is_there_and_names_its_architecture():
    found = parse_checkpoint(read_archive(sample_checkpoint()), sample_checkpoint())
    assert found.arch == "ulcli.model.sample:digits_cnn"


def test_what_the_file_says_comes_along():
    content = {"state_dict": STATE, "classes": ["ant", "bee"], "args": {"model": "resnet18", "num_classes": 2}}
    found = parse_checkpoint(content, PATH)
    assert (found.classes, found.num_classes, found.arch_hints) == (("ant", "bee"), 2, ("resnet18",))
    assert found.notes == ()


def test_classes_that_no_layer_has_as_many_outputs_as_are_not_used_and_that_is_told():
    found = parse_checkpoint({"state_dict": STATE, "classes": list("abcd")}, PATH)
    assert found.classes is None
    assert found.notes == ("the file lists 4 classes, but no layer has as many outputs; they are not used",)
    binary = {"0.weight": torch.ones(1, 3), "0.bias": torch.ones(1)}
    assert parse_checkpoint({"state_dict": binary, "classes": ["no", "yes"]}, PATH).classes == ("no", "yes")


def test_raw_weights_on_demand():
    content = {"model": STATE, "model_ema": {key: value + 1 for key, value in STATE.items()}}
    assert parse_checkpoint(content, PATH, weights_key="model").state["0.bias"] is STATE["0.bias"]
    found = parse_checkpoint(content, PATH)
    assert torch.equal(found.state["0.bias"], torch.ones(2))
    assert found.notes == ("using EMA weights ('model_ema'); --weights-key model for the raw ones",)
