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


def times(weight, regularizer, *arguments):
    """weight · regularizer(...), without the work where the weight is zero."""
    return weight * regularizer(*arguments) if weight else 0


def evidential(e, c, reg=0):
    return squared_error([x + 1 for x in e], c) + times(reg, wrong_kl, e, c)


def evidential_log(e, c, reg=0):
    alpha = [x + 1 for x in e]
    return mpmath.log(sum(alpha)) - mpmath.log(alpha[c]) + times(reg, wrong_kl, e, c)


def evidential_digamma(e, c, reg=0):
    alpha = [x + 1 for x in e]
    return mpmath.digamma(sum(alpha)) - mpmath.digamma(alpha[c]) + times(reg, wrong_kl, e, c)


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
    return error_norm(e, c, p) + times(reg, information_term, e, c)


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
    return loss - weight * determinant + times(reg, wrong_kl, e, c)


def relaxed(e, c, reg=0, prior=0.1):
    alpha = [x + mpmath.mpf(prior) for x in e]
    total = sum(alpha)
    return sum(((k == c) - a / total) ** 2 for k, a in enumerate(alpha)) + times(reg, wrong_kl, e, c, prior)


def entropy(alpha):
    total = sum(alpha)
    value = sum(mpmath.loggamma(a) for a in alpha) - mpmath.loggamma(total)
    return value - sum((a - 1) * (mpmath.digamma(a) - mpmath.digamma(total)) for a in alpha)


def uce(e, c, reg=0):
    alpha = [x + 1 for x in e]
    return mpmath.digamma(sum(alpha)) - mpmath.digamma(alpha[c]) - times(reg, entropy, alpha)


def belief_matching(e, c, reg=0):
    flat = [mpmath.mpf(1)] * len(e)
    return mpmath.digamma(sum(e)) - mpmath.digamma(e[c]) + times(reg, dirichlet_kl, e, flat)


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
    """Evidence (10, classes) in float32 and targets (10): what a network can say, from nothing to S = 1e7."""
    draw = torch.Generator().manual_seed(seed)

    def logits(low, high):
        return low + (high - low) * torch.rand(classes, generator=draw)

    spread, little, some = logits(-10, 10).exp(), logits(-10, -7).exp(), logits(-2, 2).exp()
    right, wrong, torn = some.clone(), some.clone(), some.clone()
    right[0], wrong[1], torn[:2] = 1e7, 1e7, 1e6
    everything = logits(-1, 1).exp() * (1e7 / classes)
    clamped = logits(-30, 30).clamp(-10, 10).exp()
    alike = logits(-4.5, -3.5).exp()
    evidence = torch.stack([right, wrong, spread, clamped, torn, everything, some, alike, little, torch.zeros(classes)])
    return evidence, torch.zeros(len(evidence), dtype=torch.long)


def errors(function, oracle, evidence, target, picks=6):
    """Worst errors of value and gradient: {torch.float32: (value, gradient), torch.float64: (value, gradient)}.

    Values: relative, from 0.1 up; below, in units of 0.1, so that 1e-5 stands for 1e-6. Gradients: to the largest
    component of the row. Every row is looked at beside the others and by itself: a batch without much evidence is
    computed another way.

    Args:
        function: (evidence, target) -> losses of the rows.
        oracle: (list of mpf, class) -> mpf.
        evidence: (n, classes), float32.
        target: (n).
        picks: Components of the gradient to look at, beside those of most and least evidence.
    """
    results = {dtype: [] for dtype in (torch.float32, torch.float64)}
    for dtype, ways in results.items():
        for size in (len(evidence), 1):
            # Values as they come where no gradient is asked for: some functions then do with fewer digits.
            parts = list(zip(evidence.to(dtype).split(size), target.split(size), strict=True))
            values = torch.cat([function(*part) for part in parts]).tolist()
            leaves = [(e.clone().requires_grad_(), c) for e, c in parts]
            gradients = torch.autograd.grad(sum(function(*leaf).sum() for leaf in leaves), [e for e, _ in leaves])
            ways.append((values, torch.cat(gradients)))
    worst = dict.fromkeys(results, (0.0, 0.0))
    for row, (e, c) in enumerate(zip(evidence, target.tolist(), strict=True)):
        some = {c, int(e.argmax()), int(e.argmin()), *range(len(e))[:picks]}
        value = oracle(exact(e), c)
        slopes = {k: slope(lambda x, c=c: oracle(x, c), exact(e), k) for k in some}
        size = max(abs(value), mpmath.mpf("0.1"))
        largest = max(mpmath.mpf("1e-20"), *(abs(s) for s in slopes.values()))
        for dtype, (values, gradient) in ((dtype, way) for dtype, ways in results.items() for way in ways):
            value_error = float(abs(values[row] - value) / size)
            slope_error = max(float(abs(gradient[row, k].item() - s) / largest) for k, s in slopes.items())
            worst[dtype] = max_or_nan(worst[dtype][0], value_error), max_or_nan(worst[dtype][1], slope_error)
    return worst


def max_or_nan(a, b):
    """The larger; infinite if one is not a number, so that no comparison lets it pass."""
    return math.inf if math.isnan(a) or math.isnan(b) else max(a, b)
