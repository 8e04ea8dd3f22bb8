"""Preprocessing from what is said, published, or suggested by network and images."""

import pytest
from torch import nn

from ulcli.data.transform import NORMALIZATIONS, Transform
from ulcli.errors import UserError
from ulcli.network.preprocessing import Preprocessing, assumption
from ulcli.network.sources.source import Images

COLOR, GRAY = nn.Conv2d(3, 4, 3), nn.Conv2d(1, 4, 3)
IMAGENET = NORMALIZATIONS["imagenet"]
PUBLISHED = Transform(256, 224, *IMAGENET, interpolation="bicubic")


@pytest.mark.parametrize(
    ("said", "published", "native", "expected"),
    [
        ({}, PUBLISHED, 32, PUBLISHED),
        ({}, None, None, Transform(224, 224, (0.0,) * 3, (1.0,) * 3)),
        ({}, None, 32, Transform(32, 32, (0.0,) * 3, (1.0,) * 3)),
        ({"image_size": 64}, PUBLISHED, None, Transform(64, 64, *IMAGENET, interpolation="bicubic")),
        ({"crop": 64}, PUBLISHED, None, Transform(64, 64, *IMAGENET, interpolation="bicubic")),
        ({"crop": 64, "resize": 73}, PUBLISHED, None, Transform(73, 64, *IMAGENET, interpolation="bicubic")),
        ({"resize": 232}, PUBLISHED, None, Transform(232, 224, *IMAGENET, interpolation="bicubic")),
        ({"resize": 128}, PUBLISHED, None, Transform(128, 128, *IMAGENET, interpolation="bicubic")),
        ({"resize": 128}, None, 32, Transform(128, 128, (0.0,) * 3, (1.0,) * 3)),
        ({"interpolation": "nearest"}, PUBLISHED, None, Transform(256, 224, *IMAGENET, interpolation="nearest")),
        (
            {"squash": True, "antialias": False},
            PUBLISHED,
            None,
            Transform(256, 224, *IMAGENET, interpolation="bicubic", squash=True, antialias=False),
        ),
        ({"mean": (0.5,), "std": (0.5,)}, None, 8, Transform(8, 8, (0.5,) * 3, (0.5,) * 3)),
        ({"grayscale": True}, PUBLISHED, None, Transform(256, 224, (0.0,), (1.0,), True, "bicubic")),
    ],
)
def test_what_comes_of_it(said, published, native, expected):
    assert Preprocessing(**said).transform(COLOR, published, native) == expected


def test_what_the_published_weights_do_stays_unless_the_user_says_otherwise():
    published = Transform(8, 8, *IMAGENET, squash=True, antialias=False)
    assert Preprocessing().transform(COLOR, published, None) == published
    other = Preprocessing(squash=False, antialias=True).transform(COLOR, published, None)
    assert (other.squash, other.antialias) == (False, True)


def test_the_first_convolution_tells_the_channels():
    assert Preprocessing().transform(GRAY, None, 8) == Transform(8, 8, (0.0,), (1.0,), grayscale=True)
    assert not Preprocessing(grayscale=False).transform(GRAY, None, 8).grayscale


@pytest.mark.parametrize(
    ("said", "images", "native", "expected"),
    [
        ({}, Images(3, 16, True), 8, Transform(16, 16, (0.0,) * 3, (1.0,) * 3)),
        ({}, Images(1, 16, True), None, Transform(16, 16, (0.0,), (1.0,), grayscale=True)),
        ({"resize": 20}, Images(3, 16, True), None, Transform(20, 16, (0.0,) * 3, (1.0,) * 3)),
        ({"resize": 20, "crop": 16}, Images(3, 16, True), None, Transform(20, 16, (0.0,) * 3, (1.0,) * 3)),
        ({"image_size": 16}, Images(3, 16, True), None, Transform(16, 16, (0.0,) * 3, (1.0,) * 3)),
        ({"image_size": 24}, Images(3, 16, False), None, Transform(24, 24, (0.0,) * 3, (1.0,) * 3)),
        ({}, Images(3, 16, False), 8, Transform(16, 16, (0.0,) * 3, (1.0,) * 3)),
    ],
)
def test_a_network_may_say_which_images_it_takes(said, images, native, expected):
    assert Preprocessing(**said).transform(COLOR, None, native, images) == expected


@pytest.mark.parametrize(
    ("said", "images", "message"),
    [
        ({"image_size": 24}, Images(3, 16, True), "--image-size 24: the exported program takes images of 16 pixels"),
        ({"crop": 24}, Images(3, 16, True), "--crop 24: the exported program takes images of 16 pixels alone"),
        ({"resize": 8}, Images(3, 16, True), "--resize, --crop, --mean or --std make no sense"),
        ({"grayscale": True}, Images(3, 16, True), "takes color images alone; leave out --grayscale"),
        ({"grayscale": False}, Images(1, 16, True), "takes grayscale images alone"),
    ],
)
def test_what_such_a_network_does_not_take(said, images, message):
    with pytest.raises(UserError, match=message):
        Preprocessing(**said).transform(COLOR, None, None, images)


def test_the_margin_stays_open_where_the_size_is_fixed():
    assert Preprocessing().unsaid(Images(3, 16, True)) == ["--resize", "--mean", "--std"]
    assert Preprocessing().unsaid(Images(3, 16, False)) == ["--image-size", "--mean", "--std"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"mean": (0.1, 0.2)}, "--mean has 2 values; expected one, or one for each of 3"),
        ({"mean": IMAGENET[0], "grayscale": True}, "--mean has 3 values; expected one, or one for each of 1"),
        ({"std": (0.0,)}, "--mean or --std make no sense: expected a positive std"),
        ({"image_size": 10**5}, "make no sense: expected 0 < crop"),
    ],
)
def test_what_makes_no_sense(said, message):
    with pytest.raises(UserError, match=message):
        Preprocessing(**said).transform(COLOR, None, None)


@pytest.mark.parametrize(
    ("said", "unsaid"),
    [
        ({}, ["--image-size", "--mean", "--std"]),
        ({"crop": 8}, ["--mean", "--std"]),
        ({"image_size": 8, "mean": (0.5,)}, ["--std"]),
        ({"resize": 8, "mean": (0.5,), "std": (0.5,)}, []),
    ],
)
def test_what_is_left_out(said, unsaid):
    assert Preprocessing(**said).unsaid() == unsaid


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        (PUBLISHED, "resize 256, crop 224, bicubic, imagenet normalization"),
        (Transform(8, 8, (0.0,), (1.0,), True), "8 pixels, bilinear, grayscale, no normalization"),
        (
            Transform(8, 8, (0.5,), (0.25,), True, squash=True, antialias=False),
            "8 pixels, squashed, bilinear, no antialiasing, grayscale, mean 0.5, std 0.25",
        ),
    ],
)
def test_words(transform, words):
    assert str(transform) == words
    assert assumption(transform, ["--mean"], None) == (
        f"preprocessing assumed: {words}; say --mean if the network was trained otherwise"
    )
    assert "assumed, as for the published weights of resnet18: " in assumption(transform, ["--mean"], "resnet18")
