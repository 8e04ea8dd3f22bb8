"""Where the network runs."""

import pytest
import torch

from ulcli.errors import UserError
from ulcli.network.device import resolve_device


def test_auto_is_a_device_that_works():
    torch.ones(1, device=resolve_device("auto")).sum().item()
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert resolve_device("auto") == "cpu"


def test_cpu():
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "cuda:99", "cpu:x"])
def test_devices_that_are_not_there(name):
    with pytest.raises(UserError, match=rf"device '{name}' cannot be used: .*; try --device cpu"):
        resolve_device(name)
