"""Files of exported programs: of every layout, damaged, and of people with other intentions."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from programs import Small, edited, save
from torch import nn

from ulcli.errors import UserError
from ulcli.network.exported.archive import read_program
from ulcli.network.sources.exported import read_exported

IMAGES = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def nodes(graph):
    return graph["graph_module"]["graph"]["nodes"]


class Touch:
    """What leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path):
    """The file that must not come into being."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def saved(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def told(path):
    with pytest.raises(UserError) as error:
        read_exported(path)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"'{path}' ")
    return message.removeprefix(f"'{path}' ")


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.rand.default",
        "torch.ops.aten.as_strided.default",
        "torch.ops.aten._sparse_coo_tensor_unsafe.default",
        "torch.ops.higher_order.cond",
        "torch.ops.higher_order.wrap_with_set_grad_enabled",
        "torch.ops.inductor.something.default",
        "torch.ops.prims.add.default",
        "torch.load",
        "torch.hub.load",
        "torch.sym_not.__globals__",
        "torch.ops.aten.relu.default.__class__",
        "torch.ops.aten.relu.default\n",
        "builtins.eval",
        "math.pow",
        "_operator.pow",
        "_operator.lshift",
        "_operator.attrgetter",
        "os.system",
        "",
    ],
)
def test_operators_that_are_none_of_classifiers(tmp_path, files, trap, target):
    def change(graph):
        nodes(graph)[0] |= {
            "target": target,
            "inputs": [{"name": "command", "arg": {"as_string": f"touch {trap}"}, "kind": 1}],
        }

    message = told(edited(files["any"], tmp_path / "a.pt2", change))
    assert message.startswith(f"calls {target!r}" if "\n" not in target else "calls '")
    assert "none of the operators" in message


@pytest.mark.parametrize("overload", ["__class__", "__setattr__", "overloads", "nothing"])
def test_methods_of_operators_are_none(tmp_path, files, overload):
    def change(graph):
        nodes(graph)[0]["target"] = f"torch.ops.aten.add.{overload}"

    assert f"calls 'torch.ops.aten.add.{overload}', which PyTorch" in told(
        edited(files["any"], tmp_path / "a.pt2", change)
    )


def test_expressions_are_not_evaluated(tmp_path, files, trap):
    text = f"__import__('os').system('touch {trap}')"

    def change(graph):
        size = graph["graph_module"]["graph"]["tensor_values"]["images"]["sizes"][0]
        size["as_expr"]["expr_str"] = text
        graph["range_constraints"][text] = {"min_val": 0, "max_val": None}
        graph["guards_code"] = [text]
        graph["graph_module"]["graph"]["sym_int_values"] = {"x": {"as_expr": {"expr_str": text, "hint": None}}}

    read_exported(edited(files["any"], tmp_path / "a.pt2", change))


@pytest.mark.parametrize("member", ["sample_inputs/model.pt", "extra/notes"])
def test_what_is_not_needed_is_not_read(tmp_path, files, trap, member):
    path = edited(files["any"], tmp_path / "a.pt2", members={member: pickle.dumps(Touch(trap))})
    assert read_exported(path).built.network(IMAGES).shape == (5, 5)


@pytest.mark.parametrize("pickled", [pickle.dumps, saved])
def test_weights_that_want_to_run_code(tmp_path, files, trap, pickled):
    def as_pickle(content):
        config = json.loads(content)
        entry = next(entry for entry in config["config"].values() if entry["path_name"] == "weight_0")
        entry["use_pickle"] = True
        return json.dumps(config).encode()

    members = {"weights/weight_0": pickled(Touch(trap)), "weights_config.json": as_pickle}
    message = told(edited(files["any"], tmp_path / "a.pt2", members=members))
    assert message == "holds weights that are no plain tensors, or want to run code; refused"


@pytest.mark.parametrize("name", ["custom_obj_0", "opaque_obj_0", "../models/model.json", "weight_0/../x"])
def test_objects_of_custom_classes(tmp_path, files, trap, name):
    entry = {"path_name": name, "is_param": False, "use_pickle": True, "tensor_meta": None}
    members = {
        "constants_config.json": json.dumps({"config": {"x": entry}}).encode(),
        "weights/weight_0": lambda content: content,
    }
    assert told(edited(files["any"], tmp_path / "a.pt2", members=members)).startswith("holds an object of a custom")


def legacy(path, target, change=lambda name, content: content):
    """The same program in the layout of PyTorch 2.6."""
    archive = read_program(path)
    with zipfile.ZipFile(path) as source:
        graph = next(source.read(name) for name in source.namelist() if name.endswith("models/model.json"))
    members = {
        "serialized_exported_program.json": graph,
        "serialized_state_dict.pt": saved({key: nn.Parameter(value) for key, value in archive.state.items()}),
        "serialized_constants.pt": saved({}),
        "serialized_example_inputs.pt": saved(((torch.zeros(1),), {})),
        "version": b"8.2",
    }
    with zipfile.ZipFile(target, "w") as copy:
        for name, content in members.items():
            copy.writestr(name, change(name, content))
    return target


def test_the_layout_of_older_versions(tmp_path, files, network):
    bundle = read_exported(legacy(files["four"], tmp_path / "a.pt2"))
    with torch.inference_mode():
        torch.testing.assert_close(bundle.built.network(IMAGES), network(IMAGES))


def test_older_layouts_are_not_unpickled_either(tmp_path, files, trap):
    def change(name, content):
        return pickle.dumps(Touch(trap)) if name == "serialized_state_dict.pt" else content

    assert "want to run code" in told(legacy(files["four"], tmp_path / "a.pt2", change))


def test_versions_of_the_format_that_are_not_read(tmp_path, files):
    def change(graph):
        graph["schema_version"]["major"] = 7
        graph["torch_version"] = "2.5.1"

    assert told(edited(files["any"], tmp_path / "a.pt2", change)) == (
        "is of PyTorch 2.5.1 in version 7 of its format, of which 8 is read; export it again, with PyTorch 2.6 or newer"
    )


def test_operators_of_another_version(tmp_path, files):
    def change(graph):
        nodes(graph)[0]["target"] = "torch.ops.aten.relu.of_tomorrow"

    assert "does not have; export it with this" in told(edited(files["any"], tmp_path / "a.pt2", change))


def test_networks_in_training_mode(tmp_path):
    assert told(save(Small().train(), tmp_path / "a.pt2")).endswith("call model.eval() before torch.export.export")
    dropout = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Flatten(), nn.LazyLinear(2))
    dropout(torch.zeros(1, 3, 16, 16))
    assert "exported in training mode" in told(save(dropout.train(), tmp_path / "b.pt2"))


class Two(nn.Module):
    def forward(self, images, masks):
        return (images * masks).mean((2, 3))


def test_inputs_that_are_no_images(tmp_path):
    torch.export.save(torch.export.export(Two(), (torch.rand(2, 3, 8, 8),) * 2), tmp_path / "two.pt2")
    assert told(tmp_path / "two.pt2") == "takes 2 tensors, expected one: the images"
    assert "takes a tensor of 2 dimensions" in told(save(nn.Linear(3, 2), tmp_path / "a.pt2", (3,)))
    assert "takes images of 4 channels" in told(save(nn.Conv2d(4, 2, 3), tmp_path / "b.pt2", (4, 8, 8)))
    assert "of 8 x 9 pixels, expected square" in told(save(nn.Conv2d(3, 2, 3), tmp_path / "c.pt2", (3, 8, 9)))


@pytest.mark.parametrize("cut", [100, -100])  # the example inputs are an archive within, of which the end is there
def test_truncated_files(tmp_path, files, cut):
    (tmp_path / "a.pt2").write_bytes(files["any"].read_bytes()[:cut])
    assert "is truncated" in told(tmp_path / "a.pt2")


def test_a_changed_bit_is_told(tmp_path, files):
    content = bytearray(files["any"].read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.pt2").write_bytes(content)
    assert "is damaged" in told(tmp_path / "a.pt2")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda graph: nodes(graph).reverse(), id="values out of order"),
        pytest.param(lambda graph: nodes(graph).clear(), id="no operators"),
        pytest.param(lambda graph: nodes(graph).append(nodes(graph)[-1]), id="a name twice"),
        pytest.param(lambda graph: argument(graph, {"as_graph": {}}), id="a graph"),
        pytest.param(lambda graph: argument(graph, {"as_custom_obj": {"name": "x"}}), id="an object"),
        pytest.param(lambda graph: argument(graph, {"as_int": 2**80}), id="a large number"),
        pytest.param(lambda graph: argument(graph, {"as_scalar_type": 99}), id="an unknown type"),
        pytest.param(lambda graph: argument(graph, {"as_tensor": {"name": "nothing"}}), id="an unknown value"),
        pytest.param(lambda graph: modules(graph, "a,forward,A"), id="a name of torch"),
        pytest.param(lambda graph: modules(graph, "a,..a.,A"), id="names of nothing"),
        pytest.param(lambda graph: modules(graph, ";".join(["a,a,A"] * 5000)), id="deep"),
        pytest.param(lambda graph: graph.update(graph_module=[]), id="not a graph"),
        pytest.param(lambda graph: graph.clear(), id="nothing"),
    ],
)
def test_graphs_that_make_no_sense(tmp_path, files, change):
    told(edited(files["any"], tmp_path / "a.pt2", change))


def argument(graph, value):
    nodes(graph)[0]["inputs"].append({"name": "x", "arg": value})


def modules(graph, stack):
    nodes(graph)[0]["metadata"]["nn_module_stack"] = stack


def test_compiled_packages_and_several_programs(tmp_path, files):
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("a/archive_format", "pt2")
        archive.writestr("a/data/aotinductor/model/code.so", "x")
    assert told(tmp_path / "a.pt2").startswith("holds compiled code (AOTInductor), which is not run")
    program = torch.export.load(files["any"])
    from torch.export.pt2_archive._package import package_pt2

    package_pt2(tmp_path / "b.pt2", exported_programs={"one": program, "two": program})
    assert told(tmp_path / "b.pt2").startswith("holds 2 exported programs; save a single one")


def test_paths_in_somebodys_code_are_left_out(files):
    assert "programs.py" not in json.dumps(read_program(files["any"]).description)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(tmp_path, dtype):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 5)).eval().to(dtype)
    torch.export.save(torch.export.export(network, (IMAGES.to(dtype),)), tmp_path / "a.pt2")
    bundle = read_exported(tmp_path / "a.pt2")
    name = str(dtype).removeprefix("torch.")
    assert bundle.built.notes == (f"the program is of {name}; the network computes in float32",)
    with torch.inference_mode():
        torch.testing.assert_close(bundle.built.network(IMAGES), network.float()(IMAGES))


def test_a_program_of_core_operators(tmp_path, network):
    program = torch.export.export(network, (IMAGES,)).run_decompositions()
    torch.export.save(program, tmp_path / "a.pt2")
    with torch.inference_mode():
        torch.testing.assert_close(read_exported(tmp_path / "a.pt2").built.network(IMAGES), network(IMAGES))
