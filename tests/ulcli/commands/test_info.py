"""What `ul info` says of a model file, against the plain content of that file."""

from dataclasses import replace

import pytest
import torch

from ulcli.commands.info import info
from ulcli.errors import UserError
from ulcli.evaluation.seen import PROMISE
from ulcli.model.choices import EvidenceFrom
from ulcli.model.file import Model
from ulcli.model.flags import Flags
from ulcli.model.head import Head
from ulcli.model.sample import digits_cnn
from ulcli.network.files.checkpoint import sample_checkpoint


@pytest.fixture(scope="module")
def changed(digits_model, tmp_path_factory):
    """Another model: in every field that is described it differs from the first."""
    model, path = Model.load(digits_model), tmp_path_factory.mktemp("changed") / "other.pt"
    linear = model.predictor.head.linear
    head = Head(linear, evidence="softplus", prior=0.25, temperature=3.5)
    replace(
        model,
        classes=tuple("jihgfedcba"),
        predictor=replace(model.predictor, head=head, evidence_from=EvidenceFrom.HEAD),
        loss={"name": "evidential", "reg_factor": 0.5, "epochs": 7},
        flags=Flags(0.125, 0.5, target_accuracy=0.75, doubt=0.375),
        validation={"accuracy": 0.5},
        data={**model.data, "name": "elsewhere", "hold_out": ["k"]},
        provenance={"ul": "0", "seed": 12},
        transform=replace(model.transform, mean=(0.25,), std=(0.5,)),
    ).save(path)
    return path


@pytest.mark.parametrize("name", ["digits_model", "changed"])
def test_the_fields_are_those_of_the_file(name, request):
    path = request.getfixturevalue(name)
    result, content = info(path), torch.load(path, weights_only=True)
    assert (result.path, result.size) == (str(path), len(path.read_bytes()))
    head = content["head"]
    assert result.fields == {
        "architecture": "ulcli.model.sample:digits_cnn",
        "parameters": sum(tensor.numel() for tensor in digits_cnn().state_dict().values()),
        "features": head["weight"].shape[1],
        "classes": content["classes"],
        "transform": content["transform"],
        "loss": content["loss"],
        "evidence": head["evidence"],
        "prior": head["prior"],
        "temperature": head["temperature"],
        "evidence_from": content["evidence"]["from"],
        "density": {"taps": content["backbone"]["taps"], "dimensions": content["density"]["centre"].shape[0]},
        "flags": content["flags"],
        "validation": content["validation"],
        "promises": PROMISE,
        "data": content["data"],
        "provenance": content["provenance"],
    }
    assert list(result.fields)[:4] == ["architecture", "parameters", "features", "classes"]


def test_two_models_are_described_apart(digits_model, changed):
    one, other = info(digits_model).fields, info(changed).fields
    same = {name for name in one if one[name] == other[name]}
    assert same == {"architecture", "parameters", "features", "density", "promises"}
    assert other["flags"] == {"rate": 0.125, "vacuity": 0.5, "target_accuracy": 0.75, "doubt": 0.375}
    assert (other["evidence_from"], other["prior"], other["temperature"]) == ("head", 0.25, 3.5)


def test_a_checkpoint_is_no_model():
    with pytest.raises(UserError, match="is no model of this tool; make one of a checkpoint: ul train"):
        info(sample_checkpoint())


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        info(tmp_path / "none.pt")
