"""evidence(linear(features) / temperature): Dirichlet parameters, shares, and the temperature that suits."""

import numpy as np
import pytest
import torch
from scipy import optimize, special
from sklearn.metrics import log_loss

import uncertainty_loss as ul
from ulcli.model.head import Head
from ulcli.network.linear import Linear


@pytest.mark.parametrize("prior", [1.0, 0.1])
def test_alpha(prior):
    head, x = Head(Linear(torch.randn(3, 5), torch.randn(3)), "clamped_exp", prior), 4 * torch.randn(50, 5)
    logits = x.double().numpy() @ head.linear.weight.double().numpy().T + head.linear.bias.double().numpy()
    assert np.abs(logits).max() > 10  # beyond the clamp as well
    alpha = head.alpha(x)
    assert alpha.dtype == torch.float64
    np.testing.assert_allclose(alpha, np.exp(np.clip(logits, -10, 10)) + prior, rtol=1e-12)


def problem(n=400, classes=4, sharpness=1.0, seed=0):
    """Outputs that are `sharpness` times what the labels bear out, as features of an identity layer."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=random)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    return sharpness * logits, labels


def identity_head(prior, classes=4):
    return Head(Linear(torch.eye(classes), torch.zeros(classes)), "clamped_exp", prior)


def test_shares_of_the_evidence():
    head = Head(Linear(torch.randn(3, 5), torch.randn(3)), "softplus", 1.0, temperature=2.5)
    x = 4 * torch.randn(50, 5)
    evidence = np.logaddexp(0, head.linear(x).numpy() / 2.5)
    np.testing.assert_allclose(head.shares(x), evidence / evidence.sum(1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(head.alpha(x), evidence + 1, rtol=1e-12)


def test_shares_of_exponentials_know_no_clamp():
    outputs = torch.tensor([[40.0, 39.0, 12.0], [3.0, -30.0, -31.0]])
    shares = Head(Linear(torch.eye(3), torch.zeros(3)), "clamped_exp", 1.0, temperature=2.0).shares(outputs)
    np.testing.assert_allclose(shares, special.softmax(outputs.double().numpy() / 2, axis=1), rtol=1e-12)


def test_no_evidence_at_all_is_shared_evenly():
    head = Head(Linear(-torch.ones(4, 2), torch.zeros(4)), "relu", 1.0)
    np.testing.assert_allclose(head.shares(torch.ones(3, 2)), 0.25)


def of_alpha(x):
    return lambda head: ul.expected_probability(head.alpha(x))


@pytest.mark.parametrize("prior", [1.0, 0.1])
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_the_temperature_maximises_the_likelihood_of_the_confidence(prior, sharpness):
    x, y = problem(sharpness=sharpness)
    outputs, right = x.double().numpy(), (x.argmax(1) == y).numpy()

    def nll(log_temperature):
        alpha = np.exp(np.clip(outputs / np.exp(log_temperature), -10, 10)) + prior
        return log_loss(right, alpha.max(1) / alpha.sum(1))

    best = optimize.minimize_scalar(nll, bounds=(np.log(1 / 16), np.log(16)), method="bounded", options={"xatol": 1e-8})
    scan = min(map(nll, np.linspace(np.log(1 / 16), np.log(16), 300)))
    head = identity_head(prior).calibrated(x, y, of_alpha(x))
    assert nll(np.log(head.temperature)) <= min(best.fun, scan) + 1e-8
    if best.fun <= scan:
        assert head.temperature == pytest.approx(np.exp(best.x), rel=1e-3)


def test_the_confidence_comes_true_even_where_the_other_classes_are_wrong():
    # Confidence 1 / (1 + e^(-1/T) + e^(-8/T)); all errors are in the class that seems out of the question.
    x = torch.tensor([[3.0, 2.0, -5.0]]).repeat(100, 1)
    y = torch.tensor([0] * 80 + [2] * 20)
    head = identity_head(1.0, classes=3).calibrated(x, y, lambda head: head.shares(x))
    exact = optimize.brentq(lambda t: 1 / (1 + np.exp(-1 / t) + np.exp(-8 / t)) - 0.8, 0.1, 16)
    assert head.temperature == pytest.approx(exact, rel=1e-3)


def test_confidence_that_rounds_to_one():
    # Beyond 1 - 2^-53; only the sum of the other shares still tells how much doubt there is.
    x = torch.tensor([[80.0, 0.0, 0.0], [0.0, 80.0, 0.0]])
    head = identity_head(1.0, classes=3).calibrated(x, torch.tensor([0, 0]), lambda head: head.shares(x))
    assert head.temperature == pytest.approx(16, rel=1e-2)  # half of them are wrong: as little confidence as allowed


def test_calibration_keeps_the_classes():
    x, y = problem(sharpness=3)
    before = identity_head(1.0)
    after = before.calibrated(x, y, of_alpha(x))
    assert after.temperature > 1.5
    x = x[x.amax(1) < 10]  # beyond the clamp a temperature can tell apart what was alike
    assert torch.equal(after.alpha(x).argmax(1), before.alpha(x).argmax(1))
    np.testing.assert_allclose(after.alpha(x), before.alpha(x / after.temperature), rtol=1e-6)


def test_nothing_wrong_says_nothing_of_the_temperature():
    x, _ = problem()
    head = identity_head(1.0)
    assert head.calibrated(x, x.argmax(1), of_alpha(x)).temperature == 1
    one_wrong = x.argmax(1)
    one_wrong[0] = x[0].argmin()
    assert head.calibrated(x, one_wrong, of_alpha(x)).temperature != 1
