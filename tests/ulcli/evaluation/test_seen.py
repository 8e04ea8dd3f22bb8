"""Validation images that the checkpoint seems to have been trained on."""

import pytest
import torch

from ulcli.evaluation.seen import PROMISE, tell_of_seen_images
from ulcli.network.features import LabelledFeatures
from ulcli.network.linear import Linear

OWN = Linear(torch.eye(2), torch.zeros(2))


def features(margins):
    """Images of class 0 whose logits lie so far apart."""
    margins = torch.as_tensor(margins).float()
    values = torch.stack([margins, torch.zeros(len(margins))], 1)
    return LabelledFeatures(values, torch.empty(len(margins), 0), labels=torch.zeros(len(margins), dtype=torch.int64))


def loss(margins):
    return float(torch.as_tensor(margins).double().neg().exp().log1p().mean())


@pytest.mark.parametrize(
    ("training", "validation"),
    [
        ([6.0] * 999 + [-1.0], [6.0] * 290 + [-2.0] * 10),  # honest: loss several times as high
        ([3.0] * 90 + [-1.0] * 10, [3.0] * 270 + [-1.0] * 30),  # not trained to the end
        ([6.0] * 999 + [-1.0], [6.0] * 199),  # too few to tell
    ],
)
def test_nothing_is_suspected(recorder, training, validation):
    tell_of_seen_images(OWN, features(training), features(validation), recorder)
    assert recorder.notes == [PROMISE]
    assert not recorder.warnings


def test_no_worse_on_validation_images_is_a_warning_with_both_numbers(recorder):
    training, validation = [6.0] * 995 + [-1.0] * 5, [6.0] * 299 + [-1.0]
    tell_of_seen_images(OWN, features(training), features(validation), recorder)
    (warning,) = recorder.warnings
    assert f"(loss {loss(validation):.2g} on validation images, {loss(training):.2g} on training images)" in warning
    assert "--val" in warning


def test_all_right_on_both_may_be_an_easy_task(recorder):
    tell_of_seen_images(OWN, features([6.0] * 25_000), features([6.0] * 300), recorder)
    assert not recorder.warnings
    assert f"({loss([6.0]):.2g} on validation images" in recorder.notes[1]
    assert "the task is easy, or" in recorder.notes[1]
