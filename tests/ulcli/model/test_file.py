"""`model.pt`: written whole, read without running anything, and every kind of damage has its own error."""

import copy
import re
from pathlib import Path

import pytest
import torch

from ulcli.errors import UserError
from ulcli.model.archive import read_archive
from ulcli.model.file import FORMAT, VERSION, Model, is_model


@pytest.fixture(scope="module")
def content(digits_model):
    return read_archive(digits_model)


def changed(content, path, value):
    """A copy with one entry replaced, or removed where value is `del`."""
    result = copy.deepcopy(content)
    *parents, last = path.split(".")
    place = result
    for key in parents:
        place = place[key]
    if value is del_:
        del place[last]
    else:
        place[last] = value
    return result


del_ = object()


def equal(first, second):
    """Deep equality with tensors."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    return first == second


def test_the_file_is_plain_data_in_the_documented_shape(content):
    assert content["format"] == FORMAT == "uncertainty-loss model"
    assert content["version"] == VERSION == 1
    assert is_model(content)
    for key in ("backbone", "transform", "classes", "head", "loss", "flags", "validation", "data", "provenance"):
        assert key in content

    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return value is None or type(value) in (torch.Tensor, str, int, float, bool)

    assert plain({**content, "backbone": {**content["backbone"], "state": dict(content["backbone"]["state"])}})


def test_saved_and_loaded_is_the_same(digits_model, content, tmp_path):
    path = tmp_path / "again.pt"
    Model.load(digits_model).save(path)
    assert equal(read_archive(path), content)


def test_the_network_comes_back(digits_model):
    model = Model.load(digits_model)
    backbone = model.backbone.build()
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    features = backbone.features(torch.zeros(2, *model.transform.shape))
    assert model.head.alpha(features).shape == (2, len(model.classes))
    assert model.baseline(features).shape == (2, len(model.classes))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "other", r"is no model of this tool; make one of a checkpoint: ul train m\.pt --arch"),
        ("version", 2, "has format version 2, this ul reads up to 1; upgrade ul"),
        ("version", "1", "has format version 1, this ul reads"),
        ("version", del_, "has format version None"),
        ("head", del_, "is damaged: KeyError: 'head'; train the model again"),
        ("head", [1], "is damaged: TypeError"),
        ("head.weight", torch.zeros(3, 64), r"is damaged: ValueError: a classifier of shape \(3, 64\) does not fit 10"),
        ("head.weight", [[1.0]], "is damaged: AttributeError"),
        ("head.bias", torch.zeros(3), "is damaged: ValueError: a classifier of shape"),
        ("baseline.weight", torch.zeros(64), "is damaged: ValueError: a classifier of shape"),
        ("baseline.weight", torch.zeros(10, 3), "is damaged: ValueError: head and baseline do not read the same"),
        ("head.evidence", "get_loss", "is damaged: ValueError: no evidence function is called 'get_loss'"),
        ("head.prior", "one", "is damaged: ValueError"),
        ("classes", ["a"] * 10, "is damaged: ValueError: class names are not distinct texts"),
        ("classes", list(range(10)), "is damaged: ValueError: class names are not distinct texts"),
        ("classes", None, "is damaged: TypeError"),
        ("transform.crop", 0, "is damaged: ValueError: expected 0 < crop <= resize"),
        ("transform.std", [0.0], "is damaged: ValueError: expected a positive std"),
        ("transform.extra", 1, "is damaged: TypeError"),
        ("flags.vacuity", float("nan"), "is damaged: ValueError: the threshold is not a number"),
        ("backbone.arch", None, "is damaged: TypeError: the backbone has no name or no weights"),
        ("backbone.state", [], "is damaged: AttributeError"),
        ("backbone.state", {"0.weight": "x"}, "is damaged: TypeError: the backbone has no name or no weights"),
    ],
)
def test_damage_is_told(content, tmp_path, monkeypatch, path, value, message):
    monkeypatch.chdir(tmp_path)
    torch.save(changed(content, path, value), "m.pt")
    with pytest.raises(UserError, match=message):
        Model.load(Path("m.pt"))


def test_a_plain_checkpoint_is_no_model(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="is no model of this tool"):
        Model.load(tmp_path / "a.pt")
    assert not is_model([1])


def test_a_truncated_model(digits_model, tmp_path):
    (tmp_path / "m.pt").write_bytes(digits_model.read_bytes()[:-100])
    with pytest.raises(UserError, match="is truncated: the end of the archive is missing"):
        Model.load(tmp_path / "m.pt")


@pytest.mark.parametrize("path", ["backbone.state", "backbone.head"])
def test_a_network_that_has_changed_since(content, path):
    value = {"0.weight": torch.ones(1)} if path.endswith("state") else "gone"
    model = Model.parse(changed(content, path, value), "m.pt")
    message = (
        "does not fit 'ulcli.model.sample:digits_cnn'" if path.endswith("state") else "has no layer 'gone' any more"
    )
    with pytest.raises(UserError, match=re.escape(message)):
        model.backbone.build()


def test_a_place_that_cannot_be_written(digits_model, tmp_path):
    with pytest.raises(UserError, match=r"cannot write '.*m\.pt': No such file or directory"):
        Model.load(digits_model).save(tmp_path / "none" / "m.pt")


def test_a_save_that_fails_keeps_the_old_file(digits_model, tmp_path, monkeypatch):
    path = tmp_path / "m.pt"
    path.write_bytes(b"old")
    model = Model.load(digits_model)
    model.data["what"] = lambda: None  # cannot be pickled
    with pytest.raises(Exception, match="pickle"):
        model.save(path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["m.pt"]
