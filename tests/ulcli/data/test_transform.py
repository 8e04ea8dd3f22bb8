"""The pixels that a network sees are those of torchvision's ImageClassification preset, bit for bit."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms._presets import ImageClassification

from ulcli.data.transform import RESAMPLING, UNSMOOTHED, Transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preset(transform):
    return ImageClassification(
        crop_size=transform.crop,
        resize_size=transform.resize,
        mean=transform.mean,
        std=transform.std,
        interpolation=InterpolationMode(transform.interpolation),
    )


@pytest.mark.parametrize("interpolation", RESAMPLING)
@pytest.mark.parametrize(("resize", "crop"), [(32, 32), (37, 32), (8, 5), (40, 17)])
@pytest.mark.parametrize("size", [(32, 32), (33, 32), (50, 37), (37, 50), (7, 100), (3, 2), (1, 1), (129, 64)])
def test_against_torchvision(picture, interpolation, resize, crop, size):
    transform = Transform(resize, crop, MEAN, STD, interpolation=interpolation)
    image = picture(*size)
    got = transform(image)
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    assert got.shape == transform.shape == (3, crop, crop)
    assert torch.equal(got, preset(transform)(image))


@pytest.mark.parametrize("interpolation", RESAMPLING)
def test_gray_against_torchvision(picture, interpolation):
    transform = Transform(20, 16, (0.3,), (0.7,), grayscale=True, interpolation=interpolation)
    image = picture(31, 47)
    assert transform.shape == (1, 16, 16)
    assert torch.equal(transform(image), preset(transform)(image.convert("L")))


def test_a_gray_image_fills_three_channels(picture):
    transform = Transform(16, 16, (0.0,) * 3, (1.0,) * 3)
    got = transform(picture(mode="L"))
    assert torch.equal(got[0], got[1])
    assert torch.equal(got, preset(transform)(picture(mode="L").convert("RGB")))


def test_values_are_scaled_and_normalised():
    transform = Transform(2, 2, (0.25,), (0.5,), grayscale=True)
    image = Image.fromarray(np.array([[0, 51], [102, 255]], np.uint8))
    torch.testing.assert_close(transform(image)[0], torch.tensor([[-0.5, -0.1], [0.3, 1.5]]))


@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (5000, 3)])
def test_a_very_long_image_is_cut_to_its_middle(size):
    image = Image.new("L", size, 10)
    middle = (size[0] // 2, size[1] // 2)
    image.paste(200, (middle[0] - 24, middle[1] - 24, middle[0] + 24, middle[1] + 24))
    got = Transform(8, 8, (0.0,), (1.0,), grayscale=True)(image)
    assert torch.equal(got, torch.full((1, 8, 8), 200 / 255))


def test_through_a_dictionary():
    transform = Transform(40, 32, MEAN, STD, interpolation="bicubic")
    assert Transform.from_dict(transform.to_dict()) == transform
    assert all(isinstance(value, int | str | list) for value in transform.to_dict().values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": 8, "crop": 9}, "expected 0 < crop <= resize <= 8192, got crop 9 and resize 8"),
        ({"resize": 10**6, "crop": 8}, "expected 0 < crop <= resize <= 8192"),
        ({"resize": 8, "crop": 0}, "expected 0 < crop <= resize"),
        ({"mean": (0.0,)}, "expected 3 values of mean and std"),
        ({"std": (1.0, 1.0)}, "expected 3 values of mean and std"),
        ({"grayscale": True}, "expected 1 values of mean and std"),
        ({"std": (1.0, 0.0, 1.0)}, "expected a positive std"),
        ({"std": (1.0, float("nan"), 1.0)}, "expected a positive std"),
        ({"std": (1.0, float("inf"), 1.0)}, "expected finite mean and std"),
        ({"mean": (1.0, float("nan"), 1.0)}, "expected finite mean and std"),
        ({"interpolation": "lanczos", "antialias": False}, "expected antialias with lanczos interpolation"),
        ({"interpolation": "hamming"}, "expected interpolation in .*, got 'hamming'"),
    ],
)
def test_what_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Transform(**{"resize": 8, "crop": 8, "mean": MEAN, "std": STD, **options})


SIZES = [(32, 32), (33, 32), (50, 37), (37, 50), (7, 100), (3, 2), (129, 64), (200, 310)]


@pytest.mark.parametrize("interpolation", RESAMPLING)
@pytest.mark.parametrize(("resize", "crop"), [(32, 32), (37, 32), (8, 5)])
@pytest.mark.parametrize("size", SIZES)
def test_squash_against_torchvision(picture, interpolation, resize, crop, size):
    transform = Transform(resize, crop, MEAN, STD, interpolation=interpolation, squash=True)
    image = picture(*size)
    steps = [
        v1.Resize((resize, resize), InterpolationMode(interpolation)),
        v1.CenterCrop(crop),
        v1.ToTensor(),
        v1.Normalize(MEAN, STD),
    ]
    assert torch.equal(transform(image), v1.Compose(steps)(image))
    second = v2.functional.resize(image, [resize, resize], InterpolationMode(interpolation))
    levels = np.asarray(v2.functional.center_crop(second, [crop])).transpose(2, 0, 1)
    plain = Transform(resize, crop, (0.0,) * 3, (1.0,) * 3, interpolation=interpolation, squash=True)
    assert np.array_equal((255 * plain(image)).round().numpy(), levels)


@pytest.mark.parametrize("interpolation", UNSMOOTHED)
@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("resize", "crop"), [(32, 32), (37, 32), (8, 5)])
@pytest.mark.parametrize("size", SIZES)
def test_without_antialias_against_torchvision(picture, interpolation, squash, resize, crop, size):
    transform = Transform(resize, crop, MEAN, STD, interpolation=interpolation, squash=squash, antialias=False)
    image = picture(*size)
    tensor = v1.functional.pil_to_tensor(image)
    lengths = [resize, resize] if squash else [resize]
    resized = v1.functional.resize(tensor, lengths, InterpolationMode(interpolation), antialias=False)
    cropped = v1.functional.center_crop(resized, [crop]).float() / 255
    assert torch.equal(transform(image), v1.functional.normalize(cropped, list(MEAN), list(STD)))
    # v2 resizes 8-bit tensors in whole numbers on some machines: never more than one level apart.
    second = v2.functional.resize(tensor, lengths, InterpolationMode(interpolation), antialias=False)
    levels = (second.float() - resized.float()).abs().max() if interpolation != "nearest" else 0
    assert levels <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", SIZES)
def test_with_antialias_tensors_are_as_pillow_but_for_one_level(picture, interpolation, size):
    transform = Transform(24, 24, (0.0,) * 3, (1.0,) * 3, interpolation=interpolation)
    tensor = v1.functional.pil_to_tensor(picture(*size))
    resized = v2.functional.resize(tensor, [24], InterpolationMode(interpolation), antialias=True)
    cropped = v2.functional.center_crop(resized, [24]).float()
    assert (255 * transform(picture(*size)) - cropped).abs().max() < 1.01


def test_gray_without_antialias(picture):
    transform = Transform(20, 16, (0.3,), (0.7,), grayscale=True, antialias=False)
    tensor = v1.functional.pil_to_tensor(picture(31, 47, mode="L"))
    resized = v1.functional.resize(tensor, [20], antialias=False)
    cropped = v1.functional.center_crop(resized, [16]).float() / 255
    assert torch.equal(transform(picture(31, 47, mode="L")), v1.functional.normalize(cropped, [0.3], [0.7]))


def test_a_very_long_image_is_squashed_whole():
    image = Image.new("L", (4096, 8), 0)
    image.paste(255, (0, 0, 2048, 8))
    got = Transform(8, 8, (0.0,), (1.0,), grayscale=True, squash=True)(image)
    assert got[0, :, :3].eq(1).all()
    assert got[0, :, 5:].eq(0).all()


def test_a_dictionary_of_before_says_nothing_of_squash_and_antialias():
    fields = Transform(40, 32, MEAN, STD).to_dict()
    del fields["squash"], fields["antialias"]
    assert Transform.from_dict(fields) == Transform(40, 32, MEAN, STD)
    other = Transform(40, 32, MEAN, STD, squash=True, antialias=False)
    assert Transform.from_dict(other.to_dict()) == other
