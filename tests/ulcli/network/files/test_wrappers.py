"""Keys under what training wraps a network in. Real wrappers are in the table of forms."""

import pytest
import torch

from ulcli.network.files.wrappers import without_segment, without_wrappers

KEYS = ["0.weight", "0.bias", "block.conv.weight"]


def state(*keys):
    return {key: torch.ones(1) for key in keys}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_fsdp_wrapped_module.", "module._orig_mod.module."])
def test_what_stands_before_every_key(prefix):
    assert list(without_wrappers(state(*(prefix + key for key in KEYS)))) == KEYS
    assert list(without_wrappers(state("n_averaged", *(prefix + key for key in KEYS)))) == KEYS


def test_what_stands_amid_keys():
    wrapped = state("0.weight", "0._orig_mod.bias", "block._checkpoint_wrapped_module._fsdp_wrapped_module.conv.weight")
    assert list(without_wrappers(wrapped)) == KEYS
    assert list(without_segment(state("features.module.0.weight"), "module.")) == ["features.0.weight"]


def test_a_prefix_goes_only_where_every_key_has_it():
    mixed = state("module.0.weight", "other.weight")
    assert without_wrappers(mixed).keys() == mixed.keys()


def test_no_two_keys_become_one():
    both = state("a._orig_mod.b", "a.b")
    assert without_wrappers(both) == both


def test_names_that_only_end_so_stay():
    assert list(without_wrappers(state("my_orig_mod.weight", "submodule.weight"))) == [
        "my_orig_mod.weight",
        "submodule.weight",
    ]
