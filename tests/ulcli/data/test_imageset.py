"""Parts of sets, and the hash that tells whether a set has changed."""

import numpy as np
import pytest
from PIL import Image

from ulcli.data.arrays import LabelledArrays
from ulcli.data.imageset import Subset, common_size, hash_parts, of_classes, relabel
from ulcli.data.sources.folders import FileSet


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)


LABELS = np.array([0, 1, 0, 1, 0, 1])


def test_a_subset_in_its_own_order(images):
    parent = LabelledArrays("toy", images, LABELS, ("a", "b"))
    part = Subset(parent, [5, 0], "toy:part")
    assert len(part) == 2
    assert (part.name, part.classes, part.native_size) == ("toy:part", ("a", "b"), 4)
    assert [part.identify(0), part.identify(1)] == ["toy/5", "toy/0"]
    assert [part.label_name(0), part.label_name(1)] == ["b", "a"]
    np.testing.assert_array_equal(np.asarray(part.load(0)), images[5])


def test_hash_parts_tells_parts_apart():
    zeros = np.zeros(6, np.uint8)
    parts = [
        (),
        ("",),
        ("a", "b"),
        ("b", "a"),
        ("ab",),
        ("a", "", "b"),
        (None,),
        ("None",),
        (zeros,),
        (zeros.reshape(2, 3),),
        (zeros.reshape(3, 2),),
        (zeros.view(np.int8),),
        (zeros, zeros[:0]),
        ("caf\udce9.png",),
        ("café.png",),
    ]
    assert len({hash_parts(*each) for each in parts}) == len(parts)


def test_relabel_follows_the_names(picture):
    pixels = np.stack([np.asarray(picture(8, 8, "L", seed)) for seed in range(4)])
    images = LabelledArrays("toy", pixels, np.array([0, 1, 1, 0]), ("cat", "dog"))
    view = relabel(images, ("ant", "dog", "cat"))
    assert view.labels.tolist() == [2, 1, 1, 2]
    assert [view.label_name(index) for index in range(4)] == ["cat", "dog", "dog", "cat"]
    assert view.load(3).tobytes() == images.load(3).tobytes()
    assert relabel(images, ("cat", "dog")) is images


def test_only_some_classes(picture):
    pixels = np.stack([np.asarray(picture(8, 8, "L", seed)) for seed in range(6)])
    images = LabelledArrays("toy", pixels, np.array([2, 0, 1, 2, 1, 0]), ("ant", "bee", "cat"))
    part = of_classes(images, ["cat", "ant"], "part")
    assert part.name == "part"
    assert part.classes == ("ant", "cat")  # in the order of the set, whatever the order asked for
    assert part.labels.tolist() == [1, 0, 1, 0]
    assert part.labels.dtype == np.int64
    assert [part.identify(index) for index in range(4)] == ["toy/0", "toy/1", "toy/3", "toy/5"]
    assert [part.label_name(index) for index in range(4)] == ["cat", "ant", "cat", "ant"]
    assert part.load(2).tobytes() == images.load(3).tobytes()
    assert images.labels.tolist() == [2, 0, 1, 2, 1, 0]
    assert relabel(part, ("cat", "dog", "ant")).labels.tolist() == [0, 2, 0, 2]
    assert len(of_classes(images, [], "none")) == 0


def test_the_digest_of_a_view_tells_its_labels(picture):
    pixels = np.stack([np.asarray(picture(8, 8, "L", seed)) for seed in range(3)])
    images = LabelledArrays("toy", pixels, np.array([0, 1, 2]), ("ant", "bee", "cat"))
    views = [
        images,
        relabel(images, ("bee", "ant", "cat")),
        relabel(images, ("bee", "cat", "ant")),
        relabel(images, ("ant", "bee", "cat", "dog")),
        of_classes(images, ["ant", "bee"], "toy"),
        of_classes(images, ["ant", "cat"], "toy"),
    ]
    assert len({view.digest() for view in views}) == len(views)
    assert views[1].digest() == relabel(images, ("bee", "ant", "cat")).digest()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([(28, 28)] * 3, 28), ([(40, 30)] * 2, 30), ([(28, 28), (28, 29)], None), ([(400, 400)], None), ([], None)],
)
def test_common_size(tmp_path, sizes, expected):
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    assert common_size(FileSet("some", [str(path) for path in sorted(tmp_path.iterdir())])) == expected


def test_common_size_of_unreadable_images(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert common_size(FileSet("some", [str(tmp_path / "broken.png")])) is None
