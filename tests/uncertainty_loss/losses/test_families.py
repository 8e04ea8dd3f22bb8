"""What holds for single families beyond the checklist of `test_registry`."""

from functools import partial

import oracle
import pytest
import torch

import uncertainty_loss as ul

EVIDENCE = torch.tensor([[4.0, 0.5, 0.0], [0.0, 0.0, 0.0], [1e3, 20.0, 3.0]], dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2])


def dirichlet(alpha):
    return torch.distributions.Dirichlet(alpha)


def test_edl_is_an_expectation():
    samples = dirichlet(EVIDENCE + 1).sample((40_000,))
    y = torch.nn.functional.one_hot(TARGET, 3)
    errors = (y - samples).square().sum(-1)
    sampled = errors.mean(0)
    spread = 5 * errors.std(0) / 200
    assert ((ul.evidential_loss(EVIDENCE, TARGET, reduction="none") - sampled).abs() <= spread).all()
    logs = -samples.log().gather(2, TARGET.expand(40_000, 3).unsqueeze(-1)).squeeze(-1)
    spread = 5 * logs.std(0) / 200
    assert ((ul.evidential_digamma_loss(EVIDENCE, TARGET, reduction="none") - logs.mean(0)).abs() <= spread).all()


def test_log_form_is_cross_entropy_of_the_mean():
    expected = torch.nn.functional.nll_loss(ul.evidence_to_proba(EVIDENCE).log(), TARGET)
    torch.testing.assert_close(ul.evidential_log_loss(EVIDENCE, TARGET), expected)


def test_regulariser_is_added():
    kl = ul.uniform_dirichlet_kl(EVIDENCE, TARGET)
    for loss in (ul.evidential_loss, ul.evidential_log_loss, ul.evidential_digamma_loss):
        torch.testing.assert_close(loss(EVIDENCE, TARGET, 0.7), loss(EVIDENCE, TARGET) + 0.7 * kl)


def test_positional_arguments_as_in_the_old_package():
    torch.testing.assert_close(
        ul.evidential_loss(EVIDENCE, TARGET, 0.5, "sum"), ul.evidential_loss(EVIDENCE, TARGET, 0.5) * 3
    )
    torch.testing.assert_close(
        ul.maxnorm_loss(EVIDENCE, TARGET, 0.5, 3, "sum"), ul.maxnorm_loss(EVIDENCE, TARGET, 0.5, p_norm=3) * 3
    )


def test_information_of_one_class():
    with pytest.raises(ValueError, match="the Fisher information of one class is zero"):
        ul.information_loss(torch.rand(2, 1), torch.tensor([0, 0]))
    assert ul.information_loss(torch.rand(2, 1), torch.tensor([0, 0]), information_weight=0) == 0


@pytest.mark.parametrize(("prior", "classes"), [(0.1, 11), (0.8, 11), (0.8, 6)])
def test_evidence_at_a_bound_that_float32_rounds_up(prior, classes):
    # In float32 it is not large, in double it would be.
    evidence = torch.zeros(1, classes)
    evidence[0, 1] = prior * classes
    assert evidence.double().sum() > prior * classes
    function = partial(ul.relaxed_loss, prior=prior, reg_factor=1, reduction="none")
    exact = partial(oracle.relaxed, reg=1, prior=prior)
    value, gradient = oracle.errors(function, exact, evidence, torch.tensor([0]))[torch.float32]
    assert value < 1e-5
    assert gradient < 1e-4


@pytest.mark.parametrize(("prior", "crossing"), [(0.1, 0.012416), (0.3, 0.208638)])
def test_a_class_whose_gradient_vanishes_beside_others_with_a_million_times_its_evidence(prior, crossing):
    evidence = torch.tensor([[2e5, crossing, 1e5, 1.5e5, 1.2e5], [0.0, crossing, 1e5, 1.5e5, 1.2e5]])
    function = partial(ul.relaxed_loss, prior=prior, reg_factor=0.1, reduction="none")
    exact = partial(oracle.relaxed, reg=0.1, prior=prior)
    worst = oracle.errors(function, exact, evidence, torch.zeros(2, dtype=torch.long))
    assert worst[torch.float32][1] < 1e-5


def test_relaxed_prior():
    with pytest.raises(ValueError, match="prior must be > 0, got 0"):
        ul.relaxed_loss(EVIDENCE, TARGET, prior=0)
    y = torch.nn.functional.one_hot(TARGET, 3)
    expected = (y - ul.evidence_to_proba(EVIDENCE, prior=0.4)).square().sum(1).mean()
    torch.testing.assert_close(ul.relaxed_loss(EVIDENCE, TARGET, prior=0.4), expected)


def test_uce_takes_off_the_entropy():
    entropy = dirichlet(EVIDENCE + 1).entropy().mean()
    expected = ul.evidential_digamma_loss(EVIDENCE, TARGET) - 0.2 * entropy
    torch.testing.assert_close(ul.uce_loss(EVIDENCE, TARGET, 0.2), expected)


def test_belief_matching_bounds_evidence_from_below():
    tiny, zero = torch.tensor([[1.0, 1e-8]]), torch.tensor([[1.0, 0.0]])
    target = torch.tensor([1])
    torch.testing.assert_close(ul.belief_matching_loss(zero, target, 0.01), ul.belief_matching_loss(tiny, target, 0.01))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_prior_network_with_strange_inputs(reduction):
    strange = torch.rand(5, 3, dtype=torch.float64)
    alone = ul.prior_network_loss(EVIDENCE, TARGET, reduction=reduction)
    flat = torch.distributions.kl_divergence(dirichlet(strange + 1), dirichlet(torch.ones(5, 3, dtype=torch.float64)))
    expected = alone + 0.3 * (flat.sum() if reduction == "sum" else flat.mean())
    got = ul.prior_network_loss(EVIDENCE, TARGET, 0.3, reduction, ood_evidence=strange)
    torch.testing.assert_close(got, expected)
    module = ul.PriorNetworkLoss(0.3, reduction)
    torch.testing.assert_close(module(EVIDENCE, TARGET, ood_evidence=strange), expected)
    single = ul.prior_network_loss(EVIDENCE, TARGET, 0.3, "sum", ood_evidence=strange[0])
    torch.testing.assert_close(single, ul.prior_network_loss(EVIDENCE, TARGET, reduction="sum") + 0.3 * flat[0])


def test_prior_network_weighs_strange_inputs_with_one_number():
    with pytest.raises(ValueError, match=r"reg_factor must be one number, got a tensor of shape \(4,\)"):
        ul.prior_network_loss(EVIDENCE, TARGET, torch.rand(4), ood_evidence=torch.rand(5, 3))


@pytest.mark.parametrize("shape", [(), (4,), (5, 4), (5, 4, 3)])
def test_strange_inputs_have_the_same_classes(shape):
    with pytest.raises(ValueError, match=r"ood_evidence must have 3 classes, as evidence has, in dimension \d, got \("):
        ul.prior_network_loss(EVIDENCE, TARGET, ood_evidence=torch.ones(shape))


def test_prior_network_target():
    y = torch.nn.functional.one_hot(TARGET, 3).double()
    expected = torch.distributions.kl_divergence(dirichlet(EVIDENCE + 1), dirichlet(1 + 20 * y))
    torch.testing.assert_close(ul.prior_network_loss(EVIDENCE, TARGET, concentration=20, reduction="none"), expected)
    with pytest.raises(ValueError, match="concentration must be > 0, got -1"):
        ul.prior_network_loss(EVIDENCE, TARGET, concentration=-1)


@pytest.mark.parametrize("concentration", [1, 100, 10_000])
def test_prior_network_near_its_target(concentration):
    """Where training leads to, the loss is small and what it is made of is not."""
    away = torch.tensor([[1.005, 0.01, 0.0], [1.0, 0.001, 0.0], [1.05, 0.1, 0.2], [0.8, 0.0, 1.0]])
    evidence = away * torch.tensor([concentration, 1, 1])
    worst = oracle.errors(
        lambda e, t: ul.prior_network_loss(e, t, reduction="none", concentration=concentration),
        lambda e, c: oracle.dirichlet_kl([x + 1 for x in e], [1 + concentration * (k == c) for k in range(3)]),
        evidence,
        torch.zeros(4, dtype=torch.long),
    )
    assert worst[torch.float32][0] < 1e-5
    assert worst[torch.float32][1] < 1e-4
    assert max(worst[torch.float64]) < 1e-11


def test_module_knows_its_options_when_it_is_made():
    with pytest.raises(TypeError, match="evidential_loss has no option 'p_norm'"):
        ul.EvidentialLoss(p_norm=4)
    # The functions take the norm third, modules the reduction second.
    with pytest.raises(ValueError, match=r"reduction must be .*, got 4"):
        ul.MaxNormLoss(0.1, 4)


def test_module_settings_show_and_move():
    module = ul.MaxNormLoss(0.1, "sum", p_norm=2, weight=torch.ones(3))
    assert "p_norm=2" in repr(module)
    assert "reduction='sum'" in repr(module)
    assert module.double().weight.dtype == torch.float64
    assert list(module.state_dict()) == ["weight"]
    torch.testing.assert_close(
        module(EVIDENCE, TARGET, reg_factor=0.0), ul.maxnorm_loss(EVIDENCE, TARGET, p_norm=2, reduction="sum")
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_belief_matching_of_a_class_without_evidence(dtype):
    """α of 1e-8: the derivatives by the others are small differences of 1e8."""
    for row, c in (([3.0, 1.0, 2.0, 0.0], 3), ([4e6, 4e6, 0.0, 0.0, 1.0], 2), ([3.0, 0.0], 1)):
        evidence = torch.tensor([row], dtype=dtype, requires_grad=True)
        (gradient,) = torch.autograd.grad(ul.belief_matching_loss(evidence, torch.tensor([c])), evidence)
        alpha = [max(x, oracle.mpmath.mpf("1e-8")) for x in oracle.exact(evidence[0].detach())]
        trigamma = float(oracle.mpmath.psi(1, sum(alpha)))
        expected = torch.tensor([[trigamma if x > 0 else 0.0 for x in row]], dtype=dtype)
        torch.testing.assert_close(gradient, expected, rtol=1e-6 if dtype == torch.float32 else 1e-12, atol=0)


@pytest.mark.parametrize("little", [0.005, 0.02, 0.3])
def test_prior_network_keeps_the_digits_of_a_thousand_classes_with_little(little):
    evidence = torch.full((1, 1000), little)
    evidence[0, 0] = 100
    expected = float(oracle.prior_network(oracle.exact(evidence[0]), 0))
    assert ul.prior_network_loss(evidence, torch.tensor([0])).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_i_edl_keeps_the_digits_of_what_its_parts_leave():
    draw = torch.Generator().manual_seed(2)
    evidence = 0.35 + 0.02 * torch.rand(1, 1000, generator=draw)
    expected = oracle.information(oracle.exact(evidence[0]), 0, weight=oracle.mpmath.mpf("0.05"))
    loss = ul.information_loss(evidence, torch.tensor([0]), information_weight=0.05)
    assert loss.item() == pytest.approx(float(expected), rel=2e-7)
    row = [
        1002250,
        165.990967,
        1845886.25,
        712.772278,
        104570.734,
        3203030.5,
        1539.1283,
        488.799164,
        13876.4737,
        2105803.75,
    ]
    evidence = torch.tensor([row], requires_grad=True)
    (gradient,) = torch.autograd.grad(ul.information_loss(evidence, torch.tensor([2]), 0.01), evidence)
    exact = oracle.exact(evidence[0].detach())
    reg, weight = oracle.mpmath.mpf(0.01), oracle.mpmath.mpf(0.005)
    slopes = [float(oracle.slope(lambda e: oracle.information(e, 2, reg, weight), exact, k)) for k in range(10)]
    torch.testing.assert_close(
        gradient[0].double(), torch.tensor(slopes).double(), rtol=0, atol=1e-5 * max(map(abs, slopes))
    )


@pytest.mark.parametrize("name", ul.loss_names())
def test_nan_in_the_evidence_is_in_the_gradient(name):
    evidence = torch.tensor([[1.0, float("nan"), 2.0, 3.0], [1.0, 2.0, float("inf"), 1e12]], requires_grad=True)
    losses = ul.get_loss(name).function(evidence, torch.tensor([0, 2]), 0.1, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), evidence)
    assert losses.isnan().tolist() == gradient.isnan().any(1).tolist() == [True, False]
    assert gradient[0, 1].isnan()


@pytest.mark.parametrize("away", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize(("name", "prior"), [("uce", 1.0), ("belief-matching", 0.0)])
def test_gradients_near_the_minimum(name, prior, away):
    # There the divergence and the cross-entropy pull alike: it is where training leads.
    factor, classes = 0.1, 5
    alpha = torch.ones(1, classes)
    alpha[0, 0] += 1 / factor
    evidence = alpha - prior + away * torch.tensor([[-1.0, 0.3, 0.7, 0.1, 0.9]])
    worst = oracle.errors(
        lambda e, c: ul.get_loss(name).function(e, c, factor, reduction="none"),
        lambda e, c: oracle.LOSSES[name](e, c, oracle.mpmath.mpf(factor)),
        evidence,
        torch.tensor([0]),
    )
    assert worst[torch.float32][1] < 1e-4


def test_belief_matching_beside_nothing():
    evidence = torch.tensor([[1.8, 0.0, 0.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(ul.belief_matching_loss(evidence, torch.tensor([0])), evidence)
    own, rest = (oracle.mpmath.mpf(x) for x in (evidence[0, 0].item(), torch.tensor(1e-8).item()))
    expected = oracle.mpmath.psi(1, own + 3 * rest) - oracle.mpmath.psi(1, own)
    assert gradient[0, 0].item() == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("name", ["uce", "belief-matching"])
@pytest.mark.parametrize("row", [[0.5, 2.0, 1.0, 1.0000001], [10 / 9] * 10])
def test_evidence_at_the_bound_of_what_is_large(name, row):
    # In float32 the wrong classes have exactly K in all, in double a little more.
    evidence, target = torch.tensor([row]), torch.tensor([0])
    assert evidence[0, 1:].sum() == len(row) < evidence[0, 1:].double().sum()
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = evidence.to(dtype).requires_grad_()
        losses = ul.get_loss(name).function(leaf, target, 1.0)
        gradients.append(torch.autograd.grad(losses, leaf, create_graph=True)[0].float())
        gradients.append(torch.autograd.grad(losses, leaf)[0].float())
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])
    exact = lambda e: oracle.LOSSES[name](e, 0, 1)  # noqa: E731
    slopes = [float(oracle.slope(exact, oracle.exact(evidence[0]), k)) for k in range(len(row))]
    torch.testing.assert_close(gradients[0][0], torch.tensor(slopes))
