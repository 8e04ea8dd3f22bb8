"""Sets in memory."""

import numpy as np
import pytest

from ulcli.data.arrays import ArraySet, LabelledArrays


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)


LABELS = np.array([0, 1, 0, 1, 0, 1])


def test_an_array_set(images):
    data = LabelledArrays("toy", images, LABELS, ("a", "b"))
    assert len(data) == 6
    assert data.native_size == 4
    assert data.identify(3) == "toy/3"
    assert [data.label_name(index) for index in range(3)] == ["a", "b", "a"]
    np.testing.assert_array_equal(np.asarray(data.load(2)), images[2])
    assert data.load(2).mode == "L"


def test_colour_and_oblong_arrays():
    data = ArraySet("toy", np.zeros((2, 4, 6, 3), np.uint8))
    assert data.load(0).mode == "RGB"
    assert data.load(0).size == (6, 4)
    assert data.native_size is None
    assert data.label_name(0) is None


def test_the_digest_is_of_the_content(images):
    alone, labelled = ArraySet("toy", images), LabelledArrays("toy", images, LABELS, ("a", "b"))
    assert alone.digest() == ArraySet("other name", np.asfortranarray(images)).digest()
    assert labelled.digest() == LabelledArrays("other name", images.copy(), LABELS.copy(), ("a", "b")).digest()
    assert labelled.digest() == LabelledArrays("toy", images, LABELS, ("cat", "dog")).digest()
    assert alone.digest() != labelled.digest()
