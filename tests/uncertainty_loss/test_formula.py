"""Derivatives on paper are those of the formula, and none goes missing where they do not serve."""

import re

import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

import uncertainty_loss as ul
from uncertainty_loss._formula import Regularized, row_losses
from uncertainty_loss._polynomial import constants
from uncertainty_loss._terms import sums
from uncertainty_loss.losses.evidential import ExpectedProbabilityNLL, ExpectedSquaredError
from uncertainty_loss.losses.maxnorm import ModerateErrorNorm, RealErrorNorm, WholeErrorNorm
from uncertainty_loss.regularizers import InformationTerm, WrongEvidenceKL

FORMULAS = [
    ExpectedSquaredError(),
    ExpectedProbabilityNLL(),
    *(WholeErrorNorm(p) for p in (1, 2, 3, 4, 8, 20)),
    *(ModerateErrorNorm(p) for p in (2, 3, 4, 8, 20)),
    RealErrorNorm(2.5),
    WrongEvidenceKL(),
    WrongEvidenceKL(0.25),
    InformationTerm(),
    InformationTerm(full_strength=True),
    Regularized(WholeErrorNorm(4), InformationTerm(), 0.3),
    Regularized(ExpectedSquaredError(), WrongEvidenceKL(), 0.3),
]


def name(formula):
    # The same in all processes that share the tests: without addresses.
    return re.sub(" object at 0x[0-9a-f]+", "", repr(formula))


@pytest.mark.parametrize("formula", FORMULAS, ids=name)
@pytest.mark.parametrize("classes", [1, 2, 3, 10])
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_slopes_are_those_of_the_formula(formula, classes, shape):
    if classes == 1 and isinstance(formula, ModerateErrorNorm):
        pytest.skip("for two classes or more")
    evidence = (4 * torch.randn(20, classes, *shape, dtype=torch.float64)).exp()
    index = torch.randint(classes, (20, 1, *shape))
    rows = sums(formula.terms(classes), evidence, index)
    leaves = [row.clone().requires_grad_() for row in rows]
    expected = formula(classes, *leaves)
    gradients = torch.autograd.grad(expected.sum(), leaves, materialize_grads=True)
    with torch.no_grad():
        losses, slopes = formula.with_slopes(classes, *rows)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-10, atol=1e-12)
    slopes = [slope.expand_as(losses) for slope in slopes]
    torch.testing.assert_close(slopes, list(gradients), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("formula", FORMULAS, ids=name)
def test_first_derivatives_for_a_second_one_are_the_same(formula):
    evidence = (2 * torch.randn(6, 5, dtype=torch.float64)).exp().requires_grad_()
    index = torch.randint(5, (6, 1))
    losses = row_losses(formula, evidence, index)
    weights = torch.rand(6, dtype=torch.float64)
    (plain,) = torch.autograd.grad(losses, evidence, weights, retain_graph=True)
    (again,) = torch.autograd.grad(losses, evidence, weights, create_graph=True)
    torch.testing.assert_close(again.detach(), plain)
    assert again.grad_fn is not None


def test_many_gradients_in_one_go(small_blocks):
    evidence, target = torch.rand(6, 5, dtype=torch.float64, requires_grad=True), torch.randint(5, (6,))
    for loss in (ul.maxnorm_loss, ul.evidential_loss):
        losses = loss(evidence, target, 0.1, reduction="none")
        one_by_one = torch.stack([torch.autograd.grad(row, evidence, retain_graph=True)[0] for row in losses])
        unit = torch.eye(6, dtype=torch.float64)
        (together,) = torch.autograd.grad(losses, evidence, unit, is_grads_batched=True)
        torch.testing.assert_close(together, one_by_one)


@pytest.mark.parametrize("formula", FORMULAS, ids=name)
def test_many_second_derivatives_in_one_go(formula):
    # Of some slopes nothing is left to differentiate: their gradients are zeros of one row beside those of many.
    evidence, index = torch.rand(2, 5, dtype=torch.float64), torch.randint(5, (2, 1))

    def hessian(vectorize):
        return torch.autograd.functional.hessian(
            lambda evidence: row_losses(formula, evidence, index).sum(), evidence, vectorize=vectorize
        )

    torch.testing.assert_close(hessian(True), hessian(False))


def test_a_factor_that_is_learned_has_a_gradient():
    evidence, target = torch.rand(6, 5, requires_grad=True), torch.randint(5, (6,))
    factor = torch.tensor(0.2, requires_grad=True)
    ul.maxnorm_loss(evidence, target, factor).backward()
    torch.testing.assert_close(factor.grad, ul.dirichlet_fisher_regularizer(evidence, target).detach())
    by_func = torch.func.grad(lambda f: ul.maxnorm_loss(evidence.detach(), target, f))(factor.detach())
    torch.testing.assert_close(by_func, factor.grad)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_factor_may_change_between_the_passes(create_graph):
    evidence, target = torch.rand(6, 5, requires_grad=True), torch.randint(5, (6,))
    (expected,) = torch.autograd.grad(ul.evidential_loss(evidence, target, 0.2), evidence)
    factor = torch.tensor(0.2)
    loss = ul.evidential_loss(evidence, target, factor)
    factor.fill_(9.0)
    (gradient,) = torch.autograd.grad(loss, evidence, create_graph=create_graph)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("factor", [True, np.array(0.5), np.float32(0.5), 2])
def test_a_factor_of_any_kind_of_number(factor):
    evidence, target = torch.rand(6, 5), torch.randint(5, (6,))

    def gradient(factor):
        leaf = evidence.clone().requires_grad_()
        ul.maxnorm_loss(leaf, target, factor).backward()
        return leaf.grad

    torch.testing.assert_close(gradient(factor), gradient(float(factor)))


def test_a_factor_is_one_number():
    evidence, target = torch.rand(6, 5), torch.randint(5, (6,))
    expected = ul.evidential_loss(evidence, target, 0.2)
    torch.testing.assert_close(ul.evidential_loss(evidence, target, torch.tensor([0.2])), expected)
    with pytest.raises(ValueError, match=r"reg_factor must be one number, got a tensor of shape \(6,\)"):
        ul.evidential_loss(evidence, target, torch.rand(6))


@pytest.mark.parametrize("loss", [ul.evidential_loss, ul.dirichlet_fisher_regularizer])
@pytest.mark.parametrize("classes", [2, 5])
def test_losses_of_rows_may_be_written_into(loss, classes):
    evidence, target = torch.rand(6, classes, requires_grad=True), torch.randint(classes, (6,))
    losses = loss(evidence, target, reduction="none")
    (expected,) = torch.autograd.grad(3 * losses[1:].sum(), evidence)
    losses = loss(evidence, target, reduction="none")
    losses *= 3
    losses[0] = 0
    torch.testing.assert_close(torch.autograd.grad(losses.sum(), evidence)[0], expected)


@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_of_the_evidence_run_once(create_graph):
    evidence, target = torch.rand(6, 5, requires_grad=True), torch.randint(5, (6,))
    (expected,) = torch.autograd.grad(ul.evidential_loss(evidence, target), evidence)
    evidence.register_hook(lambda gradient: 2 * gradient)
    loss = ul.evidential_loss(evidence, target)
    (doubled,) = torch.autograd.grad(loss, evidence, create_graph=create_graph)
    torch.testing.assert_close(doubled, 2 * expected)


@pytest.mark.parametrize("name", ul.loss_names())
def test_a_checkpoint_runs_its_region_twice(name):
    runs = []

    def region(outputs):
        runs.append(outputs)
        return ul.get_loss(name).function(outputs.exp(), target, 0.1)

    outputs, target = torch.rand(6, 5, requires_grad=True), torch.randint(5, (6,))
    checkpoint(region, outputs, use_reentrant=False).backward()
    assert len(runs) == 2


def test_plain_evidence_inside_a_transform():
    evidence, target = torch.rand(6, 5, requires_grad=True), torch.randint(5, (6,))
    scaled = torch.func.vmap(lambda scale: scale * ul.maxnorm_loss(evidence, target, 0.1))(torch.ones(3))
    torch.testing.assert_close(scaled, ul.maxnorm_loss(evidence, target, 0.1).expand(3))


def test_derivatives_after_a_backward_pass_in_inference_mode():
    constants.cache_clear()
    evidence, target = torch.rand(6, 5, requires_grad=True), torch.randint(5, (6,))
    loss = ul.maxnorm_loss(evidence, target, 0.1)
    with torch.inference_mode():
        (expected,) = torch.autograd.grad(loss, evidence)
    (gradient,) = torch.autograd.grad(ul.maxnorm_loss(evidence, target, 0.1), evidence, create_graph=True)
    torch.testing.assert_close(gradient.detach(), expected.clone())
    gradient.square().sum().backward()
