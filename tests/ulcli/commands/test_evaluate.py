"""What `ul evaluate` measures, against scikit-learn, and that it computes nothing twice."""

import importlib
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from ulcli.commands.evaluate import evaluate
from ulcli.commands.settings import EvaluateSettings, TrainSettings
from ulcli.commands.train import train
from ulcli.data.catalog import DataName, Places, labelled_set, strange_set
from ulcli.engine.local import Scorer
from ulcli.model.baselines import BASELINES, FeatureBaselines
from ulcli.model.file import Model
from ulcli.model.predictor import Predictor
from ulcli.model.sample import digits_cnn
from ulcli.network.backbone import Backbone


@pytest.fixture
def settings(digits_model, tmp_path, monkeypatch):
    monkeypatch.setenv("UL_CACHE_DIR", str(tmp_path / "cache"))
    return EvaluateSettings(digits_model, shift=["blur", "noise:5"], bootstrap=0)


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
    settings = EvaluateSettings(model=model, bootstrap=0)
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
    shift, ood = ["rotation", "contrast:5"], [str(image_folder({"x": 5}, "others"))]
    result = evaluate(EvaluateSettings(model=model, ood=ood, shift=shift, bootstrap=0), recorder)
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


def test_a_loss_without_a_prior_ranks_by_the_amount_of_evidence_too(settings, tmp_path):
    model = tmp_path / "belief.pt"
    train(TrainSettings(loss="belief-matching", output=model))
    result = evaluate(replace(settings, model=model, shift=[]))
    for strange in result.ood.values():
        assert 0.5 < strange.scores["head_vacuity"]["auroc"].value < 1
