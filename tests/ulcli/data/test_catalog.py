"""From the words on the command line to image sets."""

import io
import os

import numpy as np
import pytest

from ulcli.data.catalog import (
    DataName,
    Places,
    comes_in_parts,
    known_names,
    labelled_set,
    score_inputs,
    strange_set,
)
from ulcli.data.splits import SPLITS
from ulcli.errors import UserError

SHAPE = (1, 8, 8)
PLACES = Places()


def paths(images):
    return [images.identify(index) for index in range(len(images))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("digits", DataName("digits")),
        ("digits:val", DataName("digits", "val")),
        ("a:b:all", DataName("a:b", "all")),
        ("a:b", DataName("a:b")),
        ("c:/photos", DataName("c:/photos")),
        (":train", DataName("", "train")),
        ("digits:", DataName("digits:")),
    ],
)
def test_names_and_splits(text, expected):
    assert DataName.parse(text) == expected
    assert str(expected) == text


def test_resolved_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert DataName("photos/train", "val").resolved() == DataName(str(tmp_path.resolve() / "photos/train"), "val")
    assert DataName("digits", "val").resolved() == DataName("digits", "val")
    assert DataName("cifar10").resolved() == DataName("cifar10")


def test_known_names():
    assert {"digits", "noise", "photos", "fashion-mnist", "cifar10", "svhn"} <= set(known_names())


def disjoint_and_complete(parts, whole):
    together = [path for part in parts for path in paths(part)]
    assert sorted(together) == sorted(paths(whole))
    assert len(set(together)) == len(together)


def test_a_built_in_set_is_divided():
    parts = [labelled_set(DataName("digits", split), "x", PLACES) for split in ("train", "val", "test")]
    whole = labelled_set(DataName("digits"), "all", PLACES)
    disjoint_and_complete(parts, whole)
    assert [part.name for part in parts] == ["digits:train", "digits:val", "digits:test"]
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        counts, all_counts = np.bincount(part.labels), np.bincount(whole.labels)
        np.testing.assert_allclose(counts, share * all_counts, atol=1)


def test_the_default_split():
    assert len(labelled_set(DataName("digits"), "test", PLACES)) == len(
        labelled_set(DataName("digits", "test"), "train", PLACES)
    )


def test_a_folder_in_one_piece(image_folder):
    folder = image_folder({"a": 10, "b": 10})
    name = str(folder)
    parts = [labelled_set(DataName(name, split), "x", PLACES) for split in ("train", "val", "test")]
    disjoint_and_complete(parts, labelled_set(DataName(name, "all"), "x", PLACES))
    assert [len(part) for part in parts] == [12, 4, 4]
    assert not comes_in_parts(name)


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_a_folder_in_three_parts(image_folder, tmp_path, val):
    for part, count in (("train", 3), (val, 2), ("test", 1)):
        image_folder({"a": count, "b": count}, f"set/{part}")
    name = str(tmp_path / "set")
    counts = [len(labelled_set(DataName(name, split), "x", PLACES)) for split in ("train", "val", "test")]
    assert counts == [6, 4, 2]
    assert comes_in_parts(name)
    with pytest.raises(UserError, match=r"comes in parts \(train, val, test\); name one of them"):
        labelled_set(DataName(name, "all"), "x", PLACES)


def test_a_folder_without_a_validation_part(image_folder, tmp_path):
    image_folder({"a": 30, "b": 30}, "set/train")
    image_folder({"a": 2, "b": 2}, "set/test")
    name = str(tmp_path / "set")
    train, val, test = (labelled_set(DataName(name, split), "x", PLACES) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [50, 10, 4]  # a sixth of the training images
    assert not set(paths(train)) & set(paths(val))
    assert all(f"{os.sep}train{os.sep}" in path for path in paths(train) + paths(val))


def test_a_part_that_a_folder_lacks(image_folder, tmp_path):
    image_folder({"a": 12, "b": 12}, "set/train")
    with pytest.raises(UserError, match="has no 'test' part beside train"):
        labelled_set(DataName(str(tmp_path / "set")), "test", PLACES)
    assert not comes_in_parts(str(tmp_path / "set"))


def test_classes_called_train_and_test_are_classes(image_folder):
    folder = image_folder({"train": 5, "test": 5})
    images = labelled_set(DataName(str(folder)), "all", PLACES)
    assert images.classes == ("test", "train")


def test_too_few_images_for_a_part(image_folder):
    folder = image_folder({"a": 1, "b": 1})
    with pytest.raises(UserError, match="has too few images for a 'val' part; name a set of its own for it"):
        labelled_set(DataName(str(folder)), "val", PLACES)


def test_a_manifest_in_parts(image_folder, tmp_path):
    image_folder({"a": 10, "b": 10})
    lines = [f"images/{name}/{number:03}.png,{name}" for name in "ab" for number in range(10)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines]))
    name = str(tmp_path / "list.csv")
    parts = [labelled_set(DataName(name, split), "x", PLACES) for split in ("train", "val", "test")]
    disjoint_and_complete(parts, labelled_set(DataName(name), "all", PLACES))
    assert parts[1].label_name(0) == "a"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", r"unknown data set 'digit'; did you mean 'digits'\? \(and there is no folder of that name\)"),
        ("fashionmnist", "did you mean 'fashion-mnist'"),
        ("photos/train", "no such file or folder: 'photos/train'"),
        ("list.csv", "no such file or folder: 'list.csv'"),
        ("noise", "'noise' has no labels; it serves as --ood data only"),
        ("mnist:all", r"'mnist' comes in parts \(train, test\); name one of them"),
        (__file__, "is neither a folder nor a .csv list of images"),
        ("x" * 5000, "cannot look at 'x+': File name too long"),
    ],
)
def test_names_that_mean_no_labelled_data(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        labelled_set(DataName.parse(name), "train", PLACES)


def test_strange_sets(image_folder, tmp_path):
    folder = image_folder({"a": 2, "b": 3})
    assert strange_set(DataName("noise"), (3, 5, 5), PLACES).load(0).size == (5, 5)
    assert strange_set(DataName("digits"), SHAPE, PLACES).name == "digits:test"
    assert len(strange_set(DataName(str(folder)), SHAPE, PLACES)) == 5
    assert len(strange_set(DataName(str(folder / "a")), SHAPE, PLACES)) == 2
    assert len(strange_set(DataName(str(folder), "all"), SHAPE, PLACES)) == 5
    (tmp_path / "list.csv").write_text("path\nimages/a/000.png\n")
    assert len(strange_set(DataName(str(tmp_path / "list.csv")), SHAPE, PLACES)) == 1
    with pytest.raises(UserError, match="unknown data set 'nois'; did you mean 'noise'"):
        strange_set(DataName("nois"), SHAPE, PLACES)


def test_score_inputs(image_folder, tmp_path):
    folder = image_folder({"a": 2, "b": 10})
    (tmp_path / "list.CSV").write_text("path,label\nimages/a/001.png,a\n")
    file = str(folder / "a" / "000.png")
    words = [file, str(folder / "b"), str(tmp_path / "list.CSV"), "digits", "digits:val", f"{folder}:test"]
    sets = score_inputs(words, SHAPE, PLACES)
    assert [len(images) for images in sets[:3]] == [1, 10, 1]
    assert sets[0].identify(0) == file
    assert sets[2].label_name(0) == "a"
    assert [images.name for images in sets[3:5]] == ["digits:test", "digits:val"]
    assert len(sets[5]) == 2  # a fifth of ten; none of two
    with pytest.raises(UserError, match=r"no such file or folder: '.*none.png'"):
        score_inputs([str(folder / "none.png")], SHAPE, PLACES)


def test_a_file_called_like_a_split_is_a_file(tmp_path, picture):
    picture().save(tmp_path / "x", format="PNG")
    (tmp_path / "x").rename(tmp_path / "x:test")
    (images,) = score_inputs([str(tmp_path / "x:test")], SHAPE, PLACES)
    assert images.load(0).size == (24, 16)


def test_paths_on_standard_input(monkeypatch):
    lines = [b"a.png", b" b c.png ", b"", b"caf\xe9.png", "ä.png".encode()]
    for ending in (b"\n", b"\r\n"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(ending.join(lines)), encoding="utf-8"))
        (images,) = score_inputs(["-"], SHAPE, PLACES)
        assert paths(images) == [os.fsdecode(line) for line in lines if line]


def write_idx(path, array):
    """The format of the MNIST family: a magic number, the shape, the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_torchvision_parts(tmp_path):
    with pytest.raises(UserError, match="'mnist' is not under"):
        labelled_set(DataName("mnist"), "val", Places(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 120), ("t10k", 20)):
        write_idx(raw / f"{part}-images-idx3-ubyte", np.zeros((count, 28, 28)))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    train, val, test = (labelled_set(DataName("mnist", split), "x", Places(tmp_path)) for split in SPLITS)
    assert [len(train), len(val), len(test)] == [100, 20, 20]
    assert not set(paths(train)) & set(paths(val))
    assert test.identify(0) == "mnist:test/0"
    assert comes_in_parts("mnist")
