"""KL divergence and information term, by themselves."""

from functools import partial

import oracle
import pytest
import torch

import uncertainty_loss as ul
from uncertainty_loss._formula import row_losses
from uncertainty_loss.regularizers import Information, WrongEvidenceKL


@pytest.mark.no_cover
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize(
    ("function", "exact"),
    [
        (ul.uniform_dirichlet_kl, oracle.wrong_kl),
        (ul.dirichlet_fisher_regularizer, oracle.information_term),
        (
            partial(ul.dirichlet_fisher_regularizer, full_strength=True),
            partial(oracle.information_term, full=True),
        ),
    ],
    ids=["kl", "information", "information with the full S"],
)
def test_sixty_digits(function, exact, classes):
    evidence, target = oracle.rows(classes)
    worst = oracle.errors(partial(function, reduction="none"), exact, evidence, target)
    assert worst[torch.float32][0] < 1e-5
    assert worst[torch.float32][1] < 1e-4
    assert max(worst[torch.float64]) < 1e-11


@pytest.mark.parametrize("full", [False, True])
def test_information_of_probabilities_in_double(full):
    evidence = torch.tensor([[1e7, 3.0, 0.2], [1e7, 5e-5, 7e-5]], dtype=torch.float64)
    target = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64).expand(2, 3)
    got = ul.dirichlet_fisher_regularizer(evidence, target, "none", full_strength=full)
    for value, row in zip(got.tolist(), evidence, strict=True):
        terms = (oracle.information_term(oracle.exact(row), c, full) for c in range(3))
        truth = sum(oracle.mpmath.mpf(t) * term for t, term in zip(target[0].tolist(), terms, strict=True))
        assert abs(value - truth) < 2e-11 * truth


@pytest.mark.no_cover
@pytest.mark.parametrize("share", [0.3, 0.49, 0.5, 0.505, 0.51, 0.515, 0.52, 0.7, 0.99])
@pytest.mark.parametrize("total", [0.01, 5.0, 1e3, 1e8])
def test_information_of_a_class_with_most_of_the_evidence(share, total):
    wrong = torch.tensor([share, *[(1 - share) * part for part in (0.9, 0.1, 0.0)]]) * total
    evidence = torch.cat([torch.tensor([2.0]), wrong])[None]
    truth = oracle.information_term(oracle.exact(evidence[0]), 0)
    got = ul.dirichlet_fisher_regularizer(evidence, torch.tensor([0]))
    assert abs(got.item() - truth) < 1e-6 * truth
    double = ul.dirichlet_fisher_regularizer(evidence.double(), torch.tensor([0]))
    assert abs(double.item() - truth) < 1e-13 * truth


def test_kl_agrees_with_torch():
    evidence, target = 5 * torch.rand(6, 4, dtype=torch.float64), torch.randint(4, (6,))
    alpha = evidence.scatter(1, target[:, None], 0.0) + 1
    dirichlet = torch.distributions.Dirichlet
    expected = torch.distributions.kl_divergence(dirichlet(alpha), dirichlet(torch.ones_like(alpha)))
    torch.testing.assert_close(ul.uniform_dirichlet_kl(evidence, target, "none"), expected)


@pytest.mark.no_cover
@pytest.mark.parametrize("prior", [1.0, 0.1, 2.0])
@pytest.mark.parametrize("logit", [-10.0, -6.0, -4.6, -3.9, -2.5, 0.0])
def test_kl_of_a_thousand_classes_with_a_little_evidence_each(logit, prior):
    """Their linear parts are a thousand times what is left of them."""
    evidence, target = torch.full((1, 1000), logit).exp(), torch.tensor([0])

    def kl(evidence):
        formula = WrongEvidenceKL(torch.tensor(prior, dtype=evidence.dtype).item())
        return row_losses(formula, evidence, target[:, None]).item()

    truth = oracle.wrong_kl(oracle.exact(evidence[0]), 0, prior)
    assert abs(kl(evidence) - truth) < 1e-5 * max(truth, 0.1)
    assert abs(kl(evidence.requires_grad_()) - truth) < 1e-5 * max(truth, 0.1)
    assert abs(kl(evidence.double()) - truth) < 1e-12 * max(truth, 0.1)


def test_a_thousand_classes_without_evidence_diverge_by_nothing():
    evidence = torch.full((2, 1000), 4.5e-5)
    assert ul.uniform_dirichlet_kl(evidence, torch.tensor([0, 5]), "none").abs().max() < 1e-6


def test_the_total_of_a_thousand_classes_keeps_its_digits():
    evidence = torch.full((1, 1000), 1e-3).requires_grad_()
    value = ul.uniform_dirichlet_kl(evidence, torch.tensor([0])).item()
    truth = oracle.wrong_kl(oracle.exact(evidence.detach()[0]), 0)
    assert abs(value - truth) < 5e-5 * truth


def test_information_whose_two_sums_differ_by_rounding():
    evidence = torch.tensor([[2e5, 3e5, 2.5e5, 0.0]])
    total = evidence.sum(1, keepdim=True)
    w = 1 / (total + 4.25)
    exact = Information().sums(evidence, total, w)
    for rounding in (-1.25, -4.0, 4.0):
        torch.testing.assert_close(Information().sums(evidence, total + rounding, w), exact, rtol=1e-5, atol=0)


def test_information_of_two_classes_is_a_square():
    wrong = torch.tensor([1e-4, 0.5, 3.0, 1e3, 1e7], requires_grad=True)
    evidence = torch.stack([torch.ones(5), wrong], 1)
    term = ul.dirichlet_fisher_regularizer(evidence, torch.zeros(5, dtype=torch.long), "none")
    share = wrong.double() / (wrong.double() + 1)
    torch.testing.assert_close(term.double(), share.square() / 2, rtol=1e-5, atol=1e-9)
    (slope,) = torch.autograd.grad(term.sum(), wrong)
    torch.testing.assert_close(slope.double(), (share / (wrong.double() + 1).square()).detach(), rtol=1e-4, atol=0)


def test_evidence_for_the_true_class_is_free_but_for_the_full_s():
    evidence = torch.rand(5, 3, dtype=torch.float64, requires_grad=True)
    target = torch.zeros(5, dtype=torch.long)
    for function in (ul.uniform_dirichlet_kl, ul.dirichlet_fisher_regularizer):
        (gradient,) = torch.autograd.grad(function(evidence, target), evidence)
        assert (gradient[:, 0] == 0).all()
    full = partial(ul.dirichlet_fisher_regularizer, target=target, full_strength=True)
    (gradient,) = torch.autograd.grad(full(evidence), evidence)
    assert (gradient[:, 0] > 0).all()
    assert torch.autograd.gradcheck(full, evidence)
    assert torch.autograd.gradgradcheck(full, evidence)
    soft = torch.nn.functional.one_hot(target, 3).double()
    torch.testing.assert_close(ul.dirichlet_fisher_regularizer(evidence, soft, full_strength=True), full(evidence))


def test_sum_and_none_cost_nothing_extra():
    evidence, target = torch.rand(7, 4), torch.randint(4, (7,))
    rows = ul.uniform_dirichlet_kl(evidence, target, "none")
    assert rows.shape == (7,)
    torch.testing.assert_close(ul.uniform_dirichlet_kl(evidence, target, "sum"), rows.sum())


def test_old_spelling():
    assert ul.dirichlet_fisher_regulizer is ul.dirichlet_fisher_regularizer
