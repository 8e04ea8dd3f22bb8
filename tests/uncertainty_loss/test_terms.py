"""Sums over the classes: in blocks and in one go they are the same."""

import pytest
import torch

from uncertainty_loss import _terms
from uncertainty_loss._terms import Square, elementwise, in_blocks, put, summed, summed_without


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_terms, "_BLOCK", 8)


@pytest.mark.parametrize("shape", [(50, 3), (1, 3, 40), (2, 3, 5, 7), (1, 100), (3, 1, 30), (0, 3)])
def test_blocks_cover_everything_once(shape, small_blocks):
    x, rows = torch.rand(shape), torch.rand((*shape[:1], 1, *shape[2:]))
    with torch.no_grad():
        assert torch.equal(in_blocks(lambda x, row: x * row, x, rows), x * rows)
        assert torch.equal(in_blocks(lambda x, row: (x * row).sum(1, keepdim=True), x, rows), (x * rows).sum(1, True))


def test_blocks_are_small(small_blocks):
    sizes = []
    with torch.no_grad():
        in_blocks(lambda x: sizes.append(x.numel()) or x, torch.rand(4, 3, 9, 5))
    assert max(sizes) <= 16
    assert sum(sizes) == 4 * 3 * 9 * 5


def test_blocks_keep_the_layout(small_blocks):
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert in_blocks(lambda x: x + 1, x).is_contiguous(memory_format=torch.channels_last)


def test_gradients_are_not_cut_into_blocks(small_blocks):
    x = torch.rand(50, 3, requires_grad=True)
    assert in_blocks(lambda x: x * x, x).grad_fn is not None


@pytest.mark.parametrize("index_dtype", [torch.int64])
def test_summed_without(index_dtype, small_blocks):
    x = torch.rand(20, 4, dtype=torch.float64, requires_grad=True)
    index = torch.randint(4, (20, 1), dtype=index_dtype)
    total = summed_without(index, Square(), x)
    torch.testing.assert_close(total, x.square().sum(1, True) - x.gather(1, index).square())
    (gradient,) = torch.autograd.grad(total.sum(), x)
    torch.testing.assert_close(gradient, (2 * x).detach().scatter(1, index, 0.0))


def test_elementwise_and_summed():
    x = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    for function in (lambda x: elementwise(Square(), x), lambda x: summed(Square(), x)):
        assert torch.autograd.gradcheck(function, x)
        assert torch.autograd.gradgradcheck(function, x)
    torch.testing.assert_close(summed(Square(), x), elementwise(Square(), x).sum(1, True))


def test_put():
    x = torch.zeros(2, 3)
    index = torch.tensor([[2], [0]])
    assert torch.equal(put(x, index, 1.0), torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert torch.equal(put(x, index, torch.tensor([[5.0], [6.0]])), torch.tensor([[0.0, 0.0, 5.0], [6.0, 0.0, 0.0]]))
