"""The checkpoint's own classifier before data whose classes are others, or in another order, or seen otherwise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from ulcli.commands import better_preprocessing
from ulcli.commands.own_classifier import OwnClassifier
from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.model.sample import digits_cnn
from ulcli.network.anatomy.backbone import Backbone
from ulcli.network.features import Extractor
from ulcli.network.files.archive import read_archive
from ulcli.network.files.checkpoint import sample_checkpoint
from ulcli.network.linear import Linear

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RIGHT = Transform(8, 8, (0.0,), (1.0,), grayscale=True)
TORN = {"mean": (0.9,), "std": (0.05,)}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Digits in folders called by words: their text order is not that of the numbers."""
    folder, digits = tmp_path_factory.mktemp("words"), load_digits()
    for label, name in enumerate(WORDS):
        (folder / name).mkdir()
        for number, image in enumerate(digits.images[digits.target == label][:60]):
            Image.fromarray((255 / 16 * image).round().astype(np.uint8)).save(folder / name / f"{number:02}.png")
    return labelled_set(DataName(str(folder)), "all", Places())


@pytest.fixture(scope="module")
def extract():
    network = digits_cnn()
    network.load_state_dict(read_archive(sample_checkpoint())["state_dict"])
    return Extractor(Backbone.take_apart("digits", None, network, RIGHT.shape), RIGHT)


@pytest.fixture(autouse=True)
def _small_images(monkeypatch):
    """Try no large images: this network would work on each of them for long."""
    monkeypatch.setattr(better_preprocessing, "_SIZES", (16, 32))


@pytest.fixture
def ask(extract, words, recorder):
    """What becomes of a classifier before the words, and what is told: `ask(linear, transform, names=...)`."""

    def run(linear=None, transform=RIGHT, images=words, **known):
        extract_so = replace(extract, transform=transform)
        own = OwnClassifier(linear or extract.backbone.own_classifier(), **known)
        return own.for_data(extract_so, images, extract_so(images, recorder), recorder)

    return run


def accuracy(linear, extract, images, recorder):
    features = extract(images, recorder)
    return float((linear(features.values).argmax(1) == features.labels).double().mean())


def test_words_are_found_by_what_it_predicts(ask, extract, words, recorder):
    linear = ask()
    (note,) = recorder.notes
    assert note.startswith("the checkpoint's classes are in another order than the data's: eight=8, five=5, four=4, ")
    assert "instead of 0.1" in note
    assert accuracy(linear, extract, words, recorder) > 0.95
    assert not recorder.warnings


def test_a_permuted_head_is_found_from_three_images_a_class(extract, words, recorder):
    features, plain = extract(words, recorder), extract.backbone.own_classifier()
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        order = torch.randperm(10, generator=random)
        rows = torch.cat(
            [torch.nonzero(features.labels == k)[:, 0][torch.randperm(60, generator=random)[:3]] for k in range(10)]
        )
        few = replace(
            features, values=features.values[rows], embedding=features.embedding[rows], labels=features.labels[rows]
        )
        permuted = Linear(plain.weight[order], plain.bias[order])
        linear = OwnClassifier(permuted).for_data(extract, words, few, recorder)
        assert accuracy(linear, extract, words, recorder) > 0.95


def test_the_right_order_stays_from_three_images_a_class(extract, words, recorder):
    features, plain = extract(words, recorder), extract.backbone.own_classifier()
    sorted_rows = [WORDS.index(name) for name in words.classes]
    in_order = Linear(plain.weight[sorted_rows], plain.bias[sorted_rows])
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        rows = torch.cat(
            [torch.nonzero(features.labels == k)[:, 0][torch.randperm(60, generator=random)[:3]] for k in range(10)]
        )
        few = replace(
            features, values=features.values[rows], embedding=features.embedding[rows], labels=features.labels[rows]
        )
        linear = OwnClassifier(in_order).for_data(extract, words, few, recorder)
        assert torch.equal(linear.weight, in_order.weight)
    assert not recorder.notes
    assert not recorder.warnings


def test_names_in_another_spelling(ask, extract, words, recorder):
    linear = ask(names=tuple(word.title() for word in WORDS))
    assert accuracy(linear, extract, words, recorder) > 0.95
    assert "zero=0, by name" in recorder.notes[0]


def test_names_that_lack_a_class(ask, recorder):
    assert ask(names=(*WORDS[:9], "ten")) is None
    assert recorder.notes[0].startswith("the checkpoint has no class 'nine': a new cross-entropy classifier is fitted")


def test_names_that_are_none_of_the_datas(ask, extract, words, recorder):
    linear = ask(names=tuple("abcdefghij"))
    assert "the checkpoint's class names ('a', 'b', 'c' and 7 more) are none of the data's" in recorder.notes[0]
    assert accuracy(linear, extract, words, recorder) > 0.95


def test_placeholders_are_no_names(ask, recorder):
    ask(names=tuple(f"LABEL_{k}" for k in range(10)))
    assert len(recorder.notes) == 1  # of the order


def test_too_few_names(ask, recorder):
    with pytest.raises(UserError, match="--classes has 3 class names for a checkpoint whose classifier has 10 outputs"):
        ask(names=("a", "b", "c"), said=True)
    ask(names=("a", "b", "c"))
    assert "the file has 3 class names" in recorder.notes[0]


def test_some_of_its_classes(ask, extract, words, tmp_path, recorder):
    for name in ("seven", "three"):
        (tmp_path / name).symlink_to(words.identify(0).rsplit("/", 2)[0] + f"/{name}")
    images = labelled_set(DataName(str(tmp_path)), "all", Places())
    linear = ask(images=images, names=WORDS)
    assert recorder.notes[0].startswith("the data's 2 classes are among the checkpoint's 10: seven=7, three=3, by name")
    assert accuracy(linear, extract, images, recorder) > 0.95
    # Held-out classes have had a say in the rows of the others.
    assert ask(images=images, names=WORDS, held_out=True) is None
    assert recorder.notes[1:] == [
        "the checkpoint tells 10 classes, the data has 2: a new cross-entropy classifier is fitted to compare with and "
        "to start from"
    ]


def test_fewer_classes_than_the_data(ask, recorder):
    assert ask(Linear.zeros(4, 64)) is None
    assert recorder.notes[0].startswith("the checkpoint tells 4 classes, the data has 10: a new cross-entropy")


def test_another_task_with_as_many_classes(ask, recorder):
    random = torch.Generator().manual_seed(0)
    assert ask(Linear(torch.randn(10, 64, generator=random), torch.zeros(10))) is None
    (warning,) = recorder.warnings
    assert "on training images, where a linear one fitted on others of them has 0.9" in warning
    assert "it is of another task, or was trained with another preprocessing" in warning


def test_another_task_with_more_classes(ask, recorder):
    random = torch.Generator().manual_seed(0)
    assert ask(Linear(torch.randn(100, 64, generator=random), torch.zeros(100))) is None
    assert recorder.notes[0].startswith("the checkpoint tells 100 classes, the data has 10: a new cross-entropy")


@pytest.mark.parametrize(
    ("transform", "options"),
    [
        (replace(RIGHT, resize=32, crop=32), "with --image-size 8 it has 0.9"),
        (replace(RIGHT, **TORN), "with --mean 0 --std 1 it has 0.9"),
        (replace(RIGHT, resize=32, crop=32, **TORN), "with --image-size 8 --mean 0 --std 1 it has 0.9"),
    ],
)
def test_another_preprocessing_is_named_with_its_figure(ask, recorder, transform, options):
    assert ask(transform=transform) is None
    assert options in recorder.warnings[0]
