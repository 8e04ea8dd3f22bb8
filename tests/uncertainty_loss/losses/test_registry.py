"""The checklist that every loss of the registry has to pass."""

from functools import partial
from pathlib import Path

import oracle
import pytest
import torch
from torch.nn import functional as F

import uncertainty_loss as ul

NAMES = ul.loss_names()


def loss_of(name, **options):
    return partial(ul.get_loss(name).function, **options)


def batch(rows=6, classes=5, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    evidence = (2 * torch.randn(rows, classes, generator=draw, dtype=dtype)).exp()
    return evidence, torch.randint(classes, (rows,), generator=draw)


def test_names_and_entries():
    assert list(NAMES) == sorted(set(NAMES))
    for name in NAMES:
        entry = ul.get_loss(name)
        assert entry.name == name
        assert entry.summary
        assert "\n" not in entry.summary
        assert entry.source
        assert entry.prior >= 0
        assert entry.default_reg >= 0
        ul.get_evidence_function(entry.evidence)


def test_priors_are_those_of_the_papers():
    others = {"r-edl": 0.1, "re-edl": 0.8, "belief-matching": 0.0}
    assert {name: ul.get_loss(name).prior for name in NAMES} == dict.fromkeys(NAMES, 1.0) | others


@pytest.mark.parametrize("name", ["r-edl", "re-edl"])
def test_the_prior_is_the_one_that_the_function_adds(name):
    # With it as evidence's complement the expected probability of the right class is the softened one.
    entry, evidence = ul.get_loss(name), torch.tensor([[3.0, 1.0, 0.0]], dtype=torch.float64)
    p = (evidence + entry.prior) / (evidence + entry.prior).sum()
    expected = (p - torch.tensor([[1.0, 0.0, 0.0]])).square().sum()
    torch.testing.assert_close(entry.function(evidence, torch.tensor([0]), 0.0), expected)


@pytest.mark.parametrize("name", NAMES)
def test_documentation_has_the_entry(name):
    entry = ul.get_loss(name)
    function = getattr(entry.function, "func", entry.function).__name__
    options = "".join(f", {option}={value}" for option, value in entry.options)
    row = f"| `{name}` | `{function}`{options} | `{entry.module.__name__}` | {entry.summary} | {entry.default_reg:g} |"
    assert row in (Path(__file__).parents[3] / "docs" / "theory.md").read_text(encoding="utf-8").splitlines()


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"no loss is called 'hinge'; there are belief-matching, evidential"):
        ul.get_loss("hinge")


@pytest.mark.parametrize("name", NAMES)
def test_module_is_the_function(name):
    entry = ul.get_loss(name)
    evidence, target = batch()
    module = entry.module(0.3, weight=torch.rand(5), label_smoothing=0.1, **dict(entry.options))
    expected = entry.function(evidence, target, 0.3, weight=module.weight, label_smoothing=0.1)
    torch.testing.assert_close(module(evidence, target), expected)


# Values and gradients


@pytest.mark.no_cover
@pytest.mark.parametrize("reg_factor", [0.0, 0.1])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("name", NAMES)
def test_sixty_digits(name, classes, reg_factor):
    check_digits(name, *oracle.rows(classes), reg_factor)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("uce", [100.03797, 0.00022135]),
        ("uce", [3836.2392578125, 18.60601234436035]),
        ("belief-matching", [9820675.0, 48705.42578125]),
        ("prior-network", [3836.2392578125, 18.60601234436035]),
    ],
)
def test_sixty_digits_where_the_gradient_nearly_vanishes(name, row):
    loss = loss_of(name, reg_factor=0.01, reduction="none")
    exact = partial(oracle.LOSSES[name], reg=oracle.mpmath.mpf(0.01))
    worst = oracle.errors(loss, exact, torch.tensor([row]), torch.tensor([0]))
    assert max(worst[torch.float32]) < 1e-6
    assert max(worst[torch.float64]) < 1e-10


@pytest.mark.no_cover
@pytest.mark.parametrize("name", NAMES)
def test_sixty_digits_with_a_hundred_classes(name):
    evidence, target = oracle.rows(100)
    check_digits(name, evidence[[0, 1, 2, 5]], target[:4], 0.1, picks=2)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["evidential", "maxnorm"])
def test_sixty_digits_with_a_thousand_classes(name):
    evidence, target = oracle.rows(1000)
    check_digits(name, evidence[2:3], target[:1], 0.1, picks=0)


def check_digits(name, evidence, target, reg_factor, picks=6):
    if name == "belief-matching":  # evidence is α itself: it cannot be zero
        positive = (evidence > 0).all(1)
        evidence, target = evidence[positive], target[positive]
    worst = oracle.errors(
        loss_of(name, reg_factor=reg_factor, reduction="none"),
        partial(oracle.LOSSES[name], reg=oracle.mpmath.mpf(reg_factor)),
        evidence,
        target,
        picks,
    )
    assert worst[torch.float32][0] < 1e-5
    assert worst[torch.float32][1] < 1e-4
    assert max(worst[torch.float64]) < 1e-11


@pytest.mark.no_cover
@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_the_expectation_over_classes(name, classes):
    evidence, _ = batch(rows=3, classes=classes, dtype=torch.float32)
    evidence[1, 1] = 1e7  # nearly all: sums without it are small beside the others
    probabilities = torch.rand(3, classes).softmax(1)

    def expectation(e, row):
        return sum(
            oracle.mpmath.mpf(t) * oracle.LOSSES[name](e, k, oracle.mpmath.mpf(0.1))
            for k, t in enumerate(probabilities[row].tolist())
        )

    worst = oracle.errors(
        lambda e, rows: loss_of(name)(e, probabilities[rows].to(e.dtype), 0.1, reduction="none"),
        expectation,
        evidence,
        torch.arange(3),
    )
    assert worst[torch.float32][0] < 1e-5
    assert worst[torch.float32][1] < 1e-4
    assert max(worst[torch.float64]) < 1e-11


@pytest.mark.parametrize("kind", ["index", "probabilities"])
@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name, kind):
    evidence, target = batch(rows=3, classes=4)
    if kind == "probabilities":
        target = torch.rand(3, 4, dtype=torch.float64).softmax(1)
    evidence.requires_grad_()

    def function(e):
        return loss_of(name)(e, target, 0.3, reduction="none")

    assert torch.autograd.gradcheck(function, evidence)
    assert torch.autograd.gradgradcheck(function, evidence)


# The rules of cross_entropy


@pytest.mark.parametrize("shape", [(5,), (4, 5), (4, 5, 3), (2, 5, 3, 1), (4, 5, 1)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", None])
@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_reductions(name, shape, reduction):
    evidence = torch.rand(shape, dtype=torch.float64) + 0.1
    target = torch.randint(5, shape[:1] + shape[2:] if len(shape) > 1 else ())
    loss = loss_of(name)(evidence, target, 0.1, reduction=reduction)
    flat = evidence.unsqueeze(0) if len(shape) == 1 else evidence.movedim(1, -1).reshape(-1, 5)
    rows = torch.stack([loss_of(name)(e, t, 0.1) for e, t in zip(flat, target.reshape(-1), strict=True)])
    if reduction in ("mean", "sum"):
        torch.testing.assert_close(loss, getattr(rows, reduction)())
    else:
        assert loss.shape == target.shape
        torch.testing.assert_close(loss.reshape(-1), rows)


@pytest.mark.parametrize("name", NAMES)
def test_one_hot_probabilities_are_the_index(name):
    evidence, target = batch()
    one_hot = F.one_hot(target, 5).double()
    expected = loss_of(name)(evidence, target, 0.1, reduction="none")
    torch.testing.assert_close(loss_of(name)(evidence, one_hot, 0.1, reduction="none"), expected)


@pytest.mark.parametrize("name", NAMES)
def test_ignored_rows_are_removed_rows(name):
    evidence, target = batch()
    evidence.requires_grad_()
    ignoring = target.clone()
    ignoring[[1, 4]] = -100
    kept = ignoring >= 0
    for reduction in ("mean", "sum"):
        got = loss_of(name)(evidence, ignoring, 0.1, reduction=reduction)
        torch.testing.assert_close(got, loss_of(name)(evidence[kept], target[kept], 0.1, reduction=reduction))
    (gradient,) = torch.autograd.grad(got, evidence)
    assert (gradient[~kept] == 0).all()
    assert (loss_of(name)(evidence, ignoring, 0.1, reduction="none")[~kept] == 0).all()
    own_choice = torch.where(kept, target, 2)
    got = loss_of(name)(evidence, own_choice, 0.1, ignore_index=2)
    torch.testing.assert_close(got, loss_of(name)(evidence[own_choice != 2], own_choice[own_choice != 2], 0.1))


# Devices, dtypes, layouts, extremes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_halves_are_computed_in_float32(name, dtype):
    evidence, target = batch(dtype=torch.float32)
    half = evidence.to(dtype).requires_grad_()
    expected = loss_of(name)(half.detach().float(), target, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(name)(half, target, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert half.grad.dtype == dtype
    assert half.grad.isfinite().all()
    assert loss_of(name)(torch.zeros_like(half), target, 0.1).isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_layouts(name):
    evidence = torch.rand(2, 5, 4, 3, dtype=torch.float64) + 0.1
    target = torch.randint(5, (2, 4, 3))
    expected = loss_of(name)(evidence, target, 0.1, reduction="none")
    last = evidence.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(loss_of(name)(last, target, 0.1, reduction="none"), expected)
    strided = evidence.new_empty(2, 5, 4, 6)[..., ::2].copy_(evidence)
    torch.testing.assert_close(loss_of(name)(strided, target, 0.1, reduction="none"), expected)
    turned = evidence.transpose(2, 3)
    got = loss_of(name)(turned, target.transpose(1, 2), 0.1, reduction="none")
    torch.testing.assert_close(got, expected.transpose(1, 2))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NAMES)
def test_a_large_batch_is_its_rows(name, layout):
    evidence = torch.rand(3, 7, 90, 80).mul(12).sub(6).exp().contiguous(memory_format=layout).requires_grad_()
    target = torch.randint(7, (3, 90, 80))
    loss = loss_of(name)(evidence, target, 0.1, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), evidence)
    some = (slice(1, 2), slice(None), slice(70, 75), slice(3, 9))
    part = evidence.detach()[some].requires_grad_()
    expected = loss_of(name)(part, target[some[0], some[2], some[3]], 0.1, reduction="none")
    torch.testing.assert_close(loss[some[0], some[2], some[3]], expected)
    torch.testing.assert_close(gradient[some], torch.autograd.grad(expected.sum(), part)[0])


@pytest.mark.parametrize("reg_factor", [0.0, 0.1])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, float("inf")])
@pytest.mark.parametrize("kind", ["index", "probabilities"])
@pytest.mark.parametrize("name", NAMES)
def test_finite_at_extremes(name, kind, value, reg_factor):
    evidence = torch.full((4, 3), value)
    evidence[1, 0] = evidence[2, 1] = 1.0
    evidence[3] = torch.tensor([value, 0.0, 0.0])
    target = torch.zeros(4, dtype=torch.long) if kind == "index" else torch.full((4, 3), 1 / 3)
    evidence.requires_grad_()
    loss = loss_of(name)(evidence, target, reg_factor, reduction="none")
    assert loss.isfinite().all()
    (gradient,) = torch.autograd.grad(loss.sum(), evidence)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"i-edl"}))
def test_single_class_has_nothing_to_say(name):
    evidence = torch.rand(3, 1, requires_grad=True)
    loss = loss_of(name)(evidence, torch.zeros(3, dtype=torch.long), 0.1)
    loss.backward()
    assert loss.isfinite()
    if name not in ("uce", "belief-matching"):
        assert loss.abs() < 1e-6
    assert evidence.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_mean_over_nothing_is_zero(name, shape):
    evidence = torch.rand(shape, requires_grad=True)
    target = torch.zeros(shape[:1] + shape[2:], dtype=torch.long)
    loss = loss_of(name)(evidence, target, 0.1)
    loss.backward()
    assert loss == 0
    assert loss_of(name)(evidence, target, 0.1, reduction="none").shape == target.shape
    ignored = torch.full((3,), -100)
    assert loss_of(name)(torch.rand(3, 4), ignored, 0.1) == 0


@pytest.mark.parametrize("name", NAMES)
def test_shapes_without_values(name):
    evidence = torch.rand(4, 3, 2, device="meta", requires_grad=True)
    target = torch.zeros(4, 2, dtype=torch.long, device="meta")
    loss = loss_of(name)(evidence, target, 0.1, reduction="none")
    assert loss.shape == (4, 2)
    loss.sum().backward()
    assert evidence.grad.shape == evidence.shape


@pytest.mark.parametrize("name", NAMES)
def test_gradients_a_sample_by_vmap(name):
    evidence, target = batch()
    per_sample = torch.func.vmap(torch.func.grad(lambda e, t: loss_of(name)(e, t, 0.1)))(evidence, target)
    leaf = evidence.clone().requires_grad_()
    loss_of(name)(leaf, target, 0.1, reduction="sum").backward()
    torch.testing.assert_close(per_sample, leaf.grad)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_jacobians_in_one_go(name, soft):
    evidence, target = batch()
    target = torch.rand_like(evidence).softmax(1) if soft else target

    def losses(e):
        return loss_of(name)(e, target, 0.1, reduction="none")

    expected = torch.autograd.functional.jacobian(losses, evidence)
    torch.testing.assert_close(torch.func.jacrev(losses)(evidence), expected)
    torch.testing.assert_close(torch.autograd.functional.jacobian(losses, evidence, vectorize=True), expected)


@pytest.mark.parametrize("name", NAMES)
def test_lists_are_no_tensors(name):
    with pytest.raises(TypeError, match="evidence must be a tensor, got list"):
        loss_of(name)([[1.0, 2.0]], torch.tensor([0]))
    with pytest.raises(TypeError, match="target must be a tensor, got list"):
        loss_of(name)(torch.rand(1, 2), [0])


@pytest.mark.parametrize("name", NAMES)
def test_tensor_reg_factor(name):
    evidence, target = batch()
    factor = torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(loss_of(name)(evidence, target, factor), loss_of(name)(evidence, target, 0.3))


@pytest.mark.parametrize("name", NAMES)
def test_negative_evidence_is_an_error(name):
    evidence, target = torch.tensor([[1.0, -0.5]]), torch.tensor([0])
    with pytest.raises(ValueError, match=r"evidence must be >= 0 .*, got -0.5"):
        loss_of(name)(evidence, target)


# Use


@pytest.mark.parametrize("name", NAMES)
def test_trains_a_head_on_digits(name, digits):
    (features, targets), (test_features, test_targets) = digits
    entry = ul.get_loss(name)
    evidence_of = ul.get_evidence_function(entry.evidence)
    head = torch.nn.Linear(features.shape[1], 10)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    annealing = ul.LinearSchedule(entry.default_reg, steps=100)
    for _ in range(200):
        optimizer.zero_grad()
        entry.function(evidence_of(head(features)), targets, annealing.value).backward()
        optimizer.step()
        annealing.step()
    accuracy = (head(test_features).argmax(1) == test_targets).float().mean()
    assert accuracy >= 0.95


@pytest.fixture(scope="module")
def digits():
    """Features of a frozen network, here a random one, and targets; for training and for testing."""
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    draw = torch.Generator().manual_seed(0)
    order = torch.randperm(len(targets), generator=draw)
    features = (torch.tensor(inputs / 16).float() @ torch.randn(64, 256, generator=draw) / 4).relu()
    features, targets = features[order], torch.tensor(targets)[order]
    return (features[:1300], targets[:1300]), (features[1300:], targets[1300:])
