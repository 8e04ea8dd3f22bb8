"""Emoji of four vendors as a labelled folder: colour pictures of real things, in nine classes that Unicode names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ulcli.data.splits import stratified_parts

VENDORS = ("apple", "facebook", "google", "twitter")
SIDE = 64


def write_emoji(npm: Path, folder: Path) -> Path:
    """PNG files on white under train, val and test, one sub-folder a class; `npm` is where npm installed the packages.

    All drawings of one emoji go into the same part: the vendors' drawings resemble each other. Flesh tones are left
    out, for they are near copies too.
    """
    described = json.loads((npm / "node_modules/emoji-datasource-google/emoji.json").read_text(encoding="utf-8"))
    emoji = [each for each in described if each["category"] != "Component"]
    parts = stratified_parts(np.array([each["category"] for each in emoji]))
    for part, members in parts.items():
        for index in members:
            each = emoji[index]
            place = folder / part / each["category"].replace(" & ", " and ")
            place.mkdir(parents=True, exist_ok=True)
            for vendor in VENDORS:
                if each[f"has_img_{vendor}"]:
                    source = npm / f"node_modules/emoji-datasource-{vendor}/img/{vendor}/64" / each["image"]
                    _on_white(source).save(place / f"{Path(each['image']).stem}_{vendor}.png")
    return folder


def _on_white(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        drawing = picture.convert("RGBA")
    page = Image.new("RGBA", drawing.size, "white")
    return Image.alpha_composite(page, drawing).convert("RGB").resize((SIDE, SIDE))
