"""What `ul train` says of a fit is what the model file then does, and every setting reaches its place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss

import uncertainty_loss as ul
from ulcli.commands.settings import TrainSettings
from ulcli.commands.train import train
from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.model.choices import EvidenceFrom
from ulcli.model.file import Model
from ulcli.network.files.checkpoint import sample_checkpoint

CNN = "ulcli.model.sample:digits_cnn"


SMALL = {"image_size": 8, "grayscale": True}


@pytest.fixture
def settings(small_cnn, stripes_data, tmp_path):
    return TrainSettings(checkpoint=small_cnn, arch=CNN, data=str(stripes_data), output=tmp_path / "m.pt", **SMALL)


def as_the_network_takes_them(model, data):
    """Images of a data set's val split, and their labels."""
    images = labelled_set(DataName(data), "val", Places())
    return torch.stack([model.transform(images.load(index)) for index in range(len(images))]), images.labels


def checked(figures, p, labels):
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, p.argmax(1)))
    assert figures["nll"] == pytest.approx(log_loss(labels, p), rel=1e-4)


def write_digits(folder):
    digits = load_digits()
    for label in range(10):
        images = digits.images[digits.target == label]
        for split, chosen in (("train", images[:20]), ("val", images[60:70])):
            (folder / split / str(label)).mkdir(parents=True)
            for number, image in enumerate(chosen):
                pixels = Image.fromarray((255 / 16 * image).round().astype(np.uint8))
                pixels.save(folder / split / str(label) / f"{number:02}.png")


def test_before_is_the_checkpoints_own_classifier_and_after_what_the_file_predicts(tmp_path):
    write_digits(tmp_path / "data")
    data = str(tmp_path / "data")  # whose classes the sample classifier knows
    result = train(TrainSettings(checkpoint=sample_checkpoint(), data=data, output=tmp_path / "m.pt", **SMALL))
    model = Model.load(result.path)
    pixels, labels = as_the_network_takes_them(model, data)
    backbone = model.backbone.build()
    checked(result.before, backbone.network(pixels).double().softmax(1).numpy(), labels)
    features, embedding = backbone(pixels)
    for predictor, figures in ((model.predictor, result.after), (model.predictor.uncalibrated(), result.uncalibrated)):
        alpha = predictor(features, embedding).alpha.numpy()
        checked(figures, alpha / alpha.sum(1, keepdims=True), labels)
    assert model.predictor.head.temperature != 1
    assert len({figures["nll"] for figures in (result.before, result.uncalibrated, result.after)}) == 3
    assert model.validation == result.after
    assert (result.images, result.validation_images) == (200, 100)


def test_the_share_that_may_be_flagged_sets_thresholds_and_where_evidence_fades(settings):
    train(replace(settings, flag_rate=0.3))
    model = Model.load(settings.output)
    assert model.flags.rate == model.predictor.fading == 0.3
    pixels, labels = as_the_network_takes_them(model, settings.data)
    vacuity = np.sort(model.predictor(*model.backbone.build()(pixels)).vacuity)
    # The k-th of n sorted values, k = ceil((n + 1) (1 - rate)), is passed by new images at most so often.
    assert model.flags.vacuity == pytest.approx(vacuity[int(np.ceil((len(labels) + 1) * 0.7)) - 1])


def test_unreadable_images_of_both_splits_count(settings, stripes, tmp_path, recorder):
    for seed, split in enumerate(("train", "val")):
        stripes(tmp_path / "data" / split, {"ant": 12, "bee": 12}, seed)
    broken = [tmp_path / "data" / name for name in ("train/ant/00.png", "val/ant/03.png", "val/bee/05.png")]
    for path in broken:
        path.write_bytes(b"no image")
    result = train(replace(settings, data=str(tmp_path / "data")), recorder)
    assert result.unreadable == 3
    assert (result.images, result.validation_images) == (23, 22)
    said = [text for text in recorder.warnings if "cannot be read and are left out" in text]
    assert [text.split(" images")[0] for text in said] == ["1 of 24", "2 of 24"]
    assert [str(broken[0]) in said[0], str(broken[1]) in said[1], str(broken[2]) in said[1]] == [True] * 3


def test_settings_stand_in_the_file(settings, stripes, tmp_path):
    val = stripes(tmp_path / "val", dict.fromkeys(("ant", "bee", "cat", "dog"), 9), seed=9)
    asked = replace(
        settings,
        val=f"{val}:all",
        loss="evidential-log",
        reg_factor=0.02,
        evidence_from=EvidenceFrom.HEAD,
        target_accuracy=0.5,
        hold_out=("dog",),
        seed=7,
        mean="0.2",
        std="0.4",
    )
    result = train(asked)
    model = Model.load(result.path)
    assert (result.images, result.validation_images) == (60, 27)
    assert model.classes == ("ant", "bee", "cat")
    assert {**model.loss, "epochs": None} == {"name": "evidential-log", "reg_factor": 0.02, "epochs": None}
    assert model.loss["epochs"] == result.epochs
    assert model.predictor.evidence_from is EvidenceFrom.HEAD
    assert model.flags.target_accuracy == 0.5
    assert model.data["hold_out"] == ["dog"]
    assert model.data["name"] == str(DataName(settings.data).resolved())
    assert model.provenance["seed"] == 7
    assert (model.transform.crop, model.transform.mean, model.transform.std) == (8, (0.2,), (0.4,))
    assert result.flags == str(model.flags)
    assert result.temperature == model.predictor.head.temperature


def test_the_regularizer_is_off_where_the_density_says_how_much_evidence(stripes_model, held_out_model):
    assert Model.load(stripes_model).loss["reg_factor"] == 0
    assert Model.load(held_out_model).loss["reg_factor"] == ul.get_loss("maxnorm").default_reg > 0


def test_another_seed_gives_other_weights(settings, stripes_model):
    train(replace(settings, seed=1))
    assert not torch.equal(
        *(Model.load(path).predictor.head.linear.weight for path in (stripes_model, settings.output))
    )


def test_features_are_kept_where_it_is_said(settings, tmp_path, recorder, monkeypatch):
    monkeypatch.setenv("UL_CACHE_DIR", str(tmp_path / "cache"))
    train(replace(settings, no_cache=True))
    assert not (tmp_path / "cache").exists()
    train(settings, recorder)
    assert len(list((tmp_path / "cache").glob("*.pt"))) == 2
    passes = [what for what, _ in recorder.tracks if what.startswith("features of")]
    assert len(passes) == 2
    recorder.tracks.clear()
    train(settings, recorder)
    assert [what for what, _ in recorder.tracks if what.startswith("features of")] == []
