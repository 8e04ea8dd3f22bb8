"""The sample digits classifier."""

import torch

from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.data.transform import Transform
from ulcli.network.files.archive import read_archive
from ulcli.network.files.checkpoint import parse_checkpoint, sample_checkpoint
from ulcli.network.loading.build import network_for


def test_it_knows_digits_that_it_was_not_trained_on():
    found = parse_checkpoint(read_archive(sample_checkpoint()), sample_checkpoint())
    network = network_for(found.arch, found.state).network.eval()
    images = labelled_set(DataName("digits"), "test", Places())
    transform = Transform(8, 8, (0.0,), (1.0,), grayscale=True)
    x = torch.stack([transform(images.load(index)) for index in range(len(images))])
    with torch.inference_mode():
        right = network(x).argmax(1) == torch.from_numpy(images.labels)
    assert right.float().mean() > 0.94
