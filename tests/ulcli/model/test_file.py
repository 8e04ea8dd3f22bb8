"""`model.pt`: written whole, read without running anything, and every kind of damage has its own error."""

import contextlib
import copy
import json
import math
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import uncertainty_loss as ul
from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.evaluation.estimates import Resamples, against
from ulcli.model.baselines import FeatureBaselines
from ulcli.model.choices import EvidenceFrom, SetMethod
from ulcli.model.file import FORMAT, VERSION, BackboneRecord, Model, is_model
from ulcli.model.flags import Flags
from ulcli.model.head import Head
from ulcli.model.predictor import Predictor
from ulcli.model.sets import PredictionSets
from ulcli.network.files.archive import read_archive
from ulcli.network.linear import Linear
from ulcli.reporting import Silent


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
CONTENT = (
    *("backbone", "transform", "classes", "head", "baseline", "density", "familiarity", "evidence"),
    *("loss", "flags", "sets", "validation", "data", "provenance", "feature_baselines"),
)


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
    for key in CONTENT:
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
    predictions = model.predictor(*backbone(torch.zeros(2, *model.transform.shape)))
    assert predictions.alpha.shape == predictions.head_alpha.shape == (2, len(model.classes))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "other", r"is no model of this tool; make one of a checkpoint: ul train m\.pt --arch"),
        ("version", 2, "has format version 2, this ul reads up to 1; upgrade ul"),
        ("version", "1", "has format version 1, this ul reads"),
        ("version", del_, "has format version None"),
        ("head", del_, "is damaged: head is missing; train the model again"),
        ("head", [1], r"is damaged: head is \[1\], expected a dictionary"),
        ("head.weight", torch.zeros(3, 64), r"is damaged: a classifier of shape \(3, 64\) does not fit 10"),
        ("head.weight", [[1.0]], r"is damaged: head.weight is .*, expected a tensor of finite floating-point numbers"),
        ("head.bias", torch.zeros(3), "is damaged: a classifier of shape"),
        ("baseline.weight", torch.zeros(64), "is damaged: a classifier of shape"),
        ("baseline.weight", torch.zeros(10, 3), "is damaged: head and baseline do not read the same"),
        ("head.evidence", "get_loss", "is damaged: no evidence function is called 'get_loss'"),
        ("head.prior", "one", "is damaged: head.prior is 'one', expected a number from 0 to 1e6"),
        ("head.prior", 1e308, r"is damaged: head.prior is 1e\+308, expected a number from 0 to 1e6"),
        ("head.temperature", 1e-308, "is damaged: head.temperature is 1e-308, expected a number from 1e-6 to 1e6"),
        ("head.weight", torch.tensor(1.0), "is damaged: "),
        ("data.name", "a\0b", "is damaged: data.name is .*, expected a text"),
        ("classes", [*"abcdefghi", "\ud800"], "is damaged: classes is .*, expected a list of texts"),
        ("classes", ["a"] * 10, "is damaged: class names are not distinct texts"),
        ("classes", list(range(10)), r"is damaged: classes is \[0, .*\], expected a list of texts"),
        ("classes", None, "is damaged: classes is None, expected a list of texts"),
        ("transform.crop", 9, "is damaged: expected 0 < crop <= resize"),
        ("transform.std", [0.0], "is damaged: expected a positive std"),
        ("transform.extra", 1, "is damaged: .*unexpected keyword argument 'extra'"),
        ("flags.vacuity", float("nan"), "is damaged: flags.vacuity is nan, expected a number"),
        ("head.temperature", 0.0, "is damaged: head.temperature is 0.0, expected a number from 1e-6 to 1e6"),
        ("evidence.from", "tea leaves", "is damaged: 'tea leaves' is not a valid EvidenceFrom"),
        ("density.means", torch.zeros(3), "is damaged: expected tensors that fit"),
        ("familiarity.mean", torch.zeros(2).double(), "is damaged: expected mean and std of three signs"),
        (
            "familiarity.scores",
            torch.tensor([2.0, 1.0, 3.0]).double(),
            "is damaged: the familiarity scores are not in ord",
        ),
        (
            "familiarity.std",
            torch.zeros(3).double(),
            "is damaged: the familiarity scores are not in order, or have no sp",
        ),
        ("density.between", -torch.ones(9), "is damaged: the density has no class means, or a variance below 0"),
        ("density.means", torch.zeros(0, 9), "is damaged: the density has no class means"),
        ("feature_baselines.density.between", -torch.ones(9), "is damaged: the density has no class means, or a var"),
        ("feature_baselines.density.means", torch.zeros(3), "is damaged: expected tensors that fit 64 features"),
        ("feature_baselines.vim.origin", torch.zeros(1), "is damaged: expected an origin and minor directions of 64"),
        ("feature_baselines.vim.scale", math.inf, "is damaged: feature_baselines.vim.scale is inf, expected a finite"),
        ("feature_baselines.vim.minor", torch.zeros(64, 2).double(), "minor is .*, expected a .* single-precision num"),
        ("feature_baselines.vim", del_, "is damaged: feature_baselines.vim is missing"),
        ("feature_baselines", [], r"is damaged: feature_baselines is \[\], expected a dictionary"),
        ("sets.lac", torch.zeros(3), "is damaged: the scores for prediction sets are not two rows of the same length"),
        ("backbone.num_classes", 10**6, "is damaged: no weights are of 1000000 classes"),
        ("backbone.options", ["width"], r"is damaged: backbone.options is \['width'\], expected a dictionary of pl"),
        (
            "backbone.options",
            {"width": torch.ones(1)},
            "is damaged: backbone.options is .*, expected a dictionary of pl",
        ),
        ("data.hold_out", "x", "is damaged: data.hold_out is 'x', expected a list of texts"),
        ("head.prior", math.inf, "is damaged: head.prior is inf, expected a number from 0 to 1e6"),
        ("transform.mean", [math.inf], "is damaged: expected finite mean and std"),
        ("transform.crop", 8.0, "is damaged: transform.crop is 8.0, expected a positive whole number"),
        ("transform.squash", 1, "is damaged: transform.squash is 1, expected True or False"),
        ("transform.antialias", None, "is damaged: transform.antialias is None, expected True or False"),
        ("sets.aps", del_, "is damaged: sets.aps is missing"),
        ("backbone.arch", None, "is damaged: backbone.arch is None, expected a text"),
        ("backbone.state", [], r"is damaged: backbone.state is \[\], expected a dictionary of tensors"),
        ("backbone.state", {"0.weight": "x"}, "is damaged: backbone.state is {.*, expected a dictionary of tensors"),
    ],
)
def test_damage_is_told(content, tmp_path, monkeypatch, path, value, message):
    monkeypatch.chdir(tmp_path)
    torch.save(changed(content, path, value), "m.pt")
    with pytest.raises(UserError, match=message):
        Model.load(Path("m.pt"))


def test_files_of_before_say_nothing_of_squash_and_antialias(content, tmp_path):
    older = changed(changed(content, "transform.squash", del_), "transform.antialias", del_)
    torch.save(older, tmp_path / "m.pt")
    transform = Model.load(tmp_path / "m.pt").transform
    assert (transform.squash, transform.antialias) == (False, True)


NASTY = [None, -1, math.nan, math.inf, 10**400, 1e308, "x", [], {}, [1], [[None]], True, b"x"]
NASTY += [
    torch.zeros(2),
    torch.tensor(math.nan),
    torch.zeros(1).expand(10, 64),
    torch.zeros(10, 64, device="meta"),
    torch.zeros(10, 64).to_sparse(),
    torch.zeros(3, dtype=torch.complex64),
    torch.nn.Parameter(torch.zeros(10, 64)),
]


def places(content, prefix=""):
    """Every entry of a model file, weights as one."""
    for key, value in content.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict) and key != "state":
            yield from places(value, f"{prefix}{key}.")


def test_no_damage_to_one_entry_is_met_later(content, tmp_path):
    """Either the file is refused, or everything that reads it works."""
    shared = {**content, "density": {key: value[:] for key, value in content["density"].items()}}
    for place in places(content):
        for value in [del_, *NASTY]:
            damaged = replaced(shared, place.split("."), value)
            with contextlib.suppress(UserError):
                model = Model.parse(damaged, tmp_path / "m.pt")
                # What `ul info -f json` shows, then what `ul score` needs.
                json.dumps([model.loss, model.validation, model.data, model.provenance, asdict(model.flags)])
                backbone = model.backbone.build()
                predictions = model.predictor(*backbone(torch.zeros(2, *model.transform.shape)))
                model.flags.reasons(predictions.alpha, ul.vacuity(predictions.alpha, prior=predictions.prior))
                p = ul.expected_probability(predictions.alpha)
                for method in SetMethod:
                    model.sets.classes(p, 0.9, method)
                # What `ul evaluate` compares with.
                if model.feature_baselines is not None and place.startswith("feature_baselines"):
                    features = torch.randn(5, model.backbone.fit.features)
                    scores = model.feature_baselines.scores(features, model.predictor.baseline(features))
                    against(scores, scores, Resamples.of(5, 40, (0,)), Resamples.of(5, 40, (0,)))
                assert isinstance(model.data["hold_out"], list), (place, value)
                assert all(isinstance(model.data[key], str) for key in ("name", "root", "digest")), (place, value)


def replaced(content, path, value):
    """As `changed`, sharing what stays: weights are not copied a thousand times."""
    key, *rest = path
    if value is del_ and not rest:
        return {name: each for name, each in content.items() if name != key}
    return {**content, key: replaced(content[key], rest, value) if rest else value}


@pytest.mark.parametrize("place", ["loss", "validation", "data", "provenance"])
@pytest.mark.parametrize("value", [torch.zeros(2), b"x", {1: 2}, (1, 2), [torch.zeros(1)]])
def test_free_entries_hold_what_json_can(content, place, value):
    with pytest.raises(UserError, match=f"is damaged: {place} is .*, expected a dictionary of plain values"):
        Model.parse(changed(content, f"{place}.extra", value), "m.pt")


def test_a_list_that_holds_itself(content):
    circle = []
    circle.append(circle)
    with pytest.raises(UserError, match="is damaged: "):
        Model.parse({**content, "loss": {"name": circle}}, "m.pt")


def test_weights_may_lie_in_any_order_but_must_be_there(content, tmp_path):
    state = content["backbone"]["state"]
    turned = {key: value.mT.contiguous().mT if value.dim() > 1 else value for key, value in state.items()}
    Model.parse(changed(content, "backbone.state", turned), "m.pt").backbone.build()
    bomb = {**state, "11.weight": torch.zeros(1).expand(10, 2**40)}
    torch.save({**content, "backbone": {**content["backbone"], "state": bomb}}, tmp_path / "m.pt")
    with pytest.raises(UserError, match=r"is damaged: backbone\.state is .*, expected a dictionary of tensors"):
        Model.load(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("backbone.head", "9", "it gives features (256,) and an embedding"),
        ("backbone.head", None, "it gives features (10,) and an embedding"),
        ("backbone.taps", ["3", "6"], "expected 64 and 1220; train it again"),
        ("backbone.taps", ["11"], "train it again"),
        ("transform.crop", 1, "train it again"),
    ],
)
def test_a_network_that_gives_other_features(content, path, value, message):
    model = Model.parse(changed(content, path, value), "m.pt")
    with pytest.raises(UserError, match=f"'ulcli.model.sample:digits_cnn' does not fit .*{re.escape(message)}"):
        model.backbone.build()


def test_feature_baselines_of_another_classifier(content):
    x, y = torch.randn(40, 3), torch.arange(40) % 10
    other = FeatureBaselines.fit(x, y, Linear(torch.randn(10, 3), torch.zeros(10))).state_dict()
    with pytest.raises(UserError, match="is damaged: the feature baselines and the classifier do not read the same"):
        Model.parse({**content, "feature_baselines": other}, "m.pt")


@pytest.mark.parametrize("value", [None, del_])
def test_a_file_may_lack_feature_baselines(content, value):
    assert Model.parse(content, "m.pt").feature_baselines is not None
    assert Model.parse(changed(content, "feature_baselines", value), "m.pt").feature_baselines is None


def test_the_largest_numbers_give_scores_no_less(content):
    """Infinite they may be, but in an order."""
    most = torch.finfo(torch.float32).max
    state = content["feature_baselines"]
    density = {name: torch.full_like(tensor, most) for name, tensor in state["density"].items()}
    vim = {"origin": torch.full((64,), -most), "minor": torch.full((64, 2), most), "scale": -1e308}
    model = Model.parse({**content, "feature_baselines": {"density": density, "vim": vim}}, "m.pt")
    features = torch.randn(9, 64)
    scores = model.feature_baselines.scores(features, model.predictor.baseline(features))
    assert not any(np.isnan(each).any() for each in scores.values())


def test_a_plain_checkpoint_is_no_model(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="is no model of this tool"):
        Model.load(tmp_path / "a.pt")
    assert not is_model([1])


def test_a_truncated_model(digits_model, tmp_path):
    (tmp_path / "m.pt").write_bytes(digits_model.read_bytes()[:-100])
    with pytest.raises(UserError, match="is truncated: the end of the archive is missing"):
        Model.load(tmp_path / "m.pt")


def test_files_from_before_options_and_probes_were_kept(content):
    before = changed(changed(content, "backbone.options", del_), "backbone.probe", del_)
    model = Model.parse(before, "m.pt")
    assert model.backbone.options == {}
    assert model.backbone.build().head == content["backbone"]["head"]


@pytest.mark.parametrize("name", ["arch", "num_classes", "self", "width"])
def test_options_that_the_network_does_not_take(content, name):
    model = Model.parse(changed(content, "backbone.options", {name: 3}), "m.pt")
    with pytest.raises(UserError, match=f"'ulcli.model.sample:digits_cnn' must be callable with {name} alone"):
        model.backbone.build(trusted=True)
    with pytest.raises(UserError, match=f"is to be called with {name} by the word of a file; add --trust-code"):
        model.backbone.build()


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


def test_predictions_are_the_same_to_the_bit_after_a_round_trip(tmp_path):
    """From the objects as they were fitted, not as they were read."""
    classes, random = 3, torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 6, generator=random), torch.randint(classes, (300,), generator=random)
    embedding = ul.embed([x])
    moments = ul.Moments(classes)
    moments.update(embedding[:200], y[:200])
    head = Head(Linear(torch.randn(classes, 6, generator=random), torch.zeros(classes)), "softplus", 0.1)
    baseline = Linear(torch.randn(classes, 6, generator=random), torch.zeros(classes))
    validation = x[200:], embedding[200:], y[200:]
    predictor = Predictor.fit(head, baseline, moments, *validation, fading=0.1, evidence_from=EvidenceFrom.DENSITY)
    predictions = predictor(*validation[:2])
    p = ul.expected_probability(predictions.alpha)
    model = Model(
        backbone=BackboneRecord("a", None, None, ("0",), {}),
        transform=Transform(8, 8, (0.0,) * 3, (1.0,) * 3),
        classes=("a", "b", "c"),
        predictor=predictor,
        loss={"name": "maxnorm"},
        flags=Flags.fit(predictions, y[200:], rate=0.1, target_accuracy=0.05, reporter=Silent()),
        sets=PredictionSets.fit(p, y[200:]),
        validation={},
        data={"name": "a", "root": "b", "digest": "c", "hold_out": []},
        provenance={},
    )
    model.save(tmp_path / "m.pt")
    again = Model.load(tmp_path / "m.pt")
    strange = torch.cat([x, 30 * torch.randn(50, 6, generator=random)])
    one, other = (each.predictor(strange, ul.embed([strange])) for each in (model, again))
    for field in ("alpha", "head_alpha", "typicality"):
        assert torch.equal(getattr(one, field), getattr(other, field))
    assert one.prior == other.prior
    assert again.flags == model.flags
    vacuity = ul.vacuity(one.alpha)
    assert again.flags.reasons(one.alpha, vacuity) == model.flags.reasons(one.alpha, vacuity)
    for method in SetMethod:
        assert torch.equal(again.sets.classes(p, 0.9, method), model.sets.classes(p, 0.9, method))
    assert again.predictor.evidence_from is EvidenceFrom.DENSITY
    assert again.backbone.taps == ("0",)


def test_a_threshold_of_infinity_survives(content, tmp_path):
    torch.save(changed(content, "flags.vacuity", float("inf")), tmp_path / "m.pt")
    assert Model.load(tmp_path / "m.pt").flags.vacuity == float("inf")


def test_a_tap_that_the_network_has_no_more(content):
    model = Model.parse(changed(content, "backbone.taps", ["gone"]), "m.pt")
    with pytest.raises(UserError, match="has no layer 'gone' any more; train the model again"):
        model.backbone.build()
