"""Which images a network takes."""

import pytest
import torch
from torch import nn

from ulcli.network.anatomy.accepted import accepted_images


class Takes(nn.Module):
    """Refuses all images but those of some shapes."""

    def __init__(self, *shapes):
        super().__init__()
        self.shapes = shapes

    def forward(self, images):
        if tuple(images.shape[1:]) not in self.shapes:
            raise SystemExit("no")
        return torch.zeros(len(images), 2)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(1, 28, 28)], "28 pixels and 1 channel"),
        ([(3, 32, 32), (1, 28, 28)], "32 pixels and 3 channels"),
        ([(3, size, size) for size in (32, 64, 96, 224)], "32 or 64 or 96 pixels and 3 channels"),
        ([(3, 33, 33)], None),
    ],
)
def test_sizes_and_channels_that_a_network_takes(shapes, said):
    assert accepted_images(Takes(*shapes)) == said


def test_a_flattened_map_wants_one_size():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 3))
    assert accepted_images(network) == "28 pixels and 1 channel"
