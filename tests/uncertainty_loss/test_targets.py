"""Targets, weights and reductions, against `cross_entropy` itself."""

import math

import pytest
import torch
from torch.nn import functional as F

import uncertainty_loss as ul
from uncertainty_loss._evaluate import evaluate
from uncertainty_loss._formula import Formula


class NegativeLogShare(Formula):
    """-log of softmax, candidate by candidate."""

    def terms(self, classes):
        return ()

    def __call__(self, classes, own, rest, *sums):
        return torch.log((own + rest) / own)


def cross_entropy(logits, target, reduction, **options):
    """A loss that is cross-entropy, made the way losses are made here."""
    evidence = (logits - logits.amax(1 if logits.ndim > 1 else 0, keepdim=True)).exp()
    return evaluate(NegativeLogShare(), evidence, target, reduction, ignore_index=-100, **options)


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(4,), (6, 4), (6, 4, 2), (3, 4, 2, 5)])
@pytest.mark.parametrize("kind", ["index", "index with ignored", "probabilities"])
def test_rules_of_cross_entropy(kind, shape, reduction, label_smoothing, weight):
    logits = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    if kind == "probabilities":
        target = torch.rand(shape, dtype=torch.float64).softmax(1 if len(shape) > 1 else 0)
    else:
        target = torch.randint(4, shape[:1] + shape[2:] if len(shape) > 1 else ())
        if kind == "index with ignored" and len(shape) > 1:
            target.flatten()[::3] = -100
    options = {"weight": weight, "label_smoothing": label_smoothing}
    got = cross_entropy(logits, target, reduction, **options)
    expected = F.cross_entropy(logits, target, reduction=reduction, **options)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (got, expected)]
    torch.testing.assert_close(*gradients)


def test_reduction_none_and_none():
    evidence, target = torch.rand(3, 4), torch.randint(4, (3,))
    assert torch.equal(
        ul.evidential_loss(evidence, target, reduction=None), ul.evidential_loss(evidence, target, reduction="none")
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_indices_of_any_integer_dtype(dtype):
    evidence, target = torch.rand(3, 4), torch.tensor([0, 3, 1])
    assert torch.equal(ul.evidential_loss(evidence, target.to(dtype)), ul.evidential_loss(evidence, target))


def test_gradient_of_probabilities():
    evidence = torch.rand(3, 4, dtype=torch.float64)
    target = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: ul.maxnorm_loss(evidence, t, 0.1), target)


# Errors

EVIDENCE, TARGET = torch.rand(4, 3), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("error", "message", "arguments", "options"),
    [
        (
            ValueError,
            r"reduction must be 'mean', 'sum', 'none' or None, got 'median'",
            (EVIDENCE, TARGET),
            {"reduction": "median"},
        ),
        (ValueError, r"class indices \(4,\) or probabilities \(4, 3\), got \(3,\)", (EVIDENCE, TARGET[:3]), {}),
        (ValueError, r"class indices \(4,\) or probabilities \(4, 3\), got \(4, 1\)", (EVIDENCE, TARGET[:, None]), {}),
        (ValueError, r"got a scalar", (torch.tensor(1.0), torch.tensor(0)), {}),
        (ValueError, r"at least one class in dimension 1, got \(4, 0\)", (EVIDENCE[:, :0], TARGET), {}),
        (
            ValueError,
            r"weight must have shape \(3,\), one a class, got \(2,\)",
            (EVIDENCE, TARGET),
            {"weight": torch.ones(2)},
        ),
        (ValueError, r"label_smoothing must be in \[0, 1\], got 1.5", (EVIDENCE, TARGET), {"label_smoothing": 1.5}),
        (TypeError, r"class indices must be integers, got torch.float32", (EVIDENCE, TARGET.float()), {}),
        (TypeError, r"holds probabilities, in floating point, got torch.int64", (EVIDENCE, EVIDENCE.long()), {}),
        (TypeError, r"evidence must be a floating-point tensor, got torch.int64", (EVIDENCE.long(), TARGET), {}),
    ],
)
def test_errors_say_what_was_expected(error, message, arguments, options):
    with pytest.raises(error, match=message):
        ul.evidential_loss(*arguments, **options)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"weight": torch.ones(3)}])
@pytest.mark.parametrize("wrong", [3, -1, 255])
@pytest.mark.parametrize("ignored", [0, -100])
def test_index_out_of_range(wrong, ignored, options):
    with pytest.raises(ValueError, match=rf"class indices must be in \[0, 3\), or -100 to be ignored, got {wrong}"):
        ul.evidential_loss(EVIDENCE, torch.tensor([0, 1, ignored, wrong]), **options)


def test_index_to_ignore_may_be_any_number():
    expected = ul.evidential_loss(EVIDENCE[:3], TARGET[:3])
    for dtype, ignored in ((torch.int64, -1), (torch.int64, 7), (torch.uint8, 255)):
        target = torch.tensor([0, 1, 2, ignored]).to(dtype)
        torch.testing.assert_close(ul.evidential_loss(EVIDENCE, target, ignore_index=ignored), expected)


def test_candidates_by_vmap():
    """One sample, every target: evidence is a plain tensor there, targets are not."""
    losses = torch.func.vmap(lambda t: ul.evidential_loss(EVIDENCE[0], t))(torch.arange(3))
    expected = ul.evidential_loss(EVIDENCE[:1].expand(3, 3), torch.arange(3), reduction="none")
    torch.testing.assert_close(losses, expected)


def test_check_of_evidence_can_be_switched_off():
    negative = torch.tensor([[-0.25, 1.0]]), torch.tensor([1])
    with ul.check_evidence(False):
        ul.evidential_loss(*negative)
        with ul.check_evidence(True), pytest.raises(ValueError, match=r"got -0\.25"):
            ul.evidential_loss(*negative)
        ul.evidential_loss(*negative)
    with pytest.raises(ValueError, match=r"got -0\.25"):
        ul.evidential_loss(*negative)
    ul.check_evidence(False)
    ul.evidential_loss(*negative)
    ul.check_evidence(True)


def test_not_a_number_passes_the_check():
    loss = ul.evidential_loss(torch.tensor([[float("nan"), 1.0], [2.0, 1.0]]), torch.tensor([0, 0]), reduction="none")
    assert loss[0].isnan()
    assert loss[1].isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beside", [1.0, -0.0, math.nan, -math.nan, math.inf])
@pytest.mark.parametrize("value", [-1e-42, -0.25, -1e30, -math.inf])
def test_nothing_hides_a_negative_entry(value, beside, dtype):
    evidence = torch.tensor([[1.0, 2.0], [beside, value]], dtype=dtype)
    with pytest.raises(ValueError, match="must be >= 0"):
        ul.evidential_loss(evidence, torch.tensor([0, 0]))


def test_a_negative_zero_does_not_cut_off_a_gradient():
    evidence = torch.tensor([[1e12, 1e12, 0.0], [1.0, 1.0, -0.0]], requires_grad=True)
    ul.dirichlet_fisher_regularizer(evidence, torch.tensor([2, 2]), reduction="sum").backward()
    torch.testing.assert_close(evidence.grad[0], torch.tensor([0.25, 0.25, 0.0]))


def test_evidence_with_the_bits_of_its_negative():
    evidence = torch.complex(torch.zeros_like(EVIDENCE), -EVIDENCE).conj().imag
    assert evidence.is_neg()
    target = torch.zeros(len(EVIDENCE), dtype=torch.long)
    torch.testing.assert_close(ul.evidential_loss(evidence, target), ul.evidential_loss(EVIDENCE, target))
    with pytest.raises(ValueError, match="must be >= 0"):
        ul.evidential_loss(torch.complex(EVIDENCE, EVIDENCE).conj().imag, target)
