"""A linear classifier judged on images that it was not fitted on."""

import pytest
import torch
from sklearn.linear_model import Ridge

from ulcli.network.classes import folds
from ulcli.network.probe import probe_right


@pytest.mark.parametrize(("per_class", "width"), [(30, 8), (6, 200)])
def test_against_scikit_learn(per_class, width):
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(per_class)
    x = torch.randn(4, width, generator=random)[labels] * 0.2 + torch.randn(len(labels), width, generator=random)
    x[:, 0] = 3.0  # never changes
    expected = torch.zeros(len(labels), dtype=torch.bool)
    for fold in range(3):
        judged = folds(labels) == fold
        fitted = x[~judged].double()
        std = fitted.std(0, correction=0)
        std[0] = 1.0
        ridge = Ridge(alpha=0.1 * len(fitted)).fit(
            ((fitted - fitted.mean(0)) / std).numpy(), torch.nn.functional.one_hot(labels[~judged]).numpy()
        )
        scores = ridge.predict(((x[judged].double() - fitted.mean(0)) / std).numpy())
        expected[judged] = torch.from_numpy(scores).argmax(1) == labels[judged]
    got = probe_right(x, labels, 4)
    assert 0.3 < got.double().mean() < 1
    assert torch.equal(got, expected)


def test_noise_is_not_learned():
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat_interleave(6)
    assert probe_right(torch.randn(60, 500, generator=random), labels, 10).double().mean() < 0.3


def test_one_image_a_class_leaves_none_to_fit_on():
    assert not probe_right(torch.eye(3), torch.arange(3), 3).any()
