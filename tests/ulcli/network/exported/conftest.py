"""Exported programs, as torch itself writes them."""

import pytest
import torch
from programs import Small, save


@pytest.fixture(scope="session")
def network():
    """A network in evaluation mode whose batch norm has seen images."""
    torch.manual_seed(0)
    network = Small()
    with torch.no_grad():
        network(torch.randn(8, 3, 16, 16))
    return network.eval()


@pytest.fixture(scope="session")
def files(network, tmp_path_factory):
    """The network as programs with batches of 1, of 4, of 2 to 6, and of any size."""
    folder = tmp_path_factory.mktemp("exported")
    dim = torch.export.Dim
    return {
        "one": save(network, folder / "one.pt2", batch=1),
        "four": save(network, folder / "four.pt2", batch=4),
        "bounded": save(network, folder / "bounded.pt2", batch=3, sizes={0: dim("batch", min=2, max=6)}),
        "any": save(network, folder / "any.pt2", sizes={0: dim("batch")}),
    }
