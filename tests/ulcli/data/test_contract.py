"""What every image set promises, whatever its source: one test a promise, every source and every view."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ulcli.data.arrays import ArraySet, LabelledArrays
from ulcli.data.catalog import DataName, Places, known_names, labelled_set, score_inputs, strange_set
from ulcli.data.images import ImageError
from ulcli.data.imageset import ImageSet, LabelledSet, Subset, of_classes, relabel
from ulcli.data.shifts import Shifted
from ulcli.data.sources.registry import SOURCES

CLASSES = ("ant", "bee", "cat")
DIGITS = ("0 - zero", "1 - one", "2 - two")  # as torchvision has them
SHAPE = (1, 8, 8)


@dataclass(frozen=True)
class Content:
    """What is written to disk: gray images of 8 x 8 pixels, in the order of their labels, two a class at least."""

    pixels: np.ndarray
    labels: np.ndarray


CONTENT = Content(np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8), np.repeat([0, 1, 2], 3))


def with_another_pixel(content):
    pixels = content.pixels.copy()
    pixels[4, 3, 3] ^= 1
    return replace(content, pixels=pixels)


def with_two_swapped(content):
    order = [1, 0, *range(2, len(content.pixels))]  # of one class
    return replace(content, pixels=content.pixels[order])


def with_another_label(content):
    labels = content.labels.copy()
    labels[2] = 1
    return replace(content, labels=labels)


@dataclass(frozen=True)
class Case:
    """How a set is made in a folder of its own, and opened from there."""

    open: Callable[[Path], ImageSet]
    write: Callable[[Path, Content], None] | None = None  # None: the images are always the same
    reads_files: bool = False  # one an image, that may be damaged
    classes: tuple[str, ...] = CLASSES  # by the numbers in `Content.labels`


def write_pictures(folder, content):
    for number, (pixels, label) in enumerate(zip(content.pixels, content.labels, strict=True)):
        place = folder / "data" / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png", compress_level=0)  # of one size, whatever they show


def write_list(folder, content):
    (folder / "pictures").mkdir(parents=True)
    lines = ["path,label"]
    for number, (pixels, label) in enumerate(zip(content.pixels, content.labels, strict=True)):
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png", compress_level=0)
        lines.append(f"pictures/{number}.png,{CLASSES[label]}")
    (folder / "data.csv").write_text("\n".join(lines))


def write_mnist(folder, content):
    """The format of the MNIST family: a magic number, the shape, the bytes."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind, array in (("images-idx3", content.pixels), ("labels-idx1", content.labels)):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())


def write_arrays(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", pixels=content.pixels, labels=content.labels)


def arrays(folder):
    with np.load(folder / "data.npz") as data:
        return LabelledArrays("toy", data["pixels"], data["labels"], CLASSES)


def plain_arrays(folder):
    return ArraySet("toy", arrays(folder).images)


def folder_set(folder):
    return labelled_set(DataName(str(folder / "data")), "all", Places())


def list_set(folder):
    return labelled_set(DataName(str(folder / "data.csv")), "all", Places())


def folder_to_score(folder):
    return strange_set(DataName(str(folder / "data")), SHAPE, Places())


def list_to_score(folder):
    return strange_set(DataName(str(folder / "data.csv")), SHAPE, Places())


def mnist(split):
    return lambda folder: labelled_set(DataName("mnist", split), "test", Places(folder))


# What is opened of every source in the registry, by the first of its spellings.
OF_SOURCES = {
    "digits": {"digits": Case(lambda _: labelled_set(DataName("digits"), "test", Places()))},
    "mnist": {
        "mnist": Case(mnist("test"), write_mnist, classes=DIGITS),
        "mnist:val": Case(mnist("val"), write_mnist, classes=DIGITS),
    },
    "noise": {
        "noise": Case(lambda _: strange_set(DataName("noise"), SHAPE, Places())),
        "photos": Case(lambda _: strange_set(DataName("photos"), (3, 9, 7), Places())),
    },
    "FOLDER": {
        "folder": Case(folder_set, write_pictures, reads_files=True),
        "plain folder": Case(folder_to_score, write_pictures, reads_files=True),
    },
    "LIST.csv": {
        "list": Case(list_set, write_list, reads_files=True),
        "list to score": Case(list_to_score, write_list, reads_files=True),
    },
}
OTHERS = {
    "arrays": Case(arrays, write_arrays),
    "arrays without labels": Case(plain_arrays, write_arrays),
    "subset": Case(lambda folder: Subset(arrays(folder), [4, 1, 0, 2, 7], "toy:part"), write_arrays),
    "classes": Case(lambda folder: of_classes(arrays(folder), ["ant", "bee"], "toy"), write_arrays),
    "relabelled": Case(lambda folder: relabel(arrays(folder), ("dog", "bee", "cat", "ant")), write_arrays),
    "shifted": Case(lambda folder: Shifted(arrays(folder), "inversion", 5), write_arrays),
    "subset of files": Case(lambda folder: Subset(folder_set(folder), range(6), "part"), write_pictures, True),
    "classes of files": Case(lambda folder: of_classes(list_set(folder), ["ant", "bee"], "part"), write_list, True),
    "relabelled files": Case(lambda folder: relabel(list_set(folder), ("cat", "bee", "ant")), write_list, True),
    "shifted files": Case(lambda folder: Shifted(folder_set(folder), "blur"), write_pictures, True),
}
CASES = {name: case for cases in (*OF_SOURCES.values(), OTHERS) for name, case in cases.items()}
WRITTEN = [name for name, case in CASES.items() if case.write]
LABELLED = [name for name in WRITTEN if name not in ("plain folder", "arrays without labels")]


def every(names):
    return pytest.mark.parametrize("case", [pytest.param(CASES[name], id=name) for name in names])


@pytest.fixture
def made(tmp_path):
    """The set of a case, written to a folder of its own."""

    def make(case, content=CONTENT, name="made"):
        if case.write is not None and not (tmp_path / name).exists():
            case.write(tmp_path / name, content)
        return case.open(tmp_path / name)

    return make


def test_every_source_is_held_to_the_contract():
    assert list(OF_SOURCES) == [source.spellings[0] for source in SOURCES]


def test_a_word_has_one_meaning():
    spellings = [spelling for source in SOURCES for spelling in source.spellings]
    assert len(set(spellings)) == len(spellings)
    assert all(source.meaning and "\n" not in source.meaning and "|" not in source.meaning for source in SOURCES)


PATHS = [name for source, cases in OF_SOURCES.items() if source not in known_names() for name in cases]


@every(PATHS)
def test_a_path_to_score_or_of_ood_images_means_every_image(case, made):
    path = made(case).name
    for images in (score_inputs([path], SHAPE, Places())[0], strange_set(DataName(path), SHAPE, Places())):
        assert len(images) == len(CONTENT.pixels)


@every(CASES)
def test_images_are_counted_and_told_apart(case, made):
    images, again = made(case), made(case)
    assert isinstance(images.name, str)
    assert len(images) > 1
    paths = [images.identify(index) for index in range(len(images))]
    assert len(set(paths)) == len(paths)
    assert paths == [again.identify(index) for index in range(len(images))]


@every(CASES)
def test_images_are_gray_or_rgb_and_always_the_same(case, made):
    images, again = made(case), made(case)
    for index in range(min(len(images), 20)):
        image = images.load(index)
        assert image.mode in ("L", "RGB")
        assert image.tobytes() == again.load(index).tobytes()
        if images.native_size is not None:
            assert image.size == (images.native_size, images.native_size)


@every(CASES)
def test_labels_are_within_the_classes(case, made):
    images = made(case)
    if not isinstance(images, LabelledSet):
        assert images.labels is None
        assert images.classes is None
        assert images.label_name(0) is None
        return
    assert isinstance(images.classes, tuple)
    assert len(set(images.classes)) == len(images.classes)
    assert images.labels.shape == (len(images),)
    assert images.labels.dtype == np.int64
    assert images.labels.min() >= 0
    assert images.labels.max() < len(images.classes)
    for index, label in enumerate(images.labels):
        assert images.label_name(index) == images.classes[label]


@every(LABELLED)
def test_labels_are_those_of_the_images(case, made):
    """By the pixels, which tell where an image was in what was written."""
    images = made(case)
    known = {pixels.tobytes(): label for pixels, label in zip(CONTENT.pixels, CONTENT.labels, strict=True)}
    view = images.parent if isinstance(images, Shifted) else images
    for index in range(len(images)):
        assert images.label_name(index) == case.classes[known[view.load(index).tobytes()]]


@every(CASES)
def test_the_digest_and_the_key_last(case, made):
    first, second = made(case), made(case)
    first.load(0)
    assert first.digest() == first.digest() == second.digest()
    assert first.cache_key() == second.cache_key()


@every(WRITTEN)
def test_the_digest_lasts_when_files_are_copied(case, made, tmp_path):
    before = made(case)
    shutil.copytree(tmp_path / "made", tmp_path / "copy")
    assert made(case, name="copy").digest() == before.digest()


@every(WRITTEN)
@pytest.mark.parametrize("change", [with_another_pixel, with_two_swapped])
def test_the_digest_and_the_key_change_with_the_images_and_their_order(case, change, made):
    before = made(case)
    after = made(case, change(CONTENT), "changed")
    assert after.digest() != before.digest()
    assert after.cache_key() != before.cache_key()


@every(LABELLED)
def test_the_digest_changes_with_the_labels(case, made, tmp_path):
    before = made(case)
    after = made(case, with_another_label(CONTENT), "changed")
    for file in (tmp_path / "changed").rglob("*"):  # so that it is not the time that tells them apart
        twin = tmp_path / "made" / file.relative_to(tmp_path / "changed")
        if twin.exists():
            shutil.copystat(twin, file)
    assert after.digest() != before.digest()


@every([name for name in CASES if CASES[name].reads_files])
def test_a_file_that_is_damaged_or_gone_is_an_image_error(case, made):
    images = made(case)
    before = images.digest()
    Path(images.identify(0)).write_bytes(b"no image")
    Path(images.identify(1)).unlink()
    for index in (0, 1):
        with pytest.raises(ImageError):
            images.load(index)
    images.load(2)
    assert images.digest() != before
