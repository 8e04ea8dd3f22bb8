"""Exported programs as a source of networks."""

import copy

import pytest
import torch
from programs import Small, save

from ulcli.errors import UserError
from ulcli.network.loading.build import rebuilt_network
from ulcli.network.sources.exported import read_exported


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    return read_exported(save(Small().eval(), tmp_path_factory.mktemp("exported") / "a.pt2", batch=4))


def test_it_says_which_images_it_takes(bundle):
    assert (bundle.arch, bundle.built.images) == ("exported", (3, 16, True))


def test_it_is_rebuilt_from_options_and_weights(bundle):
    state = bundle.built.network.state_dict()
    rebuilt = rebuilt_network(bundle.arch, state, None, copy.deepcopy(bundle.built.options))
    images = torch.randn(7, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(rebuilt(images), bundle.built.network(images))


def test_a_model_file_is_checked_like_a_program(bundle):
    state, options = bundle.built.network.state_dict(), copy.deepcopy(bundle.built.options)
    options["program"]["nodes"][0]["target"] = "torch.os.system"
    with pytest.raises(UserError, match=r"^the exported program calls 'torch.os.system', which is none of"):
        rebuilt_network("exported", state, None, options)
    for damaged in ({}, {"nodes": []}, {**bundle.built.options["program"], "tensors": {"fc.weight": [7, [-1]]}}):
        with pytest.raises(UserError, match=r"^the exported program is damaged"):
            rebuilt_network("exported", state, None, {"program": damaged})
    with pytest.raises(UserError, match=r"does not fit 'exported'"):
        rebuilt_network("exported", {**state, "fc.bias": torch.zeros(6)}, None, bundle.built.options)


def test_without_a_program_the_way_is_told():
    with pytest.raises(UserError, match=r"^'exported' is built from an exported program; give its file"):
        rebuilt_network("exported", {})
