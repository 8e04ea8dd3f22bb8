"""Decoding image files that come from anywhere."""

from __future__ import annotations

import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Formats that Pillow decodes by itself. Left out on purpose: those that start another program (EPS runs
# Ghostscript) and vector or document formats.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset(
    {
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)


# Pillow warns of odd metadata, and of pictures of half the size that it refuses, which photographs may be: nothing
# that a user could act on. One filter for the process, because catch_warnings on several threads at once leaves the
# filters in disorder.
warnings.filterwarnings("ignore", module=r"PIL\.")


# What a decoded picture may take, with the copies that conversions make: above one gigabyte at worst. Files of a few
# kilobytes can declare more than that; photographs seldom have a hundred megapixels.
MAX_PIXELS = 100_000_000


class ImageError(Exception):
    """An image that cannot be used; the message is short enough for a table cell."""


def is_image_name(name: str) -> bool:
    """Tell whether a file name looks like an image; hidden files (`.DS_Store`, `._photo.jpg`) do not."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def read_image(path: Path) -> Image.Image:
    """Decode an image file to mode `L` or `RGB`, upright; raise `ImageError` where that fails.

    The picture is what a viewer shows: EXIF orientation is applied, transparency lies on white, 16-bit gray is
    scaled (not clipped) to 8 bit, palettes and CMYK become RGB, and of an animation the first frame counts.
    """
    try:
        _check_is_file(path)
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            # In place, for a copy does not know its file's format, which tells the range of 32-bit pixels.
            ImageOps.exif_transpose(image, in_place=True)
            return to_plain(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("not an image of a known format") from None
    except Image.DecompressionBombError:
        raise ImageError("too many pixels to decode safely") from None
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except Exception as error:  # decoders raise anything on damaged files: OSError, SyntaxError, struct.error ...
        if isinstance(error, OSError) and error.strerror:  # from the operating system: the file was not reached
            raise ImageError(error.strerror.lower()) from None
        raise ImageError(f"damaged image: {' '.join(str(error).split()) or type(error).__name__}") from None


def to_plain(image: Image.Image) -> Image.Image:
    """The same picture in mode `L` or `RGB`."""
    if image.mode.startswith("I") or image.mode == "F":
        return _high_depth_to_gray(image)
    gray = image.mode in ("1", "L", "LA")
    # PNG and GIF files may declare one colour transparent, in any mode.
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "RGBa"):
        image = _on_white(image)
    return image.convert("L" if gray else "RGB")


def _check_is_file(path: Path) -> None:
    # To open a pipe would wait for its other end for ever, and reading a device need not end either.
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ImageError("is a directory" if stat.S_ISDIR(mode) else "not a regular file")


def _high_depth_to_gray(image: Image.Image) -> Image.Image:
    # Pillow's own conversion to "L" clips at 255, which turns a 16-bit picture white.
    values = np.asarray(image)
    # Older Pillow versions open 16-bit PNG files as 32-bit "I".
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray(np.round(values / 257.0).astype(np.uint8))
    raise ImageError(f"pixels of mode {image.mode} have no known range; save the image with 8 or 16 bit")


def _on_white(image: Image.Image) -> Image.Image:
    layers = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
