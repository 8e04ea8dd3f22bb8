"""Sums over the classes: in blocks and in one go they are the same."""

import pytest
import torch

from uncertainty_loss._terms import Square, Term, elementwise, leave_one_out, put, sums


class Cosine(Term):
    """A term that is not zero without evidence, and one that takes something of the row."""

    absent = None

    def rows(self, classes, rest, total):
        return (classes + rest,)

    def value(self, x, *rows):
        return x.cos() / rows[0]

    def slope(self, x, *rows):
        return -x.sin() / rows[0]


class Shifted(Term):
    """(x - 2)², which leaves a class out at x = 2."""

    absent = 2.0

    def value(self, x, *rows):
        return (x - 2).square()

    def slope(self, x, *rows):
        return 2 * (x - 2)


class Both(Term):
    """Two functions in one term."""

    count = 2

    def values(self, x, *rows):
        return x.square(), x.sin()

    def add_slopes(self, total, grads, x, *rows, out=None):
        return torch.add(total, 2 * x * grads[0] + x.cos() * grads[1], out=out)


@pytest.mark.parametrize("term", [Square(), Cosine(), Shifted(), Both()])
@pytest.mark.parametrize("shape", [(20, 4), (3, 4, 5)])
def test_sums_over_the_other_classes(term, shape, small_blocks):
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    index = torch.randint(4, (shape[0], 1, *shape[2:]))
    own, rest, *totals = sums((term,), x, index)
    mask = torch.ones(shape).scatter(1, index, 0.0)
    torch.testing.assert_close(own, x.gather(1, index))
    torch.testing.assert_close(rest, (x * mask).sum(1, True))
    rows = [row.detach() for row in term.rows(4, rest, rest)]
    torch.testing.assert_close(totals, [(value * mask).sum(1, True) for value in term.values(x, *rows)])
    weights = torch.rand(2 + term.count, *own.shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * torch.stack([own, rest, *totals])).sum(), x)
    leaf = x.detach().requires_grad_()
    values = zip(weights[2:], term.values(leaf, *rows), strict=True)
    (slopes,) = torch.autograd.grad(sum((weight * value).sum() for weight, value in values), leaf)
    slopes = weights[1] + slopes
    torch.testing.assert_close(gradient, slopes.scatter(1, index, weights[0]))


def test_elementwise():
    x = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: elementwise(Square(), x)[0], x)
    assert torch.autograd.gradgradcheck(lambda x: elementwise(Square(), x)[0], x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_leave_one_out_keeps_the_small(dtype):
    x = torch.tensor([[1e9, 1.0, 2.0, 0.25], [3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, -7.0]], dtype=dtype)
    others = [[j for j in range(4) if j != k] for k in range(4)]
    exact = torch.stack([x.double()[:, some].sum(1) for some in others], 1)
    torch.testing.assert_close(leave_one_out(x).double(), exact, rtol=1e-6, atol=0)
    x = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(leave_one_out, x)
    assert torch.autograd.gradgradcheck(leave_one_out, x)


def test_put():
    x = torch.zeros(2, 3)
    index = torch.tensor([[2], [0]])
    assert torch.equal(put(x, index, 1.0), torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    assert torch.equal(put(x, index, torch.tensor([[5.0], [6.0]])), torch.tensor([[0.0, 0.0, 5.0], [6.0, 0.0, 0.0]]))
