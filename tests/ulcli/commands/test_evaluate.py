"""What `ul evaluate` measures, against scikit-learn and the rows of `ul score`, what it says, and what it reads."""

import importlib
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_columns import SIGNS
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from ulcli.commands.evaluate import evaluate
from ulcli.commands.settings import EvaluateSettings, TrainSettings
from ulcli.commands.train import train
from ulcli.data.catalog import DataName, Places, labelled_set, strange_set
from ulcli.data.imageset import of_classes
from ulcli.data.loader import batches
from ulcli.data.shifts import Shifted
from ulcli.data.sources.folders import class_folder, plain_folder
from ulcli.engine.batch import RowOptions
from ulcli.engine.local import Scorer
from ulcli.errors import UserError
from ulcli.model.baselines import BASELINES, FeatureBaselines
from ulcli.model.file import Model
from ulcli.model.predictor import Predictor
from ulcli.model.sample import digits_cnn
from ulcli.network.backbone import Backbone
from ulcli.reporting import Silent
from uncertainty_loss import metrics


def asked(model, data=None, ood=(), shift=(), **options):
    """Settings without intervals, with OOD sets that are given as paths or names."""
    data = None if data is None else str(data)
    return EvaluateSettings(
        **{"model": model, "data": data, "ood": [*map(str, ood)], "shift": shift, "bootstrap": 0} | options
    )


def part(path, split):
    return path if split is None else f"{path}:{split}"


@pytest.fixture
def settings(digits_model, tmp_path, monkeypatch):
    monkeypatch.setenv("UL_CACHE_DIR", str(tmp_path / "cache"))
    return asked(digits_model, shift=["blur", "noise:5"])


def test_each_set_is_predicted_once_and_the_network_is_hashed_once(settings, monkeypatch):
    calls = {"predictions": 0, "digests": 0}
    predict, digest = Predictor.__call__, Backbone.digest

    def counting_predict(self, features, embedding):
        calls["predictions"] += 1
        return predict(self, features, embedding)

    def counting_digest(self):
        calls["digests"] += 1
        return digest(self)

    monkeypatch.setattr(Predictor, "__call__", counting_predict)
    monkeypatch.setattr(Backbone, "digest", counting_digest)
    evaluate(settings)
    assert calls == {"predictions": 5, "digests": 1}  # the data, two strange sets, two shifts


def test_figures_are_those_of_the_rows_of_score(settings, recorder):
    result, model = evaluate(settings), Model.load(settings.model)
    places, scorer = Places(), Scorer(model, model.backbone.build())
    data = labelled_set(DataName("digits"), "test", places)
    familiar = list(scorer.rows([data], recorder))
    assert result.metrics["accuracy"].value == pytest.approx(
        np.mean([row["predicted"] == row["label"] for row in familiar])
    )
    assert result.metrics["flag_rate"].value == pytest.approx(np.mean([row["flagged"] for row in familiar]))
    for name in ("noise", "photos"):
        strange = list(scorer.rows([strange_set(DataName(name), model.transform.shape, places)], recorder))
        outside = np.repeat([0, 1], [len(familiar), len(strange)])
        for measure in ("vacuity", "predictive_entropy", "dissonance"):
            expected = roc_auc_score(outside, [row[measure] for row in (*familiar, *strange)])
            assert result.ood[name].scores[measure]["auroc"].value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("data", "ood", "told"),
    [(None, "digits", True), ("digits:val", "digits:train", True), ("digits", "noise", False), (None, "photos", False)],
)
def test_strange_data_that_are_the_familiar_ones(settings, recorder, data, ood, told):
    evaluate(replace(settings, data=data, ood=[ood], shift=[]), recorder)
    said = f"--ood {ood} is the familiar data itself: its AUROC says nothing about strange images"
    assert recorder.warnings == ([said] if told else [])


def test_a_folder_is_the_same_data_by_any_path(settings, recorder, image_folder, monkeypatch):
    folder = image_folder({str(digit): 5 for digit in range(10)})
    monkeypatch.chdir(folder.parent)
    settings = replace(settings, data=str(folder), ood=["images"], shift=[])
    evaluate(settings, recorder)
    assert [text for text in recorder.warnings if "--ood images is the familiar data itself" in text]


@pytest.fixture
def calls(monkeypatch):
    """How often feature baselines were fitted."""
    seen, fit = [], FeatureBaselines.fit.__func__
    monkeypatch.setattr(FeatureBaselines, "fit", classmethod(lambda cls, *rest: seen.append(1) or fit(cls, *rest)))
    return seen


def test_feature_baselines_of_the_file_are_those_that_would_be_fitted(settings, tmp_path, calls):
    settings, model = replace(settings, shift=[]), Model.load(settings.model)
    replace(model, feature_baselines=None).save(tmp_path / "without.pt")
    stored = evaluate(settings)
    assert calls == []
    fitted = evaluate(replace(settings, model=tmp_path / "without.pt"))
    assert calls == [1]
    for name, strange in stored.ood.items():
        assert set(BASELINES) <= set(strange.scores)
        assert list(strange.scores) == list(fitted.ood[name].scores)
        for score in BASELINES:
            for figure, estimate in strange.scores[score].items():
                assert estimate.value == pytest.approx(fitted.ood[name].scores[score][figure].value, abs=1e-6)


@pytest.mark.parametrize("small", [True, False])
def test_training_images_that_are_gone(image_folder, tmp_path, recorder, monkeypatch, small):
    monkeypatch.setattr("ulcli.commands.train.SMALL", 10**6 if small else 1000)
    data, model = image_folder({"a": 30, "b": 30}), tmp_path / "m.pt"
    for split in ("train", "val", "test"):
        for name in "ab":
            (data / split / name).mkdir(parents=True)
            for path in sorted((data / name).iterdir())[:10]:
                path.rename(data / split / name / path.name)
    cnn = tmp_path / "cnn.pt"
    torch.save(digits_cnn().state_dict(), cnn)
    shape = {"image_size": 8, "grayscale": True}
    train(TrainSettings(checkpoint=cnn, arch="ulcli.model.sample:digits_cnn", data=str(data), output=model, **shape))
    settings = asked(model)
    before = evaluate(settings)
    shutil.rmtree(data / "train")
    after = evaluate(settings, recorder)
    (warning,) = recorder.warnings
    left_out = ("knn",) if small else BASELINES
    assert f"are gone or have changed: {', '.join(left_out)} {'is' if small else 'are'} left out, and" in warning
    for name, strange in after.ood.items():
        assert set(before.ood[name].scores) - set(strange.scores) == set(left_out)
        assert all(before.ood[name].scores[score] == estimates for score, estimates in strange.scores.items())


def test_images_that_give_nan_are_left_out_and_told(image_folder, tmp_path, recorder, monkeypatch):
    (tmp_path / "spread.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    # NaN for images of one colour\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv, self.fc = nn.Conv2d(1, 6, 3), nn.Linear(6, 2)\n"
        "    def forward(self, x):\n"
        "        spread = x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True)\n"
        "        return self.fc(self.conv(x * (spread / spread)).relu().mean((2, 3)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    torch.save(importlib.import_module("spread").Net().state_dict(), tmp_path / "net.pt")
    data, model = image_folder({"a": 20, "b": 20}), tmp_path / "m.pt"
    flat, faint = Image.new("L", (8, 8), 100), Image.new("L", (8, 8), 100)
    faint.putpixel((3, 3), 103)  # flat once it has little contrast
    for split in ("train", "val", "test"):
        for name in "ab":
            (data / split / name).mkdir(parents=True)
            for path in sorted((data / name).glob("*.png"))[:6]:
                path.rename(data / split / name / path.name)
        flat.save(data / split / "a" / "flat.png")
    faint.save(data / "test" / "a" / "faint.png")
    shape = {"image_size": 8, "grayscale": True}
    checkpoint = tmp_path / "net.pt"
    train(TrainSettings(checkpoint=checkpoint, arch="spread:Net", data=str(data), output=model, **shape), recorder)
    first, second = (text for text in recorder.warnings if "are left out: " in text)
    assert re.search("1 of 13 images in .*/train/a/flat.png': the network's output is not finite", first)
    assert re.search("1 of 13 images in .*/val/a/flat.png': the network's output is not finite", second)
    assert Model.load(model).data["images"] == 12

    recorder.warnings.clear()
    shift, ood = ["rotation", "contrast:5"], [image_folder({"x": 5}, "others")]
    result = evaluate(asked(model, ood=ood, shift=shift), recorder)
    assert result.n == result.shift["rotation:3"].n == 13
    assert result.shift["contrast:5"].n == 12
    assert result.unreadable == 1
    first, second = (text for text in recorder.warnings if "are left out: " in text)
    assert re.search("1 of 14 images in .*/test/a/flat.png': the network's output is not finite", first)
    assert re.search("2 of 14 images in .*/test/a/faint.png': the network's output is not finite", second)


def test_the_verdict_compares_with_the_best_baseline(settings):
    result = evaluate(settings)

    def mean(score):
        return np.mean([strange.scores[score]["auroc"].value for strange in result.ood.values()])

    rivals = ("max_probability", "entropy", "energy", "mahalanobis", "relative_mahalanobis", "knn", "vim")
    best = max(rivals, key=mean)
    assert result.verdict.baseline == best
    assert result.verdict.difference.value == pytest.approx(mean("vacuity") - mean(best))
    assert "better than the best baseline" in str(result.verdict)


# ---- small images: every figure, every set, every option ----


def rows_of(model, images):
    model = Model.load(model)
    return list(Scorer(model, model.backbone.build(), RowOptions(probs=True)).rows([images], Silent()))


def column(rows, name):
    return np.array([row[name] for row in rows], np.float64)


def labels_of(rows, model):
    """Probabilities (N, K) and labels (N,) from the rows of `ul score`."""
    classes = Model.load(model).classes
    p = np.array([[row[f"p_{name}"] for name in classes] for row in rows])
    return p, np.array([classes.index(row["label"]) for row in rows])


@pytest.fixture(params=["all", "held_out"])
def small(request, stripes_model, held_out_model, ood_folders):
    """Two models, and two OOD sets of unequal difficulty."""
    model = stripes_model if request.param == "all" else held_out_model
    return asked(model, ood=ood_folders.values())


def in_distribution(model, stripes_data):
    known = class_folder(stripes_data / "test", "test")
    return of_classes(known, Model.load(model).classes, "test")


def test_every_score_against_scikit_learn(small, stripes_data, ood_folders):
    result = evaluate(small)
    data = rows_of(small.model, in_distribution(small.model, stripes_data))
    assert result.n == len(data)
    for folder in ood_folders.values():
        other = rows_of(small.model, plain_folder(folder))
        against = result.ood[str(folder)]
        assert (against.kind, against.n) == ("far", 25)
        for name, sign in SIGNS.items():
            outside = np.repeat([0, 1], [len(data), 25])
            expected = roc_auc_score(outside, sign * np.concatenate([column(data, name), column(other, name)]))
            assert against.scores[name]["auroc"].value == pytest.approx(expected, abs=1e-9), name


def test_figures_of_the_model_and_of_the_classifier(small, stripes_data):
    result, model = evaluate(small), Model.load(small.model)
    images = in_distribution(small.model, stripes_data)
    rows = rows_of(small.model, images)
    p, y = labels_of(rows, small.model)
    assert result.metrics["accuracy"].value == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert result.metrics["nll"].value == pytest.approx(log_loss(y, p, labels=range(len(model.classes))))
    assert result.metrics["flag_rate"].value == pytest.approx(np.mean([row["flagged"] for row in rows]))
    assert result.metrics["misclassification_auroc"].value == pytest.approx(
        roc_auc_score(p.argmax(1) != y, -p.max(1)), abs=1e-9
    )
    pixels = torch.stack([model.transform(images.load(index)) for index in range(len(images))])
    features = model.backbone.build()(pixels).features.double().numpy()
    logits = features @ model.predictor.baseline.weight.double().numpy().T + model.predictor.baseline.bias.numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert result.baseline["accuracy"].value == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert result.baseline["nll"].value == pytest.approx(log_loss(y, p), rel=1e-5)
    assert set(result.baseline) == set(result.metrics) - {"flag_rate"}
    assert result.baseline["nll"] != result.metrics["nll"]


@pytest.mark.parametrize("loss", [None, "belief-matching"])
def test_the_heads_own_vacuity(held_out_model, stripes_data, ood_folders, fit, tmp_path, loss):
    # belief-matching has no prior, so no vacuity; but K / S is an order all the same.
    path = held_out_model if loss is None else fit(stripes_data, tmp_path / "m.pt", loss=loss)
    result, model = evaluate(asked(path, ood=[ood_folders["hard"]])), Model.load(path)
    backbone, evidence = model.backbone.build(), []
    for images in (in_distribution(path, stripes_data), plain_folder(ood_folders["hard"])):
        pixels = torch.stack([model.transform(images.load(index)) for index in range(len(images))])
        outputs = model.predictor.head.linear(backbone(pixels).features)
        evidence.append(outputs.double().clamp(-10, 10).exp().sum(1))
    expected = roc_auc_score(np.repeat([0, 1], list(map(len, evidence))), -torch.cat(evidence))
    (against,) = (each for name, each in result.ood.items() if name == str(ood_folders["hard"]))
    assert against.scores["head_vacuity"]["auroc"].value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("order", [("hard", "easy"), ("easy", "hard")])
def test_ood_auroc_is_that_of_the_worst_set(stripes_model, ood_folders, order):
    require = ["ood_auroc>=0.9", "accuracy>0.5", "flag_rate>0.99"]
    ood = [ood_folders[name] for name in order]
    result = evaluate(asked(stripes_model, ood=ood, require=require))
    hard, easy = (result.ood[str(ood_folders[name])].scores["vacuity"]["auroc"].value for name in ("hard", "easy"))
    assert hard < 0.9 <= easy
    first, second, third = result.requirements
    assert (str(first.condition), first.value, first.met) == (require[0], hard, False)
    assert (second.value, second.met) == (result.metrics["accuracy"].value, True)
    assert (third.value, third.met) == (result.metrics["flag_rate"].value, False)
    assert list(result.ood) == [str(ood_folders[name]) for name in order]


def test_held_out_classes_are_near_and_no_part_of_the_data(held_out_model, stripes_data, ood_folders, recorder):
    result = evaluate(asked(held_out_model, ood=[ood_folders["easy"]]), recorder)
    assert [(name, other.kind) for name, other in result.ood.items()] == [
        ("held-out dog", "near"),
        (str(ood_folders["easy"]), "far"),
    ]
    assert (result.n, result.ood["held-out dog"].n) == (24, 8)
    outside = rows_of(held_out_model, plain_folder(stripes_data / "test" / "dog"))
    data = rows_of(held_out_model, in_distribution(held_out_model, stripes_data))
    expected = roc_auc_score(np.repeat([0, 1], [24, 8]), [row["vacuity"] for row in (*data, *outside)])
    assert result.ood["held-out dog"].scores["vacuity"]["auroc"].value == pytest.approx(expected, abs=1e-9)
    assert recorder.warnings == recorder.notes == []


def test_without_ood_sets_the_builtin_ones(stripes_model):
    result = evaluate(asked(stripes_model))
    assert {name: (other.kind, other.n) for name, other in result.ood.items()} == {
        "noise": ("far", 500),
        "photos": ("far", 500),
    }


def test_intervals_come_from_resamples_of_each_set(stripes_model, stripes_data, ood_folders):
    settings = asked(stripes_model, ood=ood_folders.values(), shift=["contrast:5"], bootstrap=40, seed=3)
    result, images = evaluate(settings), class_folder(stripes_data / "test", "test")
    data, shifted = rows_of(stripes_model, images), rows_of(stripes_model, Shifted(images, "contrast", 5))
    for rows, found in ((data, result.metrics), (shifted, result.shift["contrast:5"].metrics)):
        p, y = labels_of(rows, stripes_model)
        for name, metric, *arrays in (
            ("nll", metrics.negative_log_likelihood, p, y),
            ("flag_rate", np.mean, column(rows, "flagged")),
        ):
            expected = metrics.bootstrap_interval(metric, *arrays, resamples=40, seed=(3, 0))
            assert (found[name].value, found[name].low, found[name].high) == pytest.approx(expected)
    draws = [metrics.resample_counts(n, 40, (3, position)) for position, n in enumerate((32, 25, 25))]
    others = [plain_folder(folder) for folder in ood_folders.values()]
    compared = [(result.ood[images.name], images, draws[place]) for place, images in enumerate(others, start=1)]
    compared.append((result.shift["contrast:5"], Shifted(images, "contrast", 5), draws[0]))
    replicates = []
    for found, other, drawn in compared:
        rows = rows_of(stripes_model, other)
        vacuity = column(data, "vacuity"), column(rows, "vacuity")
        replicates.append(metrics.ood_replicates(*vacuity, draws[0], drawn)["auroc"])
        expected = metrics.interval(replicates[-1])
        estimate = found.scores["vacuity"]["auroc"]
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(expected)
    assert result.verdict.own == pytest.approx(np.mean([replicates[0][0], replicates[1][0]]))  # no shift in it
    assert result.verdict.difference.low < result.verdict.difference.value < result.verdict.difference.high


def test_without_resamples_no_intervals(small):
    result = evaluate(small)
    estimates = [*result.metrics.values(), *result.baseline.values(), result.verdict.difference]
    estimates += [each for other in result.ood.values() for score in other.scores.values() for each in score.values()]
    assert all(each.low is each.high is None for each in estimates)


def test_the_result_says_what_was_measured(small):
    result = evaluate(small)
    assert result.model == str(small.model)
    assert result.data.endswith(":test")
    assert result.unreadable == 0
    assert result.shift == {}


# ---- what is read, and what is said of it ----


@pytest.mark.parametrize("split", [None, "test", "val", "train"])
def test_figures_on_training_images_are_too_good(stripes_model, stripes_data, ood_folders, recorder, split):
    settings = asked(stripes_model, part(stripes_data, split), [ood_folders["easy"]])
    result = evaluate(settings, recorder)
    assert result.data == f"{stripes_data}:{split or 'test'}"
    assert result.n == 4 * {"train": 20, "val": 12}.get(split, 8)
    too_good = f"the model was fitted on images of '{stripes_data}:train': these figures are too good"
    assert recorder.warnings == ([too_good] if split == "train" else [])


@pytest.fixture(scope="module")
def one_piece(stripes, fit, tmp_path_factory):
    """A data set without splits of its own, and a model of its train split."""
    folder = tmp_path_factory.mktemp("one")
    data = stripes(folder / "data", dict.fromkeys(("ant", "bee"), 20), seed=5)
    return data, fit(data, folder / "m.pt")


@pytest.mark.parametrize(
    ("split", "n", "too_good"),
    [(None, 8, False), ("test", 8, False), ("val", 8, False), ("train", 24, True), ("all", 40, True)],
)
def test_splits_of_a_data_set_without_its_own(one_piece, ood_folders, recorder, split, n, too_good):
    data, model = one_piece
    settings = asked(model, part(data, split), [ood_folders["easy"]])
    result = evaluate(settings, recorder)
    assert (result.n, result.ood[str(ood_folders["easy"])].kind) == (n, "far")
    warning = f"the model was fitted on images of '{data}:{split}': these figures are too good"
    assert recorder.warnings == ([warning] if too_good else [])
    note = (
        f"'{data}' is what the model was fitted on: only the test part that training left out is read "
        f"('{data}:all' reads every image)"
    )
    assert recorder.notes == ([note] if split is None else [])


def test_a_model_that_was_fitted_on_everything(one_piece, ood_folders, fit, stripes, tmp_path, recorder):
    data, _ = one_piece
    val = stripes(tmp_path / "val", dict.fromkeys(("ant", "bee"), 10), seed=6)
    model = fit(f"{data}:all", tmp_path / "m.pt", val=f"{val}:all")
    evaluate(asked(model, ood=[ood_folders["easy"]]), recorder)
    assert recorder.warnings == [f"the model was fitted on images of '{data}:test': these figures are too good"]
    recorder.warnings.clear()
    evaluate(asked(model, val, [ood_folders["easy"]]), recorder)
    assert recorder.warnings == []


def test_a_model_that_was_fitted_on_another_split(one_piece, ood_folders, fit, tmp_path, recorder):
    data, _ = one_piece
    model = fit(f"{data}:test", tmp_path / "m.pt", val=f"{data}:val")
    ood = [ood_folders["easy"]]
    evaluate(asked(model, f"{data}:train", ood), recorder)
    assert recorder.warnings == []
    evaluate(asked(model, ood=ood), recorder)
    assert recorder.warnings == [f"the model was fitted on images of '{data}:test': these figures are too good"]


def test_what_is_read_by_default_needs_no_note(one_piece, ood_folders, recorder):
    data, model = one_piece
    result = evaluate(asked(model, ood=[ood_folders["easy"]]), recorder)
    assert (result.data, result.n) == (f"{data}:test", 8)
    assert recorder.notes == recorder.warnings == []


def test_a_training_image_that_has_changed(stripes, fit, ood_folders, tmp_path, recorder):
    data = stripes(tmp_path / "data", dict.fromkeys(("ant", "bee"), 20), seed=5)
    settings = asked(fit(data, tmp_path / "m.pt"), ood=[ood_folders["easy"]])
    assert "knn" in evaluate(settings, recorder).ood[str(ood_folders["easy"])].scores
    assert recorder.warnings == []
    changed = data / "ant" / "00.png"
    os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
    scores = evaluate(settings, recorder).ood[str(ood_folders["easy"])].scores
    assert "knn" not in scores
    assert "mahalanobis" in scores  # the model file has it
    assert recorder.warnings == [
        f"the training images of '{data}' are gone or have changed: knn is left out, and a test part cut from the "
        "same set may hold images that the model was fitted on"
    ]


def test_of_another_data_set_all_images_or_its_test_split(one_piece, stripes, ood_folders, tmp_path, recorder):
    _, model = one_piece
    whole = stripes(tmp_path / "whole", dict.fromkeys(("ant", "bee"), 6), seed=7)
    split = tmp_path / "split"
    for seed, (name, count) in enumerate({"train": 5, "test": 3}.items(), start=8):
        stripes(split / name, dict.fromkeys(("ant", "bee"), count), seed=seed)
    found = [evaluate(asked(model, data, [ood_folders["easy"]]), recorder) for data in (whole, split, f"{whole}:test")]
    assert [(result.data, result.n) for result in found] == [
        (str(whole), 12),
        (f"{split}:test", 6),
        (f"{whole}:test", 2),
    ]
    assert recorder.warnings == recorder.notes == []


def test_classes_without_images(stripes_model, stripes, ood_folders, tmp_path, recorder):
    data = stripes(tmp_path / "data", {"cat": 9, "ant": 5})
    result = evaluate(asked(stripes_model, data, [ood_folders["easy"]]), recorder)
    assert recorder.warnings == [
        f"'{data}' has no images of 'bee', 'dog': figures over 2 classes do not compare with figures over all 4"
    ]
    rows = rows_of(stripes_model, class_folder(data, "data"))
    right = np.mean([row["predicted"] == row["label"] for row in rows])
    assert result.metrics["accuracy"].value == pytest.approx(right)  # labels go by names, not by positions


def test_classes_that_the_model_does_not_know(stripes_model, stripes, tmp_path):
    data = stripes(tmp_path / "data", {"ant": 3, "bee": 3})
    (data / "bee").rename(data / "wasp")
    with pytest.raises(UserError) as raised:
        evaluate(asked(stripes_model, data))
    assert str(raised.value) == (
        f"the classes of '{data}' differ from the model's: 'wasp' unknown to '{stripes_model}', "
        "which tells 'ant', 'bee', 'cat' and 1 more"
    )


def test_an_ood_set_that_is_given_twice(stripes_model, ood_folders):
    ood = [ood_folders["hard"], ood_folders["easy"], ood_folders["hard"]]
    with pytest.raises(UserError, match=r"--ood '.*hard' is given twice"):
        evaluate(asked(stripes_model, ood=ood))


def test_unreadable_images_of_every_set_count(stripes_model, stripes, tmp_path, recorder):
    counts = dict.fromkeys(("ant", "bee", "cat", "dog"), 5)
    data, ood = stripes(tmp_path / "data", counts), stripes(tmp_path / "ood", {"ant": 6}, 1)
    (data / "ant" / "00.png").write_bytes(b"no image")
    for name in ("01.png", "04.png"):
        (ood / "ant" / name).write_bytes(b"no image")
    settings = asked(stripes_model, data, [ood], ["blur"])
    result = evaluate(settings, recorder)
    assert (result.n, result.ood[str(ood)].n, result.shift["blur:3"].n) == (19, 4, 19)
    assert result.unreadable == 3  # corrupted copies of an unreadable image are not counted again
    first, second = recorder.warnings
    assert first.startswith(f"1 of 20 images in '{data}' cannot be read and are left out: '{data}/ant/00.png': ")
    assert second.startswith(f"2 of 6 images in '{ood}' cannot be read and are left out: '{ood}/ant/01.png': ")


# ---- options ----


def write_mnist(root):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    arrays = {"images-idx3": random.integers(0, 256, (20, 28, 28)), "labels-idx1": np.arange(20) % 10}
    for part in ("train", "t10k"):
        for kind, array in arrays.items():
            header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())


def test_named_data_lie_where_training_found_them_or_where_it_is_said(stripes_data, fit, tmp_path):
    write_mnist(tmp_path / "root")
    model = fit(stripes_data, tmp_path / "m.pt", data_root=tmp_path / "root")
    settings = asked(model, ood=["mnist"])
    result = evaluate(settings)
    assert result.ood["mnist:test"].n == 20
    (tmp_path / "root").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"'mnist' is not under '.*root'"):
        evaluate(settings)
    assert evaluate(replace(settings, data_root=tmp_path / "moved")).ood == result.ood


def test_every_option_of_the_pass_reaches_it(small, tmp_path, monkeypatch):
    monkeypatch.setenv("UL_CACHE_DIR", str(tmp_path))
    seen, devices = set(), set()

    def spy(images, transform, batch_size, workers):
        seen.add((batch_size, workers))
        return batches(images, transform, batch_size, workers)

    move = torch.nn.Module.to
    monkeypatch.setattr("ulcli.network.features.batches", spy)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, place: devices.add(place) or move(module, place))
    settings = replace(small, batch_size=5, workers=2, device="cpu:0")
    first = evaluate(settings)
    assert seen == {(5, 2)}
    assert devices == {"cpu:0"}
    assert len(list(tmp_path.glob("*.pt"))) == 2 + len(first.ood)  # the data and the training images
    seen.clear()
    again = evaluate(settings)
    assert seen == set()  # everything was in the cache
    assert again == first


def test_another_seed_draws_other_resamples(stripes_model, ood_folders):
    settings = asked(stripes_model, ood=[ood_folders["hard"]], bootstrap=40)
    first, again, other = (evaluate(replace(settings, seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first.metrics["nll"].value == other.metrics["nll"].value
    assert first.metrics["nll"].low != other.metrics["nll"].low
