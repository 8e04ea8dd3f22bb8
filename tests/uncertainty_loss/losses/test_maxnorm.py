"""Max-norm: any p, the bound that it is, and its relation to EDL."""

import math
from functools import partial

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import uncertainty_loss as ul
from uncertainty_loss.losses.maxnorm import ModerateErrorNorm, error_norm


@pytest.mark.no_cover
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4, 8, 20, 21])
def test_sixty_digits(p, classes):
    evidence, target = oracle.rows(classes)
    function = partial(ul.dirichlet_pnorm_loss, p_norm=p, reduction="none")
    worst = oracle.errors(function, partial(oracle.error_norm, p=p), evidence, target, picks=3)
    assert worst[torch.float32][0] < 1e-5
    assert worst[torch.float32][1] < 1e-4
    assert max(worst[torch.float64]) < 1e-11


@pytest.mark.no_cover
@pytest.mark.parametrize("p", [1, 2, 3, 4, 8, 20])
def test_the_most_evidence_whose_powers_fit_in_a_float(p):
    classes = 4
    largest = float(error_norm(p).largest(classes))
    assert isinstance(error_norm(p).within(classes, largest), ModerateErrorNorm) == (p > 1)
    assert not isinstance(error_norm(p).within(classes, 1.001 * largest), ModerateErrorNorm)
    assert not isinstance(error_norm(p).within(1, 0.0), ModerateErrorNorm)
    evidence = min(largest, 1e12) * torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0], [1e-9, 1e-9, 0.0, 1e-5]])
    worst = oracle.errors(
        partial(ul.dirichlet_pnorm_loss, p_norm=p, reduction="none"),
        partial(oracle.error_norm, p=p),
        evidence,
        torch.zeros(3, dtype=torch.long),
    )
    assert worst[torch.float32][0] < 1e-5
    assert worst[torch.float32][1] < 1e-4


@pytest.mark.parametrize("p", [2, 3, 4, 8, 16, 20])
def test_derivatives_of_derivatives_and_small_gradients_there(p):
    evidence = 0.9 * error_norm(p).largest(4) * torch.tensor([[0.3, 0.9, 0.5, 0.7]])
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = evidence.to(dtype).requires_grad_()
        loss = ul.dirichlet_pnorm_loss(leaf, torch.tensor([0]), p)
        (small,) = torch.autograd.grad(loss * 1e-16, leaf, retain_graph=True)
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        (second,) = torch.autograd.grad((gradient * torch.arange(4).to(dtype)).sum(), leaf)
        found.append((small / gradient.detach().norm() * 1e16, second / second.norm()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 5, 6.5])
@pytest.mark.parametrize("kind", ["index", "probabilities"])
def test_gradcheck(p, kind):
    evidence = (3 * torch.randn(3, 4, dtype=torch.float64)).exp().requires_grad_()
    target = torch.tensor([0, 3, 1]) if kind == "index" else torch.rand(3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda e: ul.dirichlet_pnorm_loss(e, target, p), evidence)
    assert torch.autograd.gradgradcheck(lambda e: ul.dirichlet_pnorm_loss(e, target, p), evidence)


@given(st.lists(st.floats(0, 1e4), min_size=2, max_size=8), st.data())
def test_p_2_is_the_root_of_edl(evidence, data):
    target = torch.tensor([data.draw(st.integers(0, len(evidence) - 1))])
    evidence = torch.tensor([evidence], dtype=torch.float64)
    root = ul.dirichlet_mse_loss(evidence, target).sqrt()
    torch.testing.assert_close(ul.dirichlet_pnorm_loss(evidence, target, p_norm=2), root, rtol=1e-12, atol=1e-14)


@given(st.lists(st.floats(0, 50), min_size=2, max_size=5), st.sampled_from([1, 1.5, 2, 4, 8, 20]), st.data())
def test_bounds_the_expected_largest_error(evidence, p, data):
    c = data.draw(st.integers(0, len(evidence) - 1))
    evidence = torch.tensor(evidence, dtype=torch.float64)
    samples = torch.distributions.Dirichlet(evidence + 1).sample((2000,))
    samples[:, c] = 1 - samples[:, c]
    largest = samples.max(1).values
    bound = ul.dirichlet_pnorm_loss(evidence, torch.tensor(c), p)
    assert largest.mean() - 5 * largest.std() / 2000**0.5 <= bound + 1e-12


def test_whole_numbers_and_their_neighbours_agree():
    evidence, target = oracle.rows(5)
    whole = ul.dirichlet_pnorm_loss(evidence.double(), target, 3, "none")
    torch.testing.assert_close(ul.dirichlet_pnorm_loss(evidence.double(), target, 3 + 1e-9, "none"), whole)
    torch.testing.assert_close(ul.dirichlet_pnorm_loss(evidence.double(), target, 3.0, "none"), whole, rtol=0, atol=0)


def test_information_term_of_the_old_package():
    evidence, target = torch.rand(4, 3), torch.randint(3, (4,))
    expected = ul.dirichlet_pnorm_loss(evidence, target) + 0.5 * ul.dirichlet_fisher_regulizer(
        evidence, target, full_strength=True
    )
    torch.testing.assert_close(ul.maxnorm_loss(evidence, target, 0.5, full_strength=True), expected)


@pytest.mark.parametrize("p", [1, 1.5, 4])
def test_a_single_class_cannot_be_wrong(p):
    assert (ul.dirichlet_pnorm_loss(torch.rand(3, 1), torch.zeros(3, dtype=torch.long), p, "none") == 0).all()


@pytest.mark.parametrize("p", [0.5, math.inf, math.nan])
def test_p_is_at_least_one_and_finite(p):
    with pytest.raises(ValueError, match=f"p_norm must be >= 1 and finite, got {p}"):
        ul.maxnorm_loss(torch.rand(2, 3), torch.tensor([0, 1]), p_norm=p)
