"""Batches in blocks: every row once, in memory that is kept and that nobody sees."""

import gc
import sys
import threading
from contextlib import contextmanager

import pytest
import torch

import uncertainty_loss as ul
from uncertainty_loss import _blocks
from uncertainty_loss._blocks import Temporaries, filled_in_blocks, in_blocks, temporary


@pytest.fixture
def memory(monkeypatch):
    """Memory as of a new thread."""
    monkeypatch.setattr(_blocks, "_memory", _blocks._Memory())
    return _blocks._memory


@contextmanager
def beginning():
    """What `in_blocks` does around a function."""
    with Temporaries():
        _blocks._memory.used = 0
        yield


def product(x, row, out):
    return torch.mul(x, row, out=out)


def ends(x, row):
    return (x * row).amin(1, keepdim=True), (x * row).amax(1, keepdim=True)


@pytest.mark.parametrize("shape", [(50, 3), (1, 3, 40), (2, 3, 5, 7), (1, 100), (3, 1, 30), (0, 3)])
def test_blocks_cover_everything_once(shape, small_blocks):
    x, rows = torch.rand(shape), torch.rand((*shape[:1], 1, *shape[2:]))
    with torch.no_grad():
        assert torch.equal(filled_in_blocks(product, x, rows), x * rows)
        low, high = in_blocks(ends, x, rows)
    assert torch.equal(low, (x * rows).amin(1, True))
    assert torch.equal(high, (x * rows).amax(1, True))


def test_blocks_are_small(small_blocks):
    sizes = []
    with torch.no_grad():
        filled_in_blocks(lambda x, out: sizes.append(x.numel()), torch.rand(4, 3, 9, 5))
    assert max(sizes) <= 16
    assert sum(sizes) == 4 * 3 * 9 * 5


def test_blocks_keep_the_layout(small_blocks):
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        result = filled_in_blocks(lambda x, out: torch.add(x, 1, out=out), x)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, x + 1)


def test_gradients_are_not_cut_into_blocks(small_blocks):
    x = torch.rand(50, 3, requires_grad=True)
    assert filled_in_blocks(lambda x, out: torch.mul(x, x, out=out), x).grad_fn is not None
    assert in_blocks(lambda x: (x * x,), x)[0].grad_fn is not None


def test_temporaries_do_not_overlap_until_they_are_free(memory):
    x = torch.rand(4, 5)
    with Temporaries():
        assert temporary(x) is None
    with beginning():
        first = temporary(x).fill_(1)
        with Temporaries():
            second, third = temporary(x).fill_(2), temporary(x.double()).fill_(3)
            assert (first == 1).all()
            assert (second == 2).all()
            assert third.dtype == torch.float64
        again = temporary(x)
        assert again.data_ptr() == second.data_ptr() != first.data_ptr()
    assert temporary(x) is None
    assert len(memory.slots) == 3


def test_temporaries_are_free_after_an_interrupt(memory):
    """Wherever it comes."""
    evidence, target = torch.rand(40, 5), torch.zeros(40, dtype=torch.long)

    def interrupted_at(when):
        left = when

        def profile(frame, event, argument):
            nonlocal left
            if frame.f_code.co_filename == _blocks.__file__:
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt

        sys.setprofile(profile)
        try:
            with torch.no_grad():
                ul.maxnorm_loss(evidence, target, 0.1)
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
        return False

    when = 0
    while interrupted_at(when):
        assert memory.used is None
        when += 1
    assert when > 10


@pytest.mark.parametrize(
    "like", [torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last), torch.rand(6, 9)[::2, ::3]]
)
def test_temporaries_have_the_strides_of_torch(like, memory):
    with beginning():
        assert temporary(like).stride() == (like + 1).stride()


def test_temporaries_of_inference_serve_later(memory):
    evidence, target = torch.rand(40, 5), torch.randint(5, (40,))
    with torch.inference_mode():
        expected = ul.maxnorm_loss(evidence, target, 0.1)
    assert memory.slots
    torch.testing.assert_close(ul.maxnorm_loss(evidence.requires_grad_(), target, 0.1).detach(), expected.clone())


def test_views_of_many_shapes_are_let_go(memory):
    with torch.no_grad():
        for size in range(1, 3 * _blocks._MOST_VIEWS):
            ul.evidential_loss(torch.rand(size, 3), torch.zeros(size, dtype=torch.long))
    assert len(memory.views) <= _blocks._MOST_VIEWS


@pytest.mark.parametrize("loss", [ul.maxnorm_loss, ul.evidential_loss])
def test_results_are_not_in_memory_that_is_used_again(loss, memory):
    torch.manual_seed(0)
    evidence, target = 10 * torch.rand(40, 5), torch.randint(5, (40,))

    def results(scale):
        leaf = (scale * evidence).requires_grad_()
        losses = loss(leaf, target, 0.1, reduction="none")
        losses.sum().backward()
        return losses.detach(), leaf.grad

    first = results(1.0)
    before = [x.clone() for x in first]
    results(3.0)
    assert all(map(torch.equal, first, before))
    kept = {slot.untyped_storage().data_ptr() for slot in memory.slots.values()}
    assert kept.isdisjoint(x.untyped_storage().data_ptr() for x in first)


def test_threads_do_not_share_temporaries():
    # Large enough for memory that is kept, and for torch to let go of the interpreter meanwhile.
    torch.manual_seed(0)
    batches = [(10 * torch.rand(300, 400), torch.randint(400, (300,))) for _ in range(4)]

    def gradient(evidence, target):
        leaf = evidence.clone().requires_grad_()
        ul.maxnorm_loss(leaf, target, 0.1).backward()
        return leaf.grad

    expected = [gradient(*batch) for batch in batches]
    wrong = []

    def work(batch, result):
        wrong.extend(1 for _ in range(30) if not torch.allclose(gradient(*batch), result))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(batches, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_was_too_small_is_let_go(memory):
    for size in (4, 9, 6):
        with beginning():
            first, second = temporary(torch.rand(size, 5)), temporary(torch.rand(size, 5))
            assert not first.fill_(1).equal(second.fill_(2))
        del first, second
        gc.collect()
    assert [room.numel() for room in memory.slots.values()] == [45, 45]
    rooms = {room.untyped_storage().data_ptr() for room in memory.slots.values()}
    assert {view.untyped_storage().data_ptr() for view in memory.views.values()} == rooms


def test_memory_does_not_grow():
    evidence, target = torch.rand(300, 400, requires_grad=True), torch.randint(400, (300,))

    def step():
        evidence.grad = None
        ul.maxnorm_loss(evidence, target, 0.1).backward()
        return len(_blocks._memory.slots), len(_blocks._memory.views)

    first = step()
    gc.collect()
    assert all(step() == first for _ in range(5))


@pytest.mark.parametrize("shape", [(17, 5), (2, 4, 3, 5), (1, 6, 30)])
def test_expectations_in_blocks_are_those_of_single_rows(shape, small_blocks):
    evidence, weights = 20 * torch.rand(shape, dtype=torch.float64), torch.rand(shape, dtype=torch.float64)
    evidence[0, 1] = 1e7
    leaf = evidence.clone().requires_grad_()
    losses = ul.maxnorm_loss(leaf, weights, 0.1, reduction="none")
    losses.sum().backward()
    rows, targets, gradients = (x.movedim(1, -1).flatten(0, -2) for x in (evidence, weights, leaf.grad))
    for row, target, value, gradient in zip(rows, targets, losses.flatten(), gradients, strict=True):
        one = row.clone().requires_grad_()
        # By index, one class after the other.
        loss = sum(t * ul.maxnorm_loss(one, torch.tensor(k), 0.1) for k, t in enumerate(target))
        torch.testing.assert_close(value, loss)
        torch.testing.assert_close(gradient, *torch.autograd.grad(loss, one))
