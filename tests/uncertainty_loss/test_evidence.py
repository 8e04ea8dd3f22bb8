"""Evidence functions and conversions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import uncertainty_loss as ul

OUTPUTS = torch.tensor([-1e4, -30.0, -10.0, -1.0, 0.0, 1.0, 10.0, 30.0, 1e4], dtype=torch.float64)


def test_clamped_exp():
    expected = [math.exp(min(max(x, -10), 10)) for x in OUTPUTS.tolist()]
    torch.testing.assert_close(ul.clamped_exp(OUTPUTS), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(ul.clamped_exp(OUTPUTS, 1.0).max(), torch.tensor(math.e, dtype=torch.float64))


def test_soft_clamped_exp_is_exp_inside_and_tame_outside():
    evidence = ul.soft_clamped_exp(OUTPUTS)
    torch.testing.assert_close(evidence[2:7], OUTPUTS[2:7].exp())
    torch.testing.assert_close(evidence[7], torch.tensor(21 * math.exp(10), dtype=torch.float64))
    torch.testing.assert_close(evidence[1], torch.tensor(math.exp(-10) / 21, dtype=torch.float64))


@pytest.mark.parametrize("x", [-1e4, -30.0, -10.001, 10.001, 30.0, 1e4])
def test_soft_clamped_exp_never_loses_its_gradient(x):
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    ul.soft_clamped_exp(x).backward()
    assert x.grad > 1e-13
    assert torch.autograd.gradcheck(ul.soft_clamped_exp, x)
    dead = x.detach().clone().requires_grad_()
    ul.clamped_exp(dead).backward()
    assert dead.grad == 0


@pytest.mark.parametrize("edge", [-10.0, 10.0])
def test_soft_clamped_exp_has_no_kink(edge):
    x = torch.tensor([edge - 1e-9, edge, edge + 1e-9], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(ul.soft_clamped_exp(x).sum(), x)
    torch.testing.assert_close(slopes, torch.full_like(slopes, math.exp(edge)))


def test_softplus_and_relu():
    torch.testing.assert_close(ul.softplus(OUTPUTS[3:6]), torch.log1p(OUTPUTS[3:6].exp()))
    assert torch.equal(ul.relu(OUTPUTS), OUTPUTS.clamp(min=0))


@pytest.mark.parametrize("name", ul.evidence_function_names())
def test_evidence_is_increasing_and_not_negative(name):
    evidence = ul.get_evidence_function(name)(torch.linspace(-50, 50, 1001))
    assert (evidence >= 0).all()
    assert (evidence.diff() >= 0).all()


def test_unknown_evidence_function():
    with pytest.raises(ValueError, match=r"no evidence function is called 'sigmoid'; there are clamped_exp, relu"):
        ul.get_evidence_function("sigmoid")


def test_alpha_and_back():
    evidence = torch.rand(3, 4)
    torch.testing.assert_close(ul.alpha_to_evidence(ul.evidence_to_alpha(evidence, 0.5), 0.5), evidence)
    assert ul.alpha_to_evidence(torch.tensor(0.25)) == 0


@given(st.lists(st.floats(0, 2.0**125, width=32), min_size=1, max_size=6), st.sampled_from([0.1, 1.0]))
def test_probabilities_sum_to_one(evidence, prior):
    probabilities = ul.evidence_to_proba(torch.tensor([evidence]), prior)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(1))
    assert (probabilities >= 0).all()


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 4, 5)])
def test_probabilities_by_shape(shape):
    evidence = torch.rand(shape)
    dim = 0 if len(shape) == 1 else 1
    alpha = evidence + 1
    torch.testing.assert_close(ul.evidence_to_proba(evidence), alpha / alpha.sum(dim, keepdim=True))


def test_probabilities_at_the_ends():
    torch.testing.assert_close(ul.evidence_to_proba(torch.zeros(1, 4)), torch.full((1, 4), 0.25))
    torch.testing.assert_close(ul.evidence_to_proba(torch.tensor([[math.inf, 0.0]])), torch.tensor([[1.0, 0.0]]))
    half = ul.evidence_to_proba(torch.tensor([[6e4, 0.0]], dtype=torch.float16))
    assert half.dtype == torch.float16
    with pytest.raises(ValueError, match="evidence must be >= 0"):
        ul.evidence_to_proba(torch.tensor([[-1.0, 2.0]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_soft_clamp_of_half_precision_does_not_overflow(dtype):
    x = torch.tensor([[20.0, -20.0, 30.0]], dtype=dtype, requires_grad=True)
    evidence = ul.soft_clamped_exp(x)
    torch.testing.assert_close(evidence, ul.soft_clamped_exp(x.detach().float()))
    ul.evidential_loss(evidence, torch.tensor([1])).backward()
    assert x.grad.isfinite().all()
