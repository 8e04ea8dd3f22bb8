"""What must hold for every loss and any evidence."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import uncertainty_loss as ul

NAMES = ul.loss_names()


@st.composite
def batches(draw):
    """Evidence (n, classes) in double from 1e-4 to 1e6, and targets."""
    classes, rows = draw(st.integers(2, 6)), draw(st.integers(1, 4))
    logits = st.lists(st.floats(-9, 14), min_size=classes, max_size=classes)
    evidence = torch.tensor([draw(logits) for _ in range(rows)], dtype=torch.float64).exp()
    return evidence, torch.tensor([draw(st.integers(0, classes - 1)) for _ in range(rows)])


@pytest.mark.parametrize("name", NAMES)
@given(batch=batches(), data=st.data())
def test_classes_have_no_order(name, batch, data):
    evidence, target = batch
    order = torch.tensor(data.draw(st.permutations(range(evidence.shape[1]))))
    loss = ul.get_loss(name).function
    shuffled = loss(evidence[:, order], order.argsort()[target], 0.1, reduction="none")
    torch.testing.assert_close(shuffled, loss(evidence, target, 0.1, reduction="none"), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(batch=batches())
def test_reductions_agree(name, batch):
    loss = ul.get_loss(name).function
    rows = loss(*batch, 0.1, reduction="none")
    torch.testing.assert_close(loss(*batch, 0.1, reduction="sum"), rows.sum())
    torch.testing.assert_close(loss(*batch, 0.1), rows.mean())


@pytest.mark.parametrize("name", NAMES)
@given(batch=batches())
def test_soft_one_hot_is_the_index(name, batch):
    evidence, target = batch
    loss = ul.get_loss(name).function
    soft = torch.nn.functional.one_hot(target, evidence.shape[1]).double()
    expected = loss(evidence, target, 0.1, reduction="none")
    torch.testing.assert_close(loss(evidence, soft, 0.1, reduction="none"), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
@given(batch=batches(), data=st.data())
def test_ignoring_is_removing(name, batch, data):
    evidence, target = batch
    kept = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(target), max_size=len(target))))
    loss = ul.get_loss(name).function
    ignoring = loss(evidence, target.where(kept, 77), 0.1, ignore_index=77)
    torch.testing.assert_close(ignoring, loss(evidence[kept], target[kept], 0.1))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"i-edl"}))
@given(batch=batches())
def test_never_negative(name, batch):
    assert ul.get_loss(name).function(*batch, 0.1) >= -1e-12


@given(batch=batches())
def test_bounded_losses(batch):
    assert ul.evidential_loss(*batch) <= 2
    assert ul.maxnorm_loss(*batch, p_norm=1) <= 2
    assert ul.maxnorm_loss(*batch, p_norm=20) <= 2 ** (1 / 20)
