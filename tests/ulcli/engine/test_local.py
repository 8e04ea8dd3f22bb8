"""Rows out of inputs: one an image, in order, the same however they were batched."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import special
from torch import nn

import uncertainty_loss as ul
from ulcli.data.arrays import ArraySet
from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.data.imageset import Subset
from ulcli.data.sources.folders import FileSet, class_folder
from ulcli.engine.batch import RowOptions
from ulcli.engine.local import Scorer, is_labelled
from ulcli.expressions import Condition
from ulcli.model.choices import EvidenceFrom, SetMethod
from ulcli.model.file import Model
from ulcli.model.flags import Flags
from ulcli.model.predictor import Predictor
from ulcli.network.backbone import Backbone
from ulcli.reporting import Silent
from ulcli.rows import MEASURES

FLAGS = Condition("vacuity", ">", 0.1)


@pytest.fixture(scope="module")
def model(digits_model):
    return Model.load(digits_model)


@pytest.fixture
def scorer(model):
    def make(*, batch_size=64, workers=1, **options):
        asked = RowOptions(**{"flag_on": FLAGS, **options})
        return Scorer(model, model.backbone.build(), asked, batch_size=batch_size, workers=workers)

    return make


@pytest.fixture(scope="module")
def digits():
    return Subset(labelled_set(DataName("digits"), "test", Places()), range(30), "some digits")


def score(scorer, *sets):
    return list(scorer.rows(sets, Silent()))


def test_the_figures_of_a_row(scorer, model, digits):
    rows = score(scorer(probs=True, alpha=True), digits)
    x = torch.stack([model.transform(digits.load(index)) for index in range(30)])
    with torch.no_grad():
        features = model.backbone.build().network[:-1](x)
    predictor = model.predictor
    outputs = predictor.head.linear(features).numpy() / predictor.head.temperature
    p = special.softmax(outputs, axis=1)
    for number, row in enumerate(rows):
        comparable = predictor.images * row["typicality"] * min(row["typicality"] / predictor.fading, 1)
        own = 1 + 10 * comparable * p[number]
        total = own.sum()
        assert row["path"] == digits.identify(number)
        assert row["label"] == digits.label_name(number)
        assert row["predicted"] == str(own.argmax())
        assert row["error"] is None
        assert row["vacuity"] == pytest.approx(10 / total, rel=1e-5) == pytest.approx(1 / (1 + comparable), rel=1e-5)
        assert row["confidence"] == pytest.approx(own.max() / total, rel=1e-5)
        assert row["flagged"] is bool(10 / total > 0.1)
        assert row["reason"] == ("unfamiliar" if row["flagged"] else None)
        assert [row[f"p_{k}"] for k in range(10)] == pytest.approx(list(own / total), rel=1e-4)
        assert [row[f"alpha_{k}"] for k in range(10)] == pytest.approx(list(own), rel=1e-4)
        assert sum(row[f"p_{k}"] for k in range(10)) == pytest.approx(1)
    assert np.mean([row["predicted"] == row["label"] for row in rows]) > 0.9


def test_columns(scorer, digits):
    words = ["predicted", *MEASURES, "flagged", "reason", "error"]
    assert list(MEASURES)[-1] == "typicality"
    assert scorer().columns(labelled=False) == ["path", *words]
    assert scorer().columns(labelled=True) == ["path", "label", *words]
    wide = scorer(probs=True, alpha=True)
    ends = [f"{kind}_{k}" for kind in ("p", "alpha") for k in range(10)]
    assert wide.columns(labelled=True) == ["path", "label", *words, *ends]
    assert all(list(row) == wide.columns(labelled=True) for row in score(wide, digits))


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 7, "workers": 3}])
def test_rows_do_not_depend_on_the_batch(scorer, digits, options):
    for one, other in zip(score(scorer(**options), digits), score(scorer(batch_size=64), digits), strict=True):
        for name, value in one.items():
            assert other[name] == (pytest.approx(value, rel=1e-5, abs=1e-7) if isinstance(value, float) else value)


@pytest.mark.parametrize("measure", MEASURES)
def test_what_is_flagged_on(scorer, digits, measure):
    plain = score(scorer(), digits)
    middle = sorted(row[measure] for row in plain)[15]
    rows = score(scorer(flag_on=Condition(measure, ">=", middle)), digits)
    for row in rows:
        assert row["flagged"] is (row[measure] >= middle)
        assert row["reason"] == (MEASURES[measure].reason if row["flagged"] else None)
    assert 0 < sum(row["flagged"] for row in rows) < 30


def test_the_models_own_thresholds_say_why(scorer, model, digits):
    vacuities = sorted(row["vacuity"] for row in score(scorer(), digits))
    doubts = sorted(1 - row["confidence"] for row in score(scorer(), digits))
    flags = Flags(0.05, vacuity=vacuities[24], target_accuracy=0.98, doubt=doubts[14])
    rows = score(Scorer(replace(model, flags=flags), model.backbone.build()), digits)
    for row in rows:
        if row["vacuity"] > vacuities[24]:
            assert (row["flagged"], row["reason"]) == (True, "unfamiliar")
        elif 1 - row["confidence"] > doubts[14] + 1e-9:
            assert (row["flagged"], row["reason"]) == (True, "ambiguous")
        elif 1 - row["confidence"] < doubts[14] - 1e-9:
            assert (row["flagged"], row["reason"]) == (False, None)
    assert {row["reason"] for row in rows} == {None, "unfamiliar", "ambiguous"}


@pytest.mark.parametrize("method", SetMethod)
def test_the_set_column(scorer, model, digits, method):
    wide = scorer(sets=0.95, set_method=method, probs=True)
    assert wide.columns(labelled=True)[-11] == "set"
    rows = score(wide, digits)
    held = 0
    for row in rows:
        names = row["set"].split("|")
        p = torch.tensor([[row[f"p_{k}"] for k in range(10)]], dtype=torch.float64)
        mask = model.sets.classes(p, 0.95, method)[0]
        strange = row["vacuity"] > model.flags.vacuity * (1 + 1e-6)  # of such an image no class is excluded
        assert names == [str(k) for k in range(10) if mask[k] or strange]
        assert row["predicted"] in names
        held += row["label"] in names
    assert held >= 27
    every = score(scorer(sets=1 - 1e-9, set_method=method), digits)
    assert every[0]["set"] == "0|1|2|3|4|5|6|7|8|9"  # more than the validation data can promise


def test_of_an_unfamiliar_image_no_class_is_excluded(model, digits):
    vacuity = sorted(row["vacuity"] for row in score(Scorer(model, model.backbone.build()), digits))[20]
    strict = replace(model, flags=Flags(0.05, vacuity=vacuity))
    rows = score(Scorer(strict, model.backbone.build(), RowOptions(sets=0.5)), digits)
    assert sum(row["reason"] == "unfamiliar" for row in rows) == 9
    for row in rows:
        assert (row["set"] == "0|1|2|3|4|5|6|7|8|9") is (row["reason"] == "unfamiliar")


def test_a_row_without_figures_has_an_empty_set(scorer, tmp_path):
    scoring = scorer(sets=0.95)
    (row,) = score(scoring, FileSet("files", [str(tmp_path / "none.png")]))
    assert row["set"] is None
    assert list(row) == scoring.columns(labelled=False)


def test_an_image_that_cannot_be_read_keeps_its_row(scorer, digits, tmp_path):
    for number in range(5):
        digits.load(number).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"no image")
    (tmp_path / "4.png").unlink()
    paths = [str(tmp_path / f"{number}.png") for number in range(5)]
    rows = score(scorer(batch_size=3, probs=True), FileSet("files", paths))
    assert [row["path"] for row in rows] == paths
    errors = [None, "not an image of a known format", None, None, "no such file"]
    assert [row["error"] for row in rows] == errors
    for number in (0, 2, 3):
        assert rows[number]["vacuity"] == pytest.approx(score(scorer(), digits)[number]["vacuity"], rel=1e-5)
    for row in rows:
        empty = [name for name, value in row.items() if value is None]
        expected = {"reason", "error"} if row["error"] is None else set(row) - {"path", "error"}
        assert expected - {"reason"} <= set(empty)
        if row["error"] is None:
            assert set(empty) <= expected


def test_only_unreadable_images(scorer, tmp_path):
    rows = score(scorer(), FileSet("files", [str(tmp_path / "none.png")] * 3))
    assert [row["error"] for row in rows] == ["no such file"] * 3


class Divides(nn.Module):
    """A network that divides by its image's sum, which is 0 for a black one."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        total = x.sum((1, 2, 3), keepdim=True)
        return self.body(x * (total / total))


def test_a_network_output_that_is_not_finite(model, digits):
    whole = model.backbone.build()
    taps = tuple(f"body.{name}" for name in whole.taps)
    backbone = Backbone("divides", None, Divides(whole.network), f"body.{whole.head}", taps)
    images = ArraySet("mixed", np.stack([np.asarray(digits.load(0)), np.zeros((8, 8), np.uint8)] * 2))
    rows = score(Scorer(model, backbone, RowOptions(FLAGS)), images)
    assert [row["error"] for row in rows] == [None, "the network's output is not finite"] * 2
    assert rows[1]["vacuity"] is rows[1]["predicted"] is rows[1]["flagged"] is None
    assert rows[2]["vacuity"] == pytest.approx(rows[0]["vacuity"])


class Hidden(nn.Module):
    """Makes NaN of all-black images, and hides it from the layers behind."""

    def __init__(self, body):
        super().__init__()
        self.first, self.body = Divides(nn.Identity()), body

    def forward(self, x):
        return self.body(self.first(x).nan_to_num())


def test_a_layer_that_gives_nan_leaves_no_row_to_trust(model, digits):
    """Not even where the head alone says how much evidence there is."""
    whole = model.backbone.build()
    taps = ("first", *(f"body.{name}" for name in whole.taps[1:]))
    backbone = Backbone("hides", None, Hidden(whole.network), f"body.{whole.head}", taps)
    images = ArraySet("mixed", np.stack([np.asarray(digits.load(0)), np.zeros((8, 8), np.uint8)]))
    width = backbone(torch.zeros(1, *model.transform.shape)).embedding.shape[1]
    embedding = torch.randn(200, width)
    moments = ul.Moments(10)
    moments.update(embedding, torch.arange(200) % 10)
    old = model.predictor
    head = Predictor.fit(
        old.head,
        old.baseline,
        moments,
        torch.rand(50, 64),
        embedding[:50],
        torch.arange(50) % 10,
        fading=0.05,
        evidence_from=EvidenceFrom.HEAD,
    )
    rows = score(Scorer(replace(model, predictor=head), backbone, RowOptions(FLAGS)), images)
    assert [row["error"] for row in rows] == [None, "the network's output is not finite"]


def test_class_names_with_the_separator_can_be_told_apart(model, digits):
    names = ("a|b", "a", "b", "c\\", "|", *model.classes[5:])
    renamed = Scorer(replace(model, classes=names), model.backbone.build(), RowOptions(sets=1 - 1e-9))
    (row,) = score(renamed, Subset(digits, [0], "one digit"))
    assert row["set"] == r"a\|b|a|b|c\\|\||5|6|7|8|9"


def test_several_sets_in_the_order_given(scorer, digits, image_folder, recorder):
    labelled = class_folder(image_folder({"a": 1, "b": 1}), "toy")
    plain = FileSet("files", labelled.paths[:1])
    rows = list(scorer().rows([plain, labelled, digits], recorder))
    assert len(rows) == 33
    assert [row["label"] for row in rows[:3]] == [None, "a", "b"]
    assert recorder.tracks == [("scoring", 33)]
    assert recorder.steps == 33
    assert is_labelled([plain, labelled])
    assert not is_labelled([plain])
    assert not is_labelled([])


def test_the_first_rows_come_before_the_last_image_is_read(scorer):
    class Endless(ArraySet):
        loaded = 0

        def load(self, index):
            type(self).loaded += 1
            return Image.new("L", (8, 8))

    images = Endless("many", np.zeros((5000, 8, 8), np.uint8))
    rows = scorer(batch_size=10).rows([images], Silent())
    assert next(rows)["path"] == "many/0"
    assert Endless.loaded <= 30
    rows.close()


def test_images_that_cannot_be_read_are_steps_too(scorer, recorder, tmp_path):
    images = FileSet("files", [str(tmp_path / "none.png")] * 5)
    assert len(list(scorer(batch_size=2).rows([images], recorder))) == 5
    assert recorder.tracks == [("scoring", 5)]
    assert recorder.steps == 5


def test_evidence_beyond_all_numbers_leaves_no_row_to_trust(model, digits):
    """Where finite features meet a temperature next to nothing."""
    head = replace(model.predictor.head, temperature=1e-310, evidence="softplus")
    predictor = replace(model.predictor, head=head, evidence_from=EvidenceFrom.HEAD)
    rows = score(Scorer(replace(model, predictor=predictor), model.backbone.build()), Subset(digits, [0, 1], "two"))
    assert [row["error"] for row in rows] == ["the network's output is not finite"] * 2
    assert all(row["predicted"] is None for row in rows)
