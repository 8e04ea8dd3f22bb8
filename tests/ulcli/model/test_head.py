"""alpha = evidence(linear(features)) + prior."""

import numpy as np
import pytest
import torch

from ulcli.model.head import Head
from ulcli.model.linear import Linear


@pytest.mark.parametrize("prior", [1.0, 0.1])
def test_alpha(prior):
    head, x = Head(Linear(torch.randn(3, 5), torch.randn(3)), "clamped_exp", prior), 4 * torch.randn(50, 5)
    logits = x.double().numpy() @ head.linear.weight.double().numpy().T + head.linear.bias.double().numpy()
    assert np.abs(logits).max() > 10  # beyond the clamp as well
    alpha = head.alpha(x)
    assert alpha.dtype == torch.float64
    np.testing.assert_allclose(alpha, np.exp(np.clip(logits, -10, 10)) + prior, rtol=1e-12)
