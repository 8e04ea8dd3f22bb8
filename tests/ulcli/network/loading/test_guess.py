"""Guessing the architecture from keys and shapes alone."""

from pathlib import Path

import pytest
import torch
from forms import STATE, light, prefixed
from torchvision import models

from ulcli.errors import UserError
from ulcli.network.files.checkpoint import Checkpoint
from ulcli.network.loading.guess import _candidates, architecture_of, guessed, hint

PATH = Path("a.pt")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "squeezenet1_0"])
def test_a_torchvision_network_is_known_by_its_keys_whatever_its_classifier(name):
    state = light(name)
    assert guessed(state, PATH) == name
    assert guessed(prefixed("model.", state), PATH) == name
    head = "classifier" if "classifier" in list(state)[-1] else "fc"
    assert guessed({key: value for key, value in state.items() if not key.startswith(head)}, PATH) == name
    state[f"{head}.1.weight"] = torch.ones(3, 5)
    assert guessed(state, PATH) == name


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_the_keys_of_every_network_lead_to_its_family(name):
    state = models.regnet_x_400mf(weights=None).state_dict() if "regnet" in name else light(name)
    candidates = _candidates(state)
    assert name in candidates
    assert len(candidates) <= 15


def test_a_changed_network_is_not_taken_for_the_nearest_which_is_named():
    state = light("resnet18")
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)  # the usual change for small images
    with pytest.raises(
        UserError, match=r"^'a\.pt' does not say .* \(nearest: resnet18 has 99% of them, .*; name it with"
    ):
        guessed(state, PATH)
    with pytest.raises(UserError, match=r"its keys are of no torchvision network; name it with --arch, for example"):
        guessed(STATE, PATH)


def test_what_the_file_says_comes_first_where_it_can_be_true():
    assert architecture_of(Checkpoint(STATE, "package.module:net"), PATH) == ("package.module:net", ())
    assert architecture_of(Checkpoint(STATE, "timm/resnet50d"), PATH) == ("timm/resnet50d", ())
    assert architecture_of(Checkpoint(STATE, "resnet18"), PATH) == ("resnet18", ())
    state = light("resnet18")
    said = ("resnet18", ("the file says that its network is resnet18",))
    assert architecture_of(Checkpoint(state, "visiontransformer", ("adam", "resnet34", "resnet18")), PATH) == said
    name, notes = architecture_of(Checkpoint(state, "resnet"), PATH)
    assert name == "resnet18"
    assert notes == ("no architecture is named; by its keys and shapes the network is resnet18 (--arch for another)",)


def test_the_error_of_a_wrong_arch_can_name_the_right_one():
    assert hint(light("resnet34")) == "; its keys fit resnet34"
    assert hint(STATE) == ""


def test_a_name_of_timms_in_the_file():
    pytest.importorskip("timm")
    checkpoint = Checkpoint({}, arch="mobilenetv3_small_050", arch_hints=("nothing_known",))
    name, notes = architecture_of(checkpoint, PATH)
    assert name == "timm/mobilenetv3_small_050"
    assert notes == ("the file says that its network is mobilenetv3_small_050, which timm has",)
