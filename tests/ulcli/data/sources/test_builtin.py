"""Image sets that need no download."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images

from ulcli.data.catalog import DataName, Places, labelled_set
from ulcli.data.sources.builtin import digits, noise, photos


def test_digits_are_scikit_learns():
    data, theirs = digits(), load_digits()
    assert len(data) == 1797
    assert data.classes == tuple("0123456789")
    assert data.native_size == 8
    np.testing.assert_array_equal(data.labels, theirs.target)
    np.testing.assert_allclose(data.images / 255, theirs.images / 16, atol=0.5 / 255)


@pytest.mark.parametrize("make", [noise, photos])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 20)])
def test_strange_images_are_at_hand_and_always_the_same(make, shape):
    data = make(shape)
    assert len(data) == 500
    assert data.labels is None
    assert data.load(0).size == shape[:0:-1]
    assert data.digest() == make(shape).digest()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_noise_has_four_kinds(channels, mode):
    data = noise((channels, 16, 16))
    uniform, gaussian, salt, flat = np.split(data.images.astype(float), 4)
    assert data.load(0).mode == mode
    assert abs(uniform.mean() - 127.5) < 1
    assert abs(uniform.std() - 256 / 12**0.5) < 1
    assert abs(gaussian.std() - 48) < 1
    assert set(np.unique(salt)) == {0, 255}
    assert (np.ptp(flat, axis=(1, 2)) == 0).all()
    assert len(np.unique(flat)) > 30


def test_photos_are_crops_of_both_photographs():
    data = photos((3, 32, 32))
    colours = np.stack([picture.mean((0, 1)) for picture in load_sample_images().images])
    for which in (0, 1):  # crops take turns; on average each has the colour of its photograph
        mean = data.images[which::2].mean((0, 1, 2))
        assert np.abs(mean - colours[which]).mean() < np.abs(mean - colours[1 - which]).mean()
    assert len({data.images[index].tobytes() for index in range(500)}) == 500


def test_the_digests_that_model_files_hold():
    # Of `digits`, `digits:train` and `digits:val`, from files of the first version: with another hash `ul evaluate`
    # would say of each of them that its training images have changed.
    splits = (labelled_set(DataName("digits", split), "x", Places()) for split in ("all", "train", "val"))
    assert [images.digest() for images in splits] == [
        "ff71c4f056a2c7aa9a99b661220a64e6",
        "6244cc1e871ebd35e450dd872854891a",
        "764d78510e9f860995dd2ba701f164e4",
    ]


def test_the_digest_of_digits_follows_images_and_labels():
    before = digits().digest()
    pixels, labels = digits(), digits()
    pixels.images[0, 0, 0] ^= 1
    labels.labels[0] = 9
    assert len({before, pixels.digest(), labels.digest()}) == 3
