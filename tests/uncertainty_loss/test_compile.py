"""Losses in compiled graphs: one operation each, and not compiled again when reg_factor changes."""

import shutil

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import uncertainty_loss as ul

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # torch's own, of many kinds, while it compiles
    pytest.mark.no_cover,
]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def gradient(loss, evidence, *arguments):
    leaf = evidence.clone().requires_grad_()
    value = loss(leaf, *arguments)
    value.backward()
    return value.detach(), leaf.grad


def compiled(name, dynamic=None):
    counter = CompileCounterWithBackend("aot_eager")
    loss = ul.get_loss(name).function
    return (
        torch.compile(lambda e, t, reg: loss(e, t, reg), backend=counter, fullgraph=True, dynamic=dynamic),
        loss,
        counter,
    )


@pytest.mark.parametrize("name", ul.loss_names())
def test_one_graph_for_every_tensor_reg_factor(name):
    graph, loss, counter = compiled(name)
    evidence, target = torch.rand(16, 5), torch.randint(5, (16,))
    for reg_factor in (0.0, 0.1, 0.25, 1.0):
        factor = torch.tensor(reg_factor)
        for got, expected in zip(
            gradient(graph, evidence, target, factor), gradient(loss, evidence, target, factor), strict=True
        ):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert counter.frame_count == 1


@pytest.mark.parametrize("name", ul.loss_names())
def test_numbers_become_inputs_at_their_first_change(name):
    graph, loss, counter = compiled(name)
    evidence, target = torch.rand(16, 5), torch.randint(5, (16,))
    for reg_factor in (0.1, 0.2, 0.35, 0.5, 0.9):
        torch.testing.assert_close(graph(evidence, target, reg_factor), loss(evidence, target, reg_factor))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("name", ul.loss_names())
def test_a_loss_is_one_operation_of_the_graph(name):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    loss = ul.get_loss(name).function
    torch.compile(lambda e, t: loss(e.exp(), t, 0.1), backend=backend, fullgraph=True)(
        torch.rand(6, 5), torch.randint(5, (6,))
    )
    calls = [node.target for graph in graphs for node in graph.graph.nodes if node.op.startswith("call")]
    assert len(calls) == 2


@pytest.mark.parametrize("name", ul.loss_names())
def test_any_size(name):
    graph, loss, _ = compiled(name, dynamic=True)
    for rows, classes in ((16, 5), (24, 7), (9, 12)):
        evidence, target = 5 * torch.rand(rows, classes), torch.randint(classes, (rows,))
        for got, expected in zip(
            gradient(graph, evidence, target, 0.1), gradient(loss, evidence, target, 0.1), strict=True
        ):
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ul.loss_names())
def test_transforms_in_a_graph(name):
    loss = ul.get_loss(name).function

    def each(evidence, target):
        return torch.func.vmap(torch.func.grad(lambda e, t: loss(e, t, 0.1)))(evidence, target)

    evidence, target = 5 * torch.rand(6, 5), torch.randint(5, (6,))
    graph = torch.compile(each, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(graph(evidence, target), each(evidence, target), rtol=1e-5, atol=1e-6)


def test_errors_say_what_was_expected():
    loss = torch.compile(ul.maxnorm_loss, backend="aot_eager")
    with pytest.raises(RuntimeError, match=r"target must be class indices \(6,\)"):
        loss(torch.rand(6, 5), torch.randint(5, (7,)))


@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"weight": torch.rand(5)}, {"ignore_index": 2}])
def test_options_in_a_graph(options):
    evidence, target = torch.rand(16, 5), torch.randint(5, (16,))
    loss = torch.compile(ul.EvidentialLoss(0.1, **options), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(loss(evidence, target), ul.EvidentialLoss(0.1, **options)(evidence, target))


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_generated_code():
    def loss(evidence, target):
        return ul.evidential_loss(evidence, target, 0.1)

    evidence, target = torch.rand(64, 10).mul(20).sub(10).exp(), torch.randint(10, (64,))
    graph = torch.compile(loss, fullgraph=True)
    for got, expected in zip(gradient(graph, evidence, target), gradient(loss, evidence, target), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ul.loss_names())
def test_exported_with_any_number_of_rows(name):
    class Criterion(torch.nn.Module):
        def forward(self, evidence, target):
            return ul.get_loss(name).function(evidence, target, 0.1)

    rows = torch.export.Dim("rows", min=2, max=10**6)
    evidence, target = torch.rand(16, 5), torch.randint(5, (16,))
    program = torch.export.export(Criterion(), (evidence, target), dynamic_shapes=({0: rows}, {0: rows})).module()
    evidence, target = torch.rand(40_000, 5), torch.randint(5, (40_000,))
    torch.testing.assert_close(program(evidence, target), Criterion()(evidence, target))


def test_a_module_made_in_a_compiled_function():
    evidence, target = torch.rand(6, 5), torch.randint(5, (6,))
    for _ in range(2):
        torch.compiler.reset()
        loss = torch.compile(lambda e, t: ul.MaxNormLoss(0.1, p_norm=2)(e, t), backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(loss(evidence, target), ul.maxnorm_loss(evidence, target, 0.1, p_norm=2))


@pytest.mark.filterwarnings("ignore")  # torch wants nobody to trace any more
@pytest.mark.parametrize("name", ul.loss_names())
def test_traced(name):
    def function(evidence, target):
        return ul.get_loss(name).function(evidence, target, 0.1)

    batches = [(rows * torch.rand(rows, 5), torch.randint(5, (rows,))) for rows in (16, 40)]
    with torch.no_grad():
        traced_without_gradient = torch.jit.trace(function, batches[0], check_trace=False)
    for traced in (traced_without_gradient, torch.jit.trace(function, batches[0], check_trace=False)):
        for batch in batches:
            torch.testing.assert_close(traced(*batch), function(*batch))
    with pytest.raises(NotImplementedError, match="trace cannot differentiate"):
        torch.jit.trace(function, (batches[0][0].requires_grad_(), batches[0][1]), check_trace=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("p_norm", [1, 2, 4])
def test_traced_without_a_gradient_and_differentiated(p_norm):
    """Torch refuses most of these; where it does not, the gradient is right."""
    evidence, target = 5 * torch.rand(6, 5), torch.randint(5, (6,))

    def function(evidence):
        return ul.maxnorm_loss(evidence, target, p_norm=p_norm)

    with torch.no_grad():
        traced = torch.jit.trace(function, (evidence,), check_trace=False)
    leaf = evidence.clone().requires_grad_()
    expected, got = (torch.autograd.grad(loss(leaf), leaf)[0] for loss in (function, traced))
    torch.testing.assert_close(got, expected)
