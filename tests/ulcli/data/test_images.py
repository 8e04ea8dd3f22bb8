"""Images from anywhere come out as a viewer shows them, or as an error that fits in a cell."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ulcli.data.images import ImageError, is_image_name, read_image

SAMPLE = Path(__file__).parents[3] / "sample_models" / "images" / "digit_0.png"


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "x.y.jpeg", "a.JPG", "a.tif", "a.webp", "a.jp2", " a.bmp"])
def test_image_names(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", [".png", "._a.jpg", "png", "a.png.txt", "a.svg", "a.eps", "a.pdf", "Thumbs.db", ""])
def test_other_names(name):
    assert not is_image_name(name)


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".png", ".ppm", ".tif"])
def test_lossless_formats(tmp_path, picture, suffix):
    image = picture(mode="L") if suffix == ".gif" else picture()
    image.save(tmp_path / f"a{suffix}")
    read = read_image(tmp_path / f"a{suffix}")
    assert read.mode in ("L", "RGB")
    np.testing.assert_array_equal(pixels(read.convert("RGB")), pixels(image.convert("RGB")))


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".jp2"])
def test_lossy_formats(tmp_path, picture, suffix):
    image = picture(64, 48)
    image.save(tmp_path / f"a{suffix}", quality=95)
    read = read_image(tmp_path / f"a{suffix}")
    assert (read.mode, read.size) == ("RGB", (64, 48))
    assert np.abs(pixels(read) - pixels(image)).mean() < 8


def test_the_content_decides_not_the_name(tmp_path, picture):
    picture().save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(pixels(read_image(tmp_path / "a.jpg")), pixels(picture()))


@pytest.mark.parametrize(("mode", "expected"), [("1", "L"), ("L", "L"), ("RGB", "RGB"), ("P", "RGB"), ("CMYK", "RGB")])
def test_modes_without_transparency(tmp_path, picture, mode, expected):
    image = picture(mode=mode)
    image.save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")
    assert read.mode == expected
    np.testing.assert_array_equal(pixels(read), pixels(image.convert(expected)))


def test_ycbcr_jpeg_and_cmyk_jpeg(tmp_path, picture):
    image = picture(64, 48)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    read = read_image(tmp_path / "cmyk.jpg")
    assert read.mode == "RGB"
    assert np.abs(pixels(read) - pixels(image)).mean() < 8


def gradient_16():
    return (np.arange(64 * 64) * 16).reshape(64, 64).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_16_bit_gray_is_scaled_not_clipped(tmp_path, suffix):
    values, path = gradient_16(), tmp_path / f"a{suffix}"
    if suffix == ".pgm":  # written by hand: Pillow's writer has changed
        path.write_bytes(b"P5\n64 64\n65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    read = read_image(path)
    assert read.mode == "L"
    np.testing.assert_allclose(pixels(read), values / 65535 * 255, atol=0.5)


def test_16_bit_gray_is_turned_upright(tmp_path):
    values = gradient_16()[:, :32]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_allclose(pixels(read_image(tmp_path / "a.png")), np.rot90(values, -1) / 257, atol=0.5)


@pytest.mark.parametrize(("mode", "dtype"), [("F", np.float32), ("I", np.int32)])
def test_pixels_without_a_known_range(tmp_path, mode, dtype):
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=f"pixels of mode {mode} have no known range; save the image with 8 or 16 bit"):
        read_image(tmp_path / "a.tif")


def on_white(color, opacity):
    return [round(opacity / 255 * value + 255 - opacity) for value in color]


@pytest.mark.parametrize("opacity", [0, 77, 255])
def test_transparency_lies_on_white(tmp_path, opacity):
    Image.new("RGBA", (3, 3), (200, 10, 60, opacity)).save(tmp_path / "rgba.png")
    read = read_image(tmp_path / "rgba.png")
    assert read.mode == "RGB"
    np.testing.assert_allclose(read.getpixel((1, 1)), on_white((200, 10, 60), opacity), atol=1)
    Image.new("LA", (3, 3), (40, opacity)).save(tmp_path / "la.png")
    read = read_image(tmp_path / "la.png")
    assert read.mode == "L"
    np.testing.assert_allclose(read.getpixel((1, 1)), on_white((40,), opacity)[0], atol=1)


def test_a_transparent_palette_entry(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([250, 0, 0, 0, 0, 250])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    image.save(tmp_path / "a.gif", transparency=0)
    for name in ("a.png", "a.gif"):
        read = read_image(tmp_path / name)
        assert read.mode == "RGB"
        assert [read.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 250)]


@pytest.mark.parametrize(("mode", "clear", "solid"), [("RGB", (10, 20, 30), (200, 0, 0)), ("L", 10, 200), ("1", 0, 1)])
def test_one_colour_that_stands_for_transparent(tmp_path, mode, clear, solid):
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), solid)
    image.save(tmp_path / "a.png", transparency=clear)
    read = read_image(tmp_path / "a.png")
    expected = Image.new(mode, (1, 1), solid).convert("RGB").getpixel((0, 0))
    assert [read.convert("RGB").getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), expected]


# What a viewer does for each EXIF orientation, on rows and columns of the stored pixels.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_orientation(tmp_path, picture, orientation, suffix):
    image = picture()
    plain, turned = tmp_path / f"plain{suffix}", tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(plain)
    image.save(turned, exif=exif)
    np.testing.assert_array_equal(pixels(read_image(turned)), UPRIGHT[orientation](pixels(Image.open(plain))))


def test_an_animation_shows_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_the_file_is_closed(tmp_path, picture):
    picture().save(tmp_path / "a.png")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    images = [read_image(tmp_path / "a.png") for _ in range(20)]
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert len(images) == 20
    assert after <= before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an image of a known format"),
        (b"This is a text file, whatever its name says.\n", "not an image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image of a known format"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image of a known format"),
        (b"\x89PNG\r\n\x1a\n", "not an image of a known format|damaged image"),
    ],
)
def test_what_is_no_image(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp", ".jp2"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file(tmp_path, picture, suffix, share):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".gif", ".bmp", ".jp2"])
def test_damage_anywhere_is_an_image_error_or_an_image(tmp_path, picture, suffix):
    stream = io.BytesIO()
    picture().save(stream, format=Image.registered_extensions()[suffix])
    random, path = np.random.default_rng(0), tmp_path / f"a{suffix}"
    for _ in range(60):
        content = bytearray(stream.getvalue())
        for place in random.integers(0, min(len(content), 400), 4):
            content[place] = random.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(ImageError):
            assert read_image(path).mode in ("L", "RGB")


def test_what_is_not_there(tmp_path):
    with pytest.raises(ImageError, match=r"^no such file$"):
        read_image(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"^is a directory$"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="null byte"):
        read_image(tmp_path / "a\0.png")


@pytest.mark.parametrize("name", ["pipe.png", "link.png"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    with pytest.raises(ImageError, match=r"^not a regular file$"):
        read_image(tmp_path / name)


def test_a_device_is_no_image():
    with pytest.raises(ImageError, match=r"^not a regular file$"):
        read_image(Path("/dev/zero"))


def test_names_that_no_file_can_have(tmp_path, picture):
    picture().save(tmp_path / "a.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(ImageError, match=r"^file name too long$"):
        read_image(tmp_path / ("x" * 5000 + ".png"))
    with pytest.raises(ImageError, match=r"^not a directory$"):
        read_image(tmp_path / "a.png" / "b.png")
    with pytest.raises(ImageError, match=r"^too many levels of symbolic links$"):
        read_image(tmp_path / "loop.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path, picture):
    picture().save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ImageError, match=r"^permission denied$"):
        read_image(tmp_path / "a.png")


def black_png(width, height):
    """Many pixels in a few kilobytes."""
    stream = io.BytesIO()
    Image.new("1", (width, height)).save(stream, format="PNG")
    return stream.getvalue()


def test_a_decompression_bomb(tmp_path):
    (tmp_path / "bomb.png").write_bytes(black_png(20_000, 10_000))
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    with pytest.raises(ImageError, match=r"^too many pixels to decode safely$"):
        read_image(tmp_path / "bomb.png")


def test_the_limit_of_pixels_holds_before_any_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("ulcli.data.images.MAX_PIXELS", 24 * 16)
    (tmp_path / "a.png").write_bytes(black_png(24, 16))
    (tmp_path / "b.png").write_bytes(black_png(25, 16))
    assert read_image(tmp_path / "a.png").size == (24, 16)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"^too many pixels to decode safely$"):
        read_image(tmp_path / "b.png")


def test_a_bomb_that_pillow_lets_pass(tmp_path):
    (tmp_path / "bomb.png").write_bytes(black_png(13_300, 13_300))
    with pytest.raises(ImageError, match=r"^too many pixels to decode safely$"):
        read_image(tmp_path / "bomb.png")


def test_a_large_photograph_is_no_bomb_and_says_nothing(tmp_path):
    # Pillow warns from 89 million pixels on. A process of its own: here warnings are errors.
    (tmp_path / "large.png").write_bytes(black_png(10_000, 9_000))
    code = "import sys, ulcli.data.images as images; print(images.read_image(sys.argv[1]).size)"
    command = [sys.executable, "-c", code, tmp_path / "large.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(10000, 9000)\n", "")


def test_reading_on_threads_leaves_the_warning_filters_alone():
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read_image, [SAMPLE] * 300))
    assert list(warnings.filters) == before
