"""Images made worse in a known way: deterministic, harder with severity, and told apart by the cache."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from ulcli.data.arrays import LabelledArrays
from ulcli.data.imageset import Subset
from ulcli.data.shifts import KINDS, Shift, Shifted
from ulcli.errors import UserError


def picture(mode, size):
    """A bright disc with some texture on dark ground, off the middle."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    inside = (x / width - 0.6) ** 2 + (y / height - 0.4) ** 2 < 0.08
    gray = 20 + 180 * inside + 30 * np.sin(x * 1.7 + y)
    pixels = gray if mode == "L" else np.stack([gray, 0.7 * gray, 220 - gray], axis=-1)
    return pixels.clip(0, 255).astype(np.uint8)


def toy(mode="L", size=(28, 28), n=3):
    return LabelledArrays("toy", np.stack([picture(mode, size)] * n), np.arange(n) % 2, ("a", "b"))


def alone(pixels):
    return LabelledArrays("alone", pixels, np.zeros(1, np.int64), ("a",))


def change(kind, severity, mode, size):
    images = toy(mode, size)
    before, after = (np.asarray(each.load(0), float) for each in (images, Shifted(images, kind, severity)))
    return np.abs(before - after).mean()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (61, 40), (300, 200), (1, 1), (5, 1)])
def test_mode_and_size_stay_and_images_repeat(kind, mode, size):
    images = toy(mode, size)
    for severity in (1, 5):
        image = Shifted(images, kind, severity).load(1)
        assert (image.mode, image.size) == (mode, size)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(Shifted(images, kind, severity).load(1)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mode", "size"), [("L", (8, 8)), ("L", (28, 28)), ("RGB", (224, 160))])
def test_each_severity_changes_more_than_the_one_before(kind, mode, size):
    changes = [change(kind, severity, mode, size) for severity in range(1, 6)]
    assert changes[0] > 0.2
    # JPEG and rotation of a small picture may round to the same; on the whole it gets worse.
    assert all(after >= 0.8 * before for before, after in pairwise(changes)), changes
    assert changes[-1] > 1.15 * changes[0]


def test_images_differ_in_what_is_drawn_for_them():
    images = Shifted(toy(n=30), "noise", 2)
    assert not np.array_equal(images.load(0), images.load(1))
    turned = {Shifted(toy(n=30), "rotation", 2).load(index).tobytes() for index in range(30)}
    assert len(turned) == 2  # to the left, and to the right


def test_noise_of_another_severity_is_the_same_noise_louder():
    gray = alone(np.full((1, 40, 40), 128, np.uint8))
    one, two = (np.asarray(Shifted(gray, "noise", severity).load(0), float) - 128 for severity in (1, 2))
    assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.99
    assert one.std() == pytest.approx(255 * 0.06, rel=0.1)


@pytest.mark.parametrize(("severity", "strength"), [(1, 0.06), (2, 0.10), (3, 0.16), (4, 0.24), (5, 0.36)])
def test_how_strong_noise_is(severity, strength):
    gray = LabelledArrays("gray", np.full((1, 60, 60), 128, np.uint8), np.zeros(1, np.int64), ("gray",))
    clipped = np.clip(128 + 255 * strength * np.random.default_rng(0).normal(size=100_000), 0, 255)
    assert np.asarray(Shifted(gray, "noise", severity).load(0), float).std() == pytest.approx(clipped.std(), rel=0.04)


def test_what_the_last_version_did_is_not_taken_from_a_cache(monkeypatch):
    before = Shifted(toy(), "blur", 1).digest()
    monkeypatch.setattr("ulcli.data.shifts._VERSION", "of tomorrow")
    assert Shifted(toy(), "blur", 1).digest() != before


def test_blur_is_relative_to_the_image():
    # An edge at two sizes is as wide in relation to them: the share of pixels between dark and bright is the same.
    shares = []
    for side in (100, 400):
        edge = np.zeros((1, side, side), np.uint8)
        edge[:, :, side // 2 :] = 255
        row = np.asarray(Shifted(alone(edge), "blur", 5).load(0))[side // 2]
        shares.append(np.mean((row > 40) & (row < 215)))
    assert shares[0] == pytest.approx(shares[1], abs=0.02)
    assert shares[0] > 0.1


def test_contrast_keeps_the_mean_and_inversion_turns_every_pixel():
    images = toy("RGB", (40, 30))
    before = np.asarray(images.load(0), float)
    flat = np.asarray(Shifted(images, "contrast", 5).load(0), float)
    assert flat.mean((0, 1)) == pytest.approx(before.mean((0, 1)), abs=0.5)
    assert flat.std() < 0.2 * before.std() + flat.mean((0, 1)).std() + 1
    np.testing.assert_array_equal(np.asarray(Shifted(images, "inversion", 5).load(0)), 255 - before)
    part = np.asarray(Shifted(images, "inversion", 2).load(0))  # two fifths of 40 columns
    np.testing.assert_array_equal(part[:, :16], 255 - before[:, :16])
    np.testing.assert_array_equal(part[:, 16:], before[:, 16:])


def test_corners_that_a_rotation_bares_have_the_colour_of_the_border():
    frame = np.full((1, 50, 50, 3), (200, 10, 60), np.uint8)
    np.testing.assert_array_equal(np.asarray(Shifted(alone(frame), "rotation", 4).load(0)), frame[0])


def test_it_stands_for_its_parent():
    images = Subset(toy(), [2, 0], "toy:test")
    shifted = Shifted(images, "blur", 3)
    assert shifted.name == "toy:test+blur:3"
    assert len(shifted) == 2
    assert shifted.identify(0) == "toy/2"
    assert [shifted.label_name(index) for index in range(2)] == ["a", "a"]
    assert (shifted.classes, shifted.native_size) == (("a", "b"), 28)


def test_the_digest_tells_shifts_apart():
    digests = {Shifted(toy(), kind, severity).digest() for kind in KINDS for severity in range(1, 6)}
    assert len(digests | {toy().digest()}) == 5 * len(KINDS) + 1
    assert Shifted(toy(), "blur", 1).digest() == Shifted(toy(), "blur", 1).digest()
    assert Shifted(toy(n=2), "blur", 1).digest() != Shifted(toy(), "blur", 1).digest()


def test_a_set_may_be_shifted_twice():
    images = Shifted(Shifted(toy(), "inversion", 5), "inversion", 5)
    assert images.name == "toy+inversion:5+inversion:5"
    np.testing.assert_array_equal(np.asarray(images.load(0)), np.asarray(toy().load(0)))


def test_what_a_user_may_write():
    assert Shift.parse("blur") == Shift("blur", 3)
    assert Shift.parse("jpeg:5") == Shift("jpeg", 5)
    assert str(Shift.parse("noise:1")) == "noise:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blurr:3", r"unknown shift 'blurr'; did you mean 'blur'\? \(give KIND or KIND:SEVERITY, such as blur:3\)"),
        ("fog", "unknown shift 'fog'; known: blur, contrast, inversion, jpeg, noise, rotation"),
        ("", "unknown shift ''"),
        ("blur:6", "'blur:6': the severity of a shift is a number from 1 to 5"),
        ("blur:0", "number from 1 to 5"),
        ("blur:", "number from 1 to 5"),
        ("blur:2.5", "number from 1 to 5"),
        ("blur:3:4", "number from 1 to 5"),
    ],
)
def test_what_a_user_may_not_write(text, message):
    with pytest.raises(UserError, match=message):
        Shift.parse(text)


def test_jpeg_is_what_a_file_of_that_quality_shows(tmp_path):
    images = toy("RGB", (64, 48))
    images.load(0).save(tmp_path / "small.jpg", quality=13)
    with Image.open(tmp_path / "small.jpg") as saved:
        np.testing.assert_array_equal(np.asarray(Shifted(images, "jpeg", 3).load(0)), np.asarray(saved))
