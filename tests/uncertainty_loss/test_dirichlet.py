"""The measures against their textbook formulas in 60 digits, scipy, Monte Carlo and their own identities."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable

import mp_dirichlet as oracle
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from torch import Tensor

from uncertainty_loss import dirichlet

Measure = Callable[[Tensor], Tensor]

# Name -> (measure, oracle). The variance is one function with two results.
MEASURES: dict[str, tuple[Measure, oracle.Measure]] = {
    name: (getattr(dirichlet, name), getattr(oracle, name))
    for name in (
        "differential_entropy",
        "dissonance",
        "expected_entropy",
        "expected_pairwise_kl",
        "mutual_information",
        "predictive_entropy",
    )
}
MEASURES["data_variance"] = (lambda alpha: dirichlet.expected_variance(alpha).data, oracle.data_variance)
MEASURES["model_variance"] = (lambda alpha: dirichlet.expected_variance(alpha).model, oracle.model_variance)

PER_CLASS = ("belief", "expected_probability")
FROM_EVIDENCE = ("data_uncertainty", "model_uncertainty", "uncertainty")
FUNCTIONS = (
    *(name for name in MEASURES if not name.endswith("variance")),
    *PER_CLASS,
    *FROM_EVIDENCE,
    "cross_entropy_uncertainty",
    "entropy",
    "precision",
    "vacuity",
)


def close(actual: float, expected: mpf, dtype: torch.dtype) -> bool:
    relative, absolute = (1e-5, 1e-6) if dtype == torch.float32 else (1e-11, 1e-13)
    return bool(abs(mpf(actual) - expected) <= relative * abs(expected) + absolute)


@pytest.mark.no_cover
@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
@pytest.mark.parametrize("name", MEASURES)
def test_values_against_sixty_digits(name: str, classes: int) -> None:
    measure, exact = MEASURES[name]
    alpha = oracle.concentrations(classes)
    if name == "dissonance" and classes == 1000:
        exact = oracle.dissonance_of_many
    single, double = measure(alpha), measure(alpha.double())
    for row, in_single, in_double in zip(alpha.tolist(), single.tolist(), double.tolist(), strict=True):
        expected = exact(row)
        assert close(in_single, expected, torch.float32), (row[:5], in_single, float(expected))
        assert close(in_double, expected, torch.float64), (row[:5], in_double, float(expected))


@pytest.mark.no_cover
@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_mutual_information_keeps_three_digits_at_any_precision(classes: int) -> None:
    alpha = oracle.concentrations(classes)
    for row, value in zip(alpha.tolist(), dirichlet.mutual_information(alpha).tolist(), strict=True):
        assert value == pytest.approx(float(oracle.mutual_information(row)), rel=1e-3, abs=0), row[:5]


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "name",
    ["predictive_entropy", "expected_entropy", "data_variance", "model_variance", "mutual_information"],
)
def test_confident_rows_keep_relative_precision(name: str) -> None:
    """Next to one-hot, where the values themselves are below single precision's epsilon."""
    measure, exact = MEASURES[name]
    alpha = torch.tensor([[3e7, 1.3, 1.1], [1e9, 1.7, 1.0], [2e4, 1.01, 1.0]])
    expected = [float(exact(row)) for row in alpha.tolist()]
    assert measure(alpha).tolist() == pytest.approx(expected, rel=1e-5, abs=0)


@pytest.mark.no_cover
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("name", MEASURES)
def test_gradients_against_differences_in_110_digits(name: str, classes: int) -> None:
    measure, exact = MEASURES[name]
    alpha = oracle.concentrations(classes)
    alpha = alpha[alpha.sum(1) < 1e8] if classes <= 10 else alpha[[2, 4, -1]]
    if name == "dissonance":  # kinks at the prior
        alpha = alpha[(alpha > 1).all(1)]
    gradients = {}
    for dtype in (torch.float32, torch.float64):
        leaf = alpha.to(dtype).requires_grad_()
        (gradients[dtype],) = torch.autograd.grad(measure(leaf).sum(), leaf)
    for n, row in enumerate(alpha.tolist()):
        components = gradients[torch.float64][n].abs().topk(min(3, classes)).indices.tolist()
        expected = {k: oracle.derivative(exact, row, k) for k in {*components, 0, classes - 1}}
        largest = max(map(abs, expected.values()))
        # Entropies are largest where all classes are equal: the gradient vanishes, its rounding does not.
        vanishing = max(row) == min(row)
        for dtype, relative in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
            allowed = relative * largest + (1e-2 * relative if vanishing else 0)
            for k, value in expected.items():
                error = abs(mpf(gradients[dtype][n, k].item()) - value)
                assert error <= allowed, (dtype, row[:5], k, float(value), float(error / largest))


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "row",
    [[1.001, 1.0005, 1.0], [1.00001, 1.0, 1.0], [3e6, 3.001e6, 3.0005e6], [5.01, 5.0, 5.02], [1e-3, 1.001e-3, 1e-3]],
)
@pytest.mark.parametrize("name", MEASURES)
def test_gradients_of_nearly_equal_concentrations(name: str, row: list[float]) -> None:
    if name == "dissonance" and min(row) <= 1:
        pytest.skip("has a kink at the prior")
    measure, exact = MEASURES[name]
    alpha = torch.tensor(row, requires_grad=True)
    (gradient,) = torch.autograd.grad(measure(alpha), alpha)
    expected = [float(oracle.derivative(exact, alpha.tolist(), k)) for k in range(3)]
    assert gradient.dtype == torch.float32
    assert gradient.tolist() == pytest.approx(expected, rel=0, abs=1e-4 * max(map(abs, expected)))


@pytest.mark.parametrize("row", [[2.0, 1, 1], [3, 7, 1.5], [10, 4, 6], [3, 3, 4], [10, 5, 5], [1, 1, 1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["predictive_entropy", "mutual_information", "differential_entropy"])
def test_gradients_where_two_forms_meet(name: str, dtype: torch.dtype, row: list[float]) -> None:
    """At a probability of one half, and at concentrations where series begin."""
    measure, exact = MEASURES[name]
    alpha = torch.tensor(row, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(measure(alpha), alpha)
    expected = [float(oracle.derivative(exact, row, k)) for k in range(3)]
    assert gradient.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_derivatives_of_first_and_second_order(name: str) -> None:
    alpha = torch.tensor([[1.3, 2.5, 1.1], [20.0, 1.7, 8.0], [4e3, 12.0, 30.0]], dtype=torch.float64)
    measure = MEASURES[name][0]
    assert torch.autograd.gradcheck(measure, alpha.requires_grad_())
    assert torch.autograd.gradgradcheck(measure, alpha)


def test_differential_entropy_agrees_with_scipy() -> None:
    alpha = torch.tensor([[0.5, 2.0, 7.0], [1.0, 1.0, 1.0], [300.0, 20.0, 1.0]], dtype=torch.float64)
    expected = [scipy.stats.dirichlet(row).entropy() for row in alpha.numpy()]
    assert dirichlet.differential_entropy(alpha).tolist() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("row", [[0.3, 0.7, 2.0], [1.0, 1.0, 1.0], [30.0, 2.0, 2.0]])
def test_expectations_by_monte_carlo(row: list[float]) -> None:
    alpha = torch.tensor(row, dtype=torch.float64)
    torch.manual_seed(0)
    draws = torch.distributions.Dirichlet(alpha).sample((200_000,)).clamp(min=1e-300)
    entropies = -(draws * draws.log()).sum(1)
    assert_mean(entropies, dirichlet.expected_entropy(alpha))
    variance = dirichlet.expected_variance(alpha)
    assert_mean((draws * (1 - draws)).sum(1), variance.data)
    assert_mean((draws - draws.mean(0)).square().sum(1), variance.model)
    # Pairs of independent draws.
    first, second = draws.chunk(2)
    divergences = (first * (first / second).log()).sum(1)
    if min(row) >= 1:  # below, its variance is too large to say anything
        assert_mean(divergences, dirichlet.expected_pairwise_kl(alpha))


def assert_mean(samples: Tensor, expected: Tensor) -> None:
    standard_error = samples.std() / math.sqrt(len(samples))
    assert abs(samples.mean() - expected) < 5 * standard_error


# Properties -----------------------------------------------------------------------------------------------

rows = st.integers(1, 8).flatmap(
    lambda classes: st.lists(
        st.lists(st.floats(2**-10, 1e7, width=32), min_size=classes, max_size=classes), min_size=1, max_size=4
    )
)


@settings(deadline=None, max_examples=200)
@given(rows)
def test_ranges(values: list[list[float]]) -> None:
    alpha = torch.tensor(values)
    largest = math.log(alpha.shape[1])
    slack = 1e-6
    for name in ("predictive_entropy", "expected_entropy", "mutual_information"):
        value = getattr(dirichlet, name)(alpha)
        assert (value >= 0).all(), name
        assert (value <= largest + slack).all(), name
    evident = alpha + 1
    assert (dirichlet.vacuity(evident) <= 1 + slack).all()
    assert (dirichlet.belief(evident) >= 0).all()
    conflict = dirichlet.dissonance(evident)
    assert (conflict >= 0).all()
    assert (conflict <= 1 - dirichlet.vacuity(evident) + slack).all()
    volume = -math.lgamma(alpha.shape[1])
    assert (dirichlet.differential_entropy(alpha) <= volume + slack * max(1, abs(volume))).all()
    variance = dirichlet.expected_variance(alpha)
    assert (variance.data >= 0).all()
    assert (variance.model >= 0).all()
    assert (variance.total <= 1 - 1 / alpha.shape[1] + slack).all()
    assert (dirichlet.mutual_information(alpha) <= dirichlet.expected_pairwise_kl(alpha) + slack).all()


@settings(deadline=None, max_examples=100)
@given(rows, st.floats(0.05, 2))
def test_parts_add_up(values: list[list[float]], prior: float) -> None:
    alpha = torch.tensor(values)
    data, model = dirichlet.expected_entropy(alpha), dirichlet.mutual_information(alpha)
    assert torch.allclose(data + model, dirichlet.predictive_entropy(alpha), rtol=1e-5, atol=1e-6)
    variance = dirichlet.expected_variance(alpha)
    p = dirichlet.expected_probability(alpha)
    assert torch.allclose(variance.total, (p * (1 - p)).sum(1), rtol=1e-5, atol=1e-6)
    mass, missing = dirichlet.belief(alpha, prior=prior), dirichlet.vacuity(alpha, prior=prior)
    scale = 1 + mass.abs().sum(1)  # belief below zero cancels
    assert ((mass.sum(1) + missing - 1).abs() <= 1e-5 * (scale + missing)).all()


@settings(deadline=None, max_examples=50)
@given(rows, st.randoms(use_true_random=False))
def test_order_of_classes_does_not_matter(values: list[list[float]], random: object) -> None:
    alpha = torch.tensor(values, dtype=torch.float64) + 1
    order = list(range(alpha.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    for measure, _ in MEASURES.values():
        assert torch.allclose(measure(alpha[:, order]), measure(alpha), rtol=1e-9, atol=1e-12)
    for name in PER_CLASS:
        measure = getattr(dirichlet, name)
        assert torch.allclose(measure(alpha[:, order]), measure(alpha)[:, order])


def test_what_the_measures_are_for() -> None:
    """No evidence, conflicting evidence, clear evidence: each is told apart from the others."""
    none, conflict, clear = torch.tensor([[1.0, 1, 1], [50.0, 50, 1], [99.0, 1, 1]])
    assert dirichlet.vacuity(none) == 1 > 10 * dirichlet.vacuity(conflict)
    assert dirichlet.dissonance(conflict) > 0.9
    assert dirichlet.dissonance(none) == dirichlet.dissonance(clear) == 0
    assert dirichlet.expected_entropy(conflict) > 5 * dirichlet.expected_entropy(clear)
    assert dirichlet.mutual_information(none) > 10 * dirichlet.mutual_information(conflict)


# Dissonance -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [0.1, 1.0])
def test_dissonance_with_prior_and_with_missing_belief(prior: float) -> None:
    alpha = torch.tensor([[prior, prior, prior], [5, prior, prior], [4, 3, prior], [0.05, 3, 2], [7, 7, 7]])
    actual = dirichlet.dissonance(alpha.double(), prior=prior).tolist()
    expected = [float(oracle.dissonance(row, prior)) for row in alpha.double().tolist()]
    assert actual == pytest.approx(expected, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("pairs", [3 * 25, 2 * 5, 1])
def test_dissonance_in_blocks_equals_that_of_the_whole(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = (torch.rand(11, 5, dtype=torch.float64) * 9 + 1).requires_grad_()
    whole = dirichlet.dissonance(alpha)
    (gradient,) = torch.autograd.grad(whole.sum(), alpha)
    monkeypatch.setattr(dirichlet, "_pairs_at_once", lambda device: pairs)
    blockwise = dirichlet.dissonance(alpha)
    assert torch.allclose(blockwise, whole, rtol=1e-13)
    assert torch.allclose(torch.autograd.grad(blockwise.sum(), alpha)[0], gradient, rtol=1e-11)
    assert torch.autograd.gradcheck(dirichlet.dissonance, alpha)
    assert torch.autograd.gradgradcheck(dirichlet.dissonance, alpha)


def test_dissonance_never_holds_all_pairs() -> None:
    alpha = torch.rand(64, 1000, requires_grad=True) + 1
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        dirichlet.dissonance(alpha).sum().backward()
    assert largest <= max(dirichlet._pairs_at_once(alpha.device), alpha.numel())


def test_gradient_of_dissonance_is_finite_where_belief_is_missing() -> None:
    alpha = torch.tensor([[1.0, 1, 1], [5, 1, 1], [5, 5, 1]], requires_grad=True)
    dirichlet.dissonance(alpha).sum().backward()
    assert alpha.grad is not None
    assert alpha.grad.isfinite().all()


# Shapes, types, devices -----------------------------------------------------------------------------------


def total(result: Tensor | dirichlet.ExpectedVariance) -> Tensor:
    return result if isinstance(result, Tensor) else result.total


@pytest.mark.parametrize("name", [*FUNCTIONS, "expected_variance"])
def test_shapes(name: str) -> None:
    function = getattr(dirichlet, name)
    alpha = torch.rand(4, 3, 5, 2) + 1
    value = total(function(alpha))
    assert value.shape == ((4, 3, 5, 2) if name in PER_CLASS else (4, 5, 2))
    # Any layout, any position: the value of one distribution is that of its row, alone or not.
    alone = total(function(alpha[2, :, 1, 0]))
    assert alone.shape == ((3,) if name in PER_CLASS else ())
    assert torch.allclose(value[2, ..., 1, 0], alone)
    strided = alpha.transpose(0, 3).contiguous().transpose(0, 3)
    assert torch.allclose(total(function(strided)), value)
    assert total(function(alpha[:0])).shape[0] == 0


@pytest.mark.parametrize("name", [*FUNCTIONS, "expected_variance"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(name: str, dtype: torch.dtype) -> None:
    function = getattr(dirichlet, name)
    alpha = torch.tensor([[1.0, 300.0, 4.0], [1.0, 1.0, 1.0]], dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = total(function(alpha))
    assert value.dtype == torch.float32
    assert torch.equal(value, total(function(alpha.float())))
    assert total(function(alpha.double())).dtype == torch.float64


@pytest.mark.parametrize("name", MEASURES)
def test_finite_at_the_extremes(name: str) -> None:
    measure = MEASURES[name][0]
    alpha = torch.tensor([[1e-20, 1e30], [1e30, 1e30], [1e-6, 1e-6], [1.0, 1e30]], requires_grad=True)
    value = measure(alpha)
    (gradient,) = torch.autograd.grad(value.sum(), alpha)
    assert value.isfinite().all()
    if name != "differential_entropy":  # its slope, 1 / alpha^2, is beyond float32
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", [*MEASURES, *FROM_EVIDENCE, "entropy"])
def test_a_single_class_leaves_no_doubt(name: str) -> None:
    function = MEASURES[name][0] if name in MEASURES else getattr(dirichlet, name)
    one = torch.ones(2, 1) if name == "entropy" else torch.tensor([[1.0], [250.0]])
    assert function(one).tolist() == [0, 0]
    if name in ("entropy", "uncertainty"):
        assert function(one, normalize=True).tolist() == [0, 0]


@pytest.mark.parametrize("name", [*FUNCTIONS, "expected_variance"])
def test_bad_arguments(name: str) -> None:
    function = getattr(dirichlet, name)
    with pytest.raises(TypeError, match=r"must be a floating-point tensor, got torch\.int64"):
        function(torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="must be a tensor, got list"):
        function([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"must have a class dimension: .* got a scalar"):
        function(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"must have at least one class in dimension 1, got \(2, 0\)"):
        function(torch.ones(2, 0))


@pytest.mark.no_cover
def test_everything_compiles_into_one_graph() -> None:
    def everything(x: Tensor) -> list[Tensor]:
        return [total(getattr(dirichlet, name)(x)) for name in [*FUNCTIONS, "expected_variance"]]

    alpha = torch.rand(6, 4) + 1
    # The graph is what matters here, not the code generated from it.
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    for ours, eager in zip(compiled(alpha), everything(alpha), strict=True):
        assert torch.allclose(ours, eager, rtol=1e-5)


# Names of uncertainty-loss 0.1.2 ----------------------------------------------------------------------------


def test_entropy_of_certain_and_uniform_rows() -> None:
    p = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]], requires_grad=True)
    value = dirichlet.entropy(p)
    assert value.tolist() == pytest.approx([0, math.log(4)])
    assert dirichlet.entropy(p, normalize=True).tolist() == pytest.approx([0, 1])
    value.sum().backward()
    assert p.grad is not None
    assert p.grad.isfinite().all()


def test_evidence_is_concentration_above_one() -> None:
    evidence = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.5, 20.0]])
    assert torch.equal(dirichlet.uncertainty(evidence), dirichlet.predictive_entropy(evidence + 1))
    assert torch.equal(dirichlet.data_uncertainty(evidence), dirichlet.expected_entropy(evidence + 1))
    assert torch.equal(dirichlet.model_uncertainty(evidence), dirichlet.mutual_information(evidence + 1))
    normalized = dirichlet.uncertainty(evidence, normalize=True)
    assert torch.allclose(normalized, dirichlet.uncertainty(evidence) / math.log(3))
    assert normalized[0].item() == pytest.approx(1)


@pytest.mark.parametrize("name", FROM_EVIDENCE)
def test_evidence_is_checked_as_losses_check_it(name: str) -> None:
    function = getattr(dirichlet, name)
    with pytest.raises(ValueError, match=r"evidence must be >= 0 .*, got -0\.5"):
        function(torch.tensor([[1.0, -0.5]]))
    infinite = torch.tensor([[math.inf, 1.0], [math.inf, math.inf]])
    assert torch.equal(function(infinite), function(infinite.clamp(max=1e12)))
    assert function(infinite).isfinite().all()


def test_cross_entropy_uncertainty() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 500.0, 0.0], [0.0, 0.0, -math.inf]], requires_grad=True)
    value = dirichlet.cross_entropy_uncertainty(logits)
    expected = [scipy.stats.entropy([math.exp(1), math.exp(2), math.exp(0.5)]), 0, math.log(2)]
    assert value.tolist() == pytest.approx(expected, rel=1e-6)
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_examples() -> None:
    failures, examples = doctest.testmod(dirichlet)
    assert examples >= 15
    assert failures == 0
