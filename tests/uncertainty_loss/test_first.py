"""The promise to existing users: the calls of 0.1.2 run and give the values of the formulas."""

import mpmath
import pytest
import torch

import uncertainty_loss as ul

mpmath.mp.dps = 60


def rows(seed=0, n=7, classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(n, classes, generator=generator)
    return logits, torch.randint(classes, (n,), generator=generator)


def edl(evidence, c, reg):
    alpha = [mpmath.mpf(e) + 1 for e in evidence]
    total, classes = sum(alpha), len(alpha)
    loss = sum(((k == c) - a / total) ** 2 + a * (total - a) / total**2 / (total + 1) for k, a in enumerate(alpha))
    alpha[c] = mpmath.mpf(1)
    total = sum(alpha)
    kl = mpmath.loggamma(total) - mpmath.loggamma(classes) - sum(mpmath.loggamma(a) for a in alpha)
    kl += sum((a - 1) * (mpmath.digamma(a) - mpmath.digamma(total)) for a in alpha)
    return loss + reg * kl


def maxnorm(evidence, c, reg, p=4):
    alpha = [mpmath.mpf(e) + 1 for e in evidence]
    total = sum(alpha)
    power = sum(mpmath.rf(total - a if k == c else a, p) / mpmath.rf(total, p) for k, a in enumerate(alpha))
    alpha[c] = mpmath.mpf(1)
    trigamma = [mpmath.psi(1, a) - mpmath.psi(1, sum(alpha)) for a in alpha]
    information = sum((a - 1) ** 2 * t for a, t in zip(alpha, trigamma, strict=True)) / 2
    return power ** (mpmath.mpf(1) / p) + reg * information


@pytest.mark.parametrize(("loss", "oracle"), [(ul.evidential_loss, edl), (ul.maxnorm_loss, maxnorm)])
@pytest.mark.parametrize("reg_factor", [0.0, 0.5])
def test_values(loss, oracle, reg_factor):
    logits, target = rows()
    evidence = ul.clamped_exp(logits).double()
    expected = [float(oracle(e, c, reg_factor)) for e, c in zip(evidence.tolist(), target.tolist(), strict=True)]
    got = loss(evidence, target, reg_factor, reduction="none")
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(loss(evidence, target, reg_factor), got.mean())
    torch.testing.assert_close(loss(evidence, target, reg_factor, reduction="sum"), got.sum())


@pytest.mark.parametrize("name", ul.loss_names())
def test_dense_targets(name):
    evidence, target = torch.rand(2, 3, 4, 1), torch.randint(3, (2, 4, 1))
    dense = ul.get_loss(name).function(evidence, target, 0.1, reduction="none")
    flat = ul.get_loss(name).function(evidence.movedim(1, -1).reshape(-1, 3), target.reshape(-1), 0.1, reduction="none")
    assert dense.shape == (2, 4, 1)
    torch.testing.assert_close(dense.reshape(-1), flat)


def test_unknown_loss():
    with pytest.raises(ValueError, match="no loss is called 'hinge'; there are belief-matching, evidential"):
        ul.get_loss("hinge")


def test_unknown_reduction():
    with pytest.raises(ValueError, match="got 'median'"):
        ul.evidential_loss(torch.ones(1, 2), torch.zeros(1, dtype=torch.long), reduction="median")
