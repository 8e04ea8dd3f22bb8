"""Transformers are tapped along their depth, convolution networks at every resolution; never inside attention."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

import uncertainty_loss as ul
from ulcli.network.anatomy.backbone import Backbone
from ulcli.network.anatomy.taps import pool_tap


class Attention(nn.Module):
    """Attention whose weights (N, heads, T, T) and keys (N, heads, T, d) pass through layers of their own."""

    def __init__(self, width, heads=2):
        super().__init__()
        self.qkv, self.key_norm, self.weigh = nn.Linear(width, 3 * width), nn.LayerNorm(width // heads), nn.Softmax(-1)
        self.heads = heads

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return (self.weigh(q @ self.key_norm(k).mT) @ v).transpose(1, 2).flatten(2)


class Block(nn.Module):
    def __init__(self, width, several=False):
        super().__init__()
        self.norm, self.attention, self.several = nn.LayerNorm(width), Attention(width), several

    def forward(self, x):
        x = x + self.attention(self.norm(x))
        return (x, None) if self.several else x


class Mixer(nn.Module):
    """Mixes along the tokens: there its layers take (N, D, T)."""

    def __init__(self, width, tokens):
        super().__init__()
        self.norm, self.along = nn.LayerNorm(width), nn.Sequential(nn.Linear(tokens, 7), nn.Linear(7, tokens))

    def forward(self, x):
        return x + self.along(self.norm(x).mT).mT


class Vit(nn.Module):
    def __init__(self, blocks, width=12, extra=1):
        super().__init__()
        self.patches, self.flat = nn.Conv2d(3, width, 4, 4), nn.Flatten(2)
        self.extra = nn.Parameter(torch.randn(1, extra, width))
        self.blocks, self.norm, self.fc = nn.ModuleList(blocks), nn.LayerNorm(width), nn.Linear(width, 3)

    def forward(self, x):
        x = torch.cat([self.extra.expand(len(x), -1, -1), self.flat(self.patches(x)).mT], 1)
        for block in self.blocks:
            x = block(x)
            x = x[0] if isinstance(x, tuple) else x
        return self.fc(self.norm(x).mean(1))


class Unfolded(nn.Module):
    """Mixes windows as MobileViT 2 does: (N, channels, pixels of a window, windows)."""

    def __init__(self):
        super().__init__()
        self.first, self.mix, self.last = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 2, 2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x)
        windows = self.mix(x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).flatten(2, 3).mT)
        return self.fc(self.last(windows.reshape(x.shape)).mean((2, 3)))


DEPTHS = ("patches", "blocks.2", "blocks.4", "norm")
FOUND = {
    "vit": (lambda: Vit([Block(12) for _ in range(8)]), 16, DEPTHS),
    "registers": (lambda: Vit([Block(12) for _ in range(8)], extra=5), 16, DEPTHS),
    "tuples": (lambda: Vit([Block(12, several=True) for _ in range(8)]), 16, DEPTHS),
    "mixer": (lambda: Vit([Mixer(12, 16) for _ in range(8)], extra=0), 16, DEPTHS),
    "two blocks": (lambda: Vit([Block(12) for _ in range(2)]), 16, ("patches", "blocks.0", "norm")),
    "torchvision": (
        lambda: models.VisionTransformer(16, 4, 8, 2, 12, 16, num_classes=3),
        16,
        ("conv_proj", "encoder.layers.encoder_layer_2", "encoder.layers.encoder_layer_4", "encoder"),
    ),
    "windows of convolutions": (Unfolded, 32, ("first", "last")),
    # The last stage's windows are as many as the images.
    "swin": (
        lambda: models.SwinTransformer([4, 4], 8, [2, 2, 2], [1, 2, 2], [4, 4], num_classes=3),
        64,
        ("features.1", "features.3", "permute"),
    ),
    "maxvit": (
        lambda: models.MaxVit((32, 32), 8, 4, [8, 16], [1, 1], 4, 0.1, num_classes=3),
        32,
        ("blocks.0.layers.0.layers.MBconv.layers.conv_a", "blocks.1.layers.0.layers.MBconv.layers.conv_a", "blocks.1"),
    ),
    "convnext": (
        lambda: models.ConvNeXt(
            [models.convnext.CNBlockConfig(8, 16, 1), models.convnext.CNBlockConfig(16, None, 1)], num_classes=3
        ),
        32,
        ("features.2.0", "features"),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_where_a_network_is_tapped(name):
    make, side, expected = FOUND[name]
    torch.manual_seed(0)
    backbone = Backbone.take_apart("mine", None, make(), (3, side, side))
    assert backbone.taps == expected
    assert backbone.head is not None
    embedding = backbone(torch.randn(3, 3, side, side)).embedding
    assert embedding.isfinite().all()


def test_attention_that_an_old_file_names_is_still_read():
    network = Vit([Block(12) for _ in range(2)])
    taps = ("patches", "blocks.1.attention.weigh")
    seen = {}
    for tap in taps:
        network.get_submodule(tap).register_forward_hook(lambda _, __, out, tap=tap: seen.update({tap: out.clone()}))
    features, embedding = Backbone("mine", None, network.eval(), "fc", taps)(torch.randn(2, 3, 16, 16))
    parts = [ul.embed([ul.pool_map(seen[tap])], 512) for tap in taps]
    torch.testing.assert_close(embedding, torch.cat([*parts, ul.embed([features], 1024)], 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("extra", [0, 1, 5])
def test_tokens_are_pooled_as_the_map_that_they_stand_for(dtype, extra):
    """Quadrants, deviation and maximum; class token and registers, which come first, are no part of the map."""
    tokens = torch.randn(3, extra + 16, 7).to(dtype)
    pooled = pool_tap(tokens)
    assert pooled.dtype == dtype
    patches = tokens.double().numpy()[:, extra:].reshape(3, 4, 4, 7)
    quadrants = [patches[:, top : top + 2, left : left + 2].mean((1, 2)) for top in (0, 2) for left in (0, 2)]
    # A channel's four quadrants are neighbours.
    expected = [np.stack(quadrants, 2).reshape(3, 28), patches.std((1, 2)), patches.max((1, 2))]
    tolerance = 1e-2 if dtype is torch.bfloat16 else 1e-5
    np.testing.assert_allclose(pooled.double(), np.concatenate(expected, 1), rtol=tolerance, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tokens_of_no_square_grid_are_pooled_to_mean_and_deviation(dtype):
    tokens = torch.randn(3, 23, 7).to(dtype)
    pooled = pool_tap(tokens)
    assert pooled.dtype == dtype
    expected = np.concatenate([tokens.double().numpy().mean(1), tokens.double().numpy().std(1)], 1)
    np.testing.assert_allclose(pooled.double(), expected, rtol=1e-2 if dtype is torch.bfloat16 else 1e-5, atol=1e-3)


def test_maps_are_pooled_whichever_way_their_channels_lie():
    grid = torch.randn(3, 7, 4, 4)
    torch.testing.assert_close(pool_tap(grid.permute(0, 2, 3, 1)), ul.pool_map(grid))
