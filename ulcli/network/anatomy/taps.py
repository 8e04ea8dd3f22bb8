"""Find the layers that the familiarity of an image is read from, and pool what they give."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ulcli.network.anatomy.calls import Call
from ulcli.network.anatomy.outputs import first_tensor
from uncertainty_loss import pool_map

# Taps are the last layers at each of this many spatial resolutions.
_MOST_TAPS = 4
# Tokens beside those of the image's patches: class, distillation, registers.
_MOST_EXTRA_TOKENS = 5


def tap_names(images: Tensor, calls: list[Call]) -> tuple[str, ...]:
    """The last module at each spatial resolution, for the deepest few; a rule that needs to know no network.

    A transformer that has fewer resolutions is tapped after its patch embedding and some of its blocks.
    """
    # A module that works several times (one pooling layer for all) is read where it finishes last.
    finished = {call.name: position for position, call in enumerate(calls)}
    calls = [call for position, call in enumerate(calls) if finished[call.name] == position]
    if any(_is_of_tokens(call) for call in calls):
        return _transformer_taps(images, calls)
    last: dict[tuple[int, ...], str] = {}
    for call in calls:
        size = _map_size(call, len(images))
        if size is not None:
            last[size] = call.name
    # Convolutional attention works on (N, channels, pixels of a window, windows), which looks like a map.
    shaped = {size: name for size, name in last.items() if _is_shaped_like(images, size)}
    return tuple((shaped or last).values())[-_MOST_TAPS:]


def pool_tap(x: Tensor) -> Tensor:
    """Sum up a tap for a whole image: `pool_map` of maps and of tokens on a grid, else mean and deviation.

    Where in an image a token stands is part of what makes it strange: as maps, tokens tell OOD images better than by
    their mean and deviation, on every network that was tried (benchmarks/transformer_taps.py).
    """
    if x.dim() == 4:
        return pool_map(channels_first(x))
    extra = _extra_tokens(x.shape[1])
    if extra is not None:
        side = math.isqrt(x.shape[1])
        return pool_map(x[:, extra:].mT.reshape(len(x), -1, side, side))
    deviation, mean = torch.std_mean(x.float(), 1, correction=0)
    return torch.cat([mean, deviation], 1).to(x.dtype)


def channels_first(x: Tensor) -> Tensor:
    """Maps as (N, C, H, W). Transformers often keep the channels last; images are square, and so are their maps."""
    return x.movedim(3, 1) if x.shape[1] == x.shape[2] != x.shape[3] else x


def _map_size(call: Call, images: int) -> tuple[int, ...] | None:
    """Height and width of the maps that a module gives, one an image; None where it gives something else."""
    output = call.output
    # Windows of a transformer come in a batch of their own.
    if not isinstance(output, Tensor) or output.dim() != 4 or len(output) != images:
        return None
    size = channels_first(output).shape[2:]
    return tuple(size) if size.numel() > 1 and not _enlarges(call) else None


def _is_shaped_like(images: Tensor, size: tuple[int, ...]) -> bool:
    return size[0] * images.shape[3] == size[1] * images.shape[2]


def _enlarges(call: Call) -> bool:
    """Tell whether a module pads or repeats a map: the network sees nothing anew at such a resolution."""
    if not isinstance(call.input, Tensor) or call.input.dim() != 4:
        return False
    before, after = (channels_first(each).shape[2:].numel() for each in (call.input, call.output))
    return bool(after > before)


class _Site(NamedTuple):
    """A module of a transformer that gives maps or tokens of every image."""

    call: Call
    places: int  # positions in an image, without extra tokens
    tokens: bool


def _transformer_taps(images: Tensor, calls: list[Call]) -> tuple[str, ...]:
    sites = list(_sites(images, calls))
    order = {site.call.name: position for position, site in enumerate(sites)}
    # The map that tokens are made of shows what blocks have lost: noise, blur, contrast.
    last = {(site.tokens, site.places): site.call.name for site in sites}
    names = sorted(last.values(), key=order.__getitem__)[-_MOST_TAPS:]
    missing = _MOST_TAPS - len(names)
    blocks = [name for name in _blocks(sites) if name not in names]
    steps = [round(len(blocks) * (each + 1) / (missing + 1)) - 1 for each in range(missing)]
    chosen = {blocks[step] for step in steps if step >= 0}
    return tuple(sorted({*names, *chosen}, key=order.__getitem__))


def _sites(images: Tensor, calls: list[Call]) -> Iterator[_Site]:
    """All that show whole images: neither the insides of attention nor what mixes along channels."""
    inside = {call.name: _span(call, len(images)) for call in calls}
    found = []
    for call in calls:
        size = _map_size(call, len(images))
        if size is not None:
            if not _is_shaped_like(images, size):
                continue  # (N, windows, tokens, channels), say
            site = _Site(call, math.prod(size), tokens=False)
        elif (length := _length(call.output, len(images))) is not None:
            site = _Site(call, length - (_extra_tokens(length) or 0), tokens=True)
        else:
            continue
        if all(_fits(site.places, inside.get(name)) for name in _ancestors(call.name)):
            found.append(site)
    # A flattened map (N, C, T) is no sequence of C tokens: no layer works on it as such.
    lengths = {site.places for site in found if site.tokens and _is_of_tokens(site.call)}
    yield from (site for site in found if not site.tokens or site.places in lengths)


def _blocks(sites: list[_Site]) -> list[str]:
    """The outermost layers of which there are several alike, that take and give tokens."""
    alike: dict[tuple[str, Any], list[str]] = {}
    for call, _, tokens in sites:
        if tokens and _length(call.input, None) == _length(call.output, None):
            kind = getattr(call.module, "original_type", type(call.module))  # of an exported program, as it was
            alike.setdefault((call.name.rpartition(".")[0], kind), []).append(call.name)
    several = {name for names in alike.values() if len(names) > 1 for name in names}
    return [site.call.name for site in sites if site.call.name in several and not several & _ancestors(site.call.name)]


def _span(call: Call, images: int) -> tuple[int, int, bool] | None:
    """Fewest and most positions of what a module takes and gives, and whether these are tokens."""
    counts, tokens = [], False
    for value in (call.input, call.output):
        length = _length(value, images)
        tensor = first_tensor(value)
        if length is not None:
            counts.append(length)
            tokens = True
        elif tensor is not None and tensor.dim() == 4 and len(tensor) == images:
            counts.append(channels_first(tensor).shape[2:].numel())
    return (min(counts), max(counts), tokens) if len(counts) == 2 else None


def _fits(places: int, span: tuple[int, int, bool] | None) -> bool:
    """Tell whether a layer inside another may show an image at so many positions."""
    if span is None:
        return True
    fewest, most, tokens = span
    return places <= most + _MOST_EXTRA_TOKENS and (not tokens or places >= fewest - _MOST_EXTRA_TOKENS)


def _is_of_tokens(call: Call) -> bool:
    """Tell whether a layer works on the last dimension of something with positions."""
    output = first_tensor(call.output)
    if output is None or output.dim() < 3 or not isinstance(call.module, nn.Linear | nn.LayerNorm):
        return False
    return output.shape[1:-1].numel() > 1


def _length(value: Any, images: int | None) -> int | None:
    """T of tokens (N, T, D), one sequence an image."""
    x = first_tensor(value)
    if x is None or x.dim() != 3 or images not in (None, len(x)) or min(x.shape[1:]) < 2:
        return None
    return x.shape[1]


def _extra_tokens(length: int) -> int | None:
    """Count the tokens of a sequence before a square grid of patches; None where there is no such grid."""
    side = math.isqrt(length)
    extra = length - side * side
    return extra if side > 1 and extra <= _MOST_EXTRA_TOKENS else None


def _ancestors(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}
