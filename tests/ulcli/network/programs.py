"""Make exported programs, as torch itself writes them, and change what they hold."""

import json
import warnings
import zipfile

import torch
from torch import nn


class Small(nn.Module):
    """Modules that work twice, layers without a module, a batch norm and a constant."""

    def __init__(self, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(inplace=True))
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, images):
        x = self.relu(self.bn(self.conv(images)))
        x = self.relu(self.block(x) * self.scale + torch.tensor([0.5]))
        return self.fc(x.mean((2, 3)))


def save(network, path, shape=(3, 16, 16), batch=2, sizes=None):
    """Export a network; `sizes` says which dimensions of the images are free."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            network, (torch.rand(batch, *shape),), dynamic_shapes=None if sizes is None else (sizes,)
        )
        torch.export.save(program, path)
    return path


def edited(path, target, change_graph=None, members=None):
    """A copy of a file with another graph, or other members by the end of their names."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            if change_graph is not None and name.endswith("models/model.json"):
                graph = json.loads(content)
                change_graph(graph)
                content = json.dumps(graph).encode()
            for end, other in (members or {}).items():
                if name.endswith(end):
                    content = other(content) if callable(other) else other
            if content is not None:
                copy.writestr(name, content)
    return target
