"""A model file whose network would not be the one that was fitted is not written."""

import importlib
import sys

import pytest
import torch
from torch import nn

from ulcli.commands.rebuilt import check_rebuilt
from ulcli.commands.settings import TrainSettings
from ulcli.commands.train import train
from ulcli.errors import UserError
from ulcli.model.file import Model
from ulcli.network.anatomy.backbone import Backbone


class Net(nn.Module):
    def __init__(self, slope):
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(1, 4, 3), nn.LeakyReLU(slope), nn.Linear(4, 10)

    def forward(self, images):
        return self.fc(self.act(self.conv(images)).mean((2, 3)))


def backbone(slope):
    torch.manual_seed(0)
    return Backbone.take_apart("net", None, Net(slope), (1, 8, 8))


def test_the_same_network_passes():
    check_rebuilt(backbone(0.1), backbone(0.1), (1, 8, 8))


def test_the_first_layer_that_differs_is_named():
    with pytest.raises(UserError, match=r"^'net', rebuilt from .* from layer 'act' on: .* No model is written$"):
        check_rebuilt(backbone(0.1), backbone(0.5), (1, 8, 8))


FACTORY = """
import torch
from torch import nn

CALLS = []

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        CALLS.append(1)
        torch.manual_seed(0)
        self.conv, self.act, self.fc = nn.Conv2d(1, 8, 3), nn.LeakyReLU(len(CALLS) / 10), nn.Linear(8, 10)

    def forward(self, images):
        return self.fc(self.act(self.conv(images)).mean((2, 3)))
"""


def test_a_network_that_depends_on_more_than_its_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "changing_network.py").write_text(FACTORY)
    monkeypatch.delitem(sys.modules, "changing_network", raising=False)
    (tmp_path / "m.pt").write_bytes(b"the model before")
    settings = TrainSettings(data="digits", arch="changing_network:Net", output=tmp_path / "m.pt", workers=1)
    with pytest.raises(UserError, match="from layer 'act' on"):
        train(settings)
    assert (tmp_path / "m.pt").read_bytes() == b"the model before"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["changing_network.py", "m.pt"]


def test_a_factory_with_its_own_weights_from_training_to_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steady_network.py").write_text(FACTORY.replace("len(CALLS) / 10", "0.1"))
    settings = TrainSettings(data="digits", arch="steady_network:Net", output=tmp_path / "m.pt", workers=1)
    train(settings)
    import steady_network

    expected, rebuilt = steady_network.Net().eval(), Model.load(tmp_path / "m.pt").backbone.build(trusted=True)
    images = torch.rand(3, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(rebuilt.network(images), expected(images))


def test_a_network_that_has_changed_since(tmp_path, monkeypatch):
    """The same keys and shapes, but other code: what is scored then would be another network."""
    monkeypatch.chdir(tmp_path)
    code = "import torch\nfrom torch import nn\nclass Net(nn.Module):\n"
    code += "    def __init__(self):\n        super().__init__()\n"
    code += "        self.conv, self.fc = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)\n    def forward(self, x):\n"
    code += "        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))\n"
    (tmp_path / "changed_network.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    network = importlib.import_module("changed_network").Net()
    torch.save(network.state_dict(), tmp_path / "net.pth")
    settings = {"checkpoint": tmp_path / "net.pth", "arch": "changed_network:Net", "data": "digits"}
    train(TrainSettings(**settings, output=tmp_path / "m.pt", workers=1, trust_code=True))
    Model.load(tmp_path / "m.pt").backbone.build(trusted=True)
    monkeypatch.setattr(torch, "relu", torch.tanh)
    with pytest.raises(UserError, match="gives other features than when the model was fitted"):
        Model.load(tmp_path / "m.pt").backbone.build(trusted=True)
