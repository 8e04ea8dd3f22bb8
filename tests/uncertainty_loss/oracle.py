"""The losses as the papers print them, in mpmath with 60 digits: slow, and nothing in common with the package.

Every function takes the evidence of one row as a list of mpf, the true class and options, and returns the loss of
that row. Gradients are central differences, whose step of 1e-25 leaves more than 20 digits.
"""

import math

import mpmath
import torch

mpmath.mp.dps = 60


def squared_error(alpha, c):
    total = sum(alpha)
    p = [a / total for a in alpha]
    return sum(((k == c) - q) ** 2 + q * (1 - q) / (total + 1) for k, q in enumerate(p))


def dirichlet_kl(alpha, beta):
    total, flat = sum(alpha), sum(beta)
    value = mpmath.loggamma(total) - mpmath.loggamma(flat)
    for a, b in zip(alpha, beta, strict=True):
        value += mpmath.loggamma(b) - mpmath.loggamma(a)
        value += (a - b) * (mpmath.digamma(a) - mpmath.digamma(total))
    return value


def wrong_kl(e, c, prior=1):
    prior = mpmath.mpf(prior)
    return dirichlet_kl([(0 if k == c else x) + prior for k, x in enumerate(e)], [prior] * len(e))


def evidential(e, c, reg=0):
    return squared_error([x + 1 for x in e], c) + reg * wrong_kl(e, c)


def evidential_log(e, c, reg=0):
    alpha = [x + 1 for x in e]
    return mpmath.log(sum(alpha)) - mpmath.log(alpha[c]) + reg * wrong_kl(e, c)


def evidential_digamma(e, c, reg=0):
    alpha = [x + 1 for x in e]
    return mpmath.digamma(sum(alpha)) - mpmath.digamma(alpha[c]) + reg * wrong_kl(e, c)


def information_term(e, c, full=False):
    alpha = [x + 1 for x in e]
    own = alpha[c]
    alpha[c] = mpmath.mpf(1)
    total = sum(alpha) - 1 + own if full else sum(alpha)
    return sum((a - 1) ** 2 * (mpmath.psi(1, a) - mpmath.psi(1, total)) for a in alpha) / 2


def error_norm(e, c, p=4):
    alpha, p = [x + 1 for x in e], mpmath.mpf(p)
    total = sum(alpha)

    def moment(a):
        if a == 0:
            return mpmath.mpf(0)
        log = mpmath.loggamma(a + p) - mpmath.loggamma(a) + mpmath.loggamma(total) - mpmath.loggamma(total + p)
        return mpmath.exp(log)

    return sum(moment(total - a if k == c else a) for k, a in enumerate(alpha)) ** (1 / p)


def maxnorm(e, c, reg=0, p=4):
    return error_norm(e, c, p) + reg * information_term(e, c)


def information(e, c, reg=0, weight=0.005):
    alpha = [x + 1 for x in e]
    total = sum(alpha)
    fisher = [mpmath.psi(1, a) for a in alpha]
    loss = mpmath.mpf(0)
    for k, (a, f) in enumerate(zip(alpha, fisher, strict=True)):
        q = a / total
        loss += f * (((k == c) - q) ** 2 + q * (1 - q) / (total + 1))
    determinant = sum(mpmath.log(f) for f in fisher)
    determinant += mpmath.log(1 - sum(mpmath.psi(1, total) / f for f in fisher))
    return loss - weight * determinant + reg * wrong_kl(e, c)


def relaxed(e, c, reg=0, prior=0.1):
    alpha = [x + mpmath.mpf(prior) for x in e]
    total = sum(alpha)
    return sum(((k == c) - a / total) ** 2 for k, a in enumerate(alpha)) + reg * wrong_kl(e, c, prior)


def uce(e, c, reg=0):
    alpha = [x + 1 for x in e]
    total = sum(alpha)
    entropy = sum(mpmath.loggamma(a) for a in alpha) - mpmath.loggamma(total)
    entropy -= sum((a - 1) * (mpmath.digamma(a) - mpmath.digamma(total)) for a in alpha)
    return mpmath.digamma(total) - mpmath.digamma(alpha[c]) - reg * entropy


def belief_matching(e, c, reg=0):
    return mpmath.digamma(sum(e)) - mpmath.digamma(e[c]) + reg * dirichlet_kl(e, [mpmath.mpf(1)] * len(e))


def prior_network(e, c, reg=0):
    return dirichlet_kl([x + 1 for x in e], [mpmath.mpf(101 if k == c else 1) for k in range(len(e))])


LOSSES = {
    "evidential": evidential,
    "evidential-log": evidential_log,
    "evidential-digamma": evidential_digamma,
    "maxnorm": maxnorm,
    "i-edl": information,
    "r-edl": relaxed,
    "re-edl": lambda e, c, reg=0: relaxed(e, c, reg, prior=0.8),
    "uce": uce,
    "belief-matching": belief_matching,
    "prior-network": prior_network,
}


def exact(row):
    """A row of a tensor as it is, digit for digit."""
    return [mpmath.mpf(x) for x in row.tolist()]


def slope(function, e, k):
    """Derivative of function(e) by e[k]."""
    h = mpmath.mpf(10) ** -25 * max(1, abs(e[k]))
    up, down = list(e), list(e)
    up[k], down[k] = e[k] + h, e[k] - h
    return (function(up) - function(down)) / (2 * h)


def rows(classes, seed=0):
    """Evidence (n, classes) in float32 and targets: what a network can say, from nothing to S = 1e7."""
    draw = torch.Generator().manual_seed(seed)

    def logits(low, high):
        return low + (high - low) * torch.rand(classes, generator=draw)

    spread, little, some = logits(-10, 10).exp(), logits(-10, -7).exp(), logits(-2, 2).exp()
    right, wrong, torn = some.clone(), some.clone(), some.clone()
    right[0], wrong[1], torn[:2] = 1e7, 1e7, 1e6
    everything = logits(-1, 1).exp() * (1e7 / classes)
    clamped = logits(-30, 30).clamp(-10, 10).exp()
    evidence = torch.stack([spread, little, some, right, wrong, torn, everything, clamped, torch.zeros(classes)])
    return evidence, torch.zeros(len(evidence), dtype=torch.long)


def errors(function, oracle, evidence, target):
    """Largest error of value (relative, by 0.1 below: 1e-6 in the units of 1e-5) and gradient (to the row's largest).

    Args:
        function: (evidence, target) -> losses of the rows.
        oracle: (list of mpf, class) -> mpf.
    """
    evidence = evidence.clone().requires_grad_()
    values = function(evidence, target)
    (gradient,) = torch.autograd.grad(values.sum(), evidence)
    worst_value, worst_slope = 0.0, 0.0
    for e, c, value, grad in zip(evidence.detach(), target.tolist(), values.tolist(), gradient, strict=True):
        truth = oracle(exact(e), c)
        worst_value = max(worst_value, float(abs(value - truth) / max(abs(truth), mpmath.mpf("0.1"))))
        k = len(e)
        picks = range(k) if k <= 3 else sorted({c, 1, 2, int(e.argmax()), int(e.argmin()), k - 1})
        slopes = {j: slope(lambda x, c=c: oracle(x, c), exact(e), j) for j in picks}
        largest = max(max(abs(s) for s in slopes.values()), mpmath.mpf(10) ** -30)
        wrong = max(float(abs(grad[j].item() - s) / largest) for j, s in slopes.items())
        worst_slope = max(worst_slope, math.inf if math.isnan(wrong) else wrong)
    return math.inf if math.isnan(worst_value) else worst_value, worst_slope
