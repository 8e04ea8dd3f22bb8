"""One linear layer, in double."""

import numpy as np
import torch

from ulcli.network.linear import Linear


def test_against_numpy():
    linear, x = Linear(torch.randn(3, 5), torch.randn(3)), torch.randn(7, 5)
    logits = linear(x)
    assert logits.dtype == torch.float64
    expected = x.numpy().astype(float) @ linear.weight.numpy().astype(float).T + linear.bias.numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-14)
    assert linear.num_classes == 3


def test_identity_and_zeros():
    x = torch.randn(4, 3)
    assert torch.equal(Linear.identity(3)(x), x.double())
    assert torch.equal(Linear.zeros(2, 3)(x), torch.zeros(4, 2, dtype=torch.float64))
