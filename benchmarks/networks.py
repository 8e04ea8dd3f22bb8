"""Networks that the benchmarks train, as a user's own code would define them: `--arch benchmarks.networks:lenet`."""

from __future__ import annotations

from torch import nn


def lenet(num_classes: int = 10) -> nn.Module:
    """LeNet-5 with ReLU and max pooling, for 28 x 28 gray images."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, num_classes),
    )


def small_cnn(num_classes: int = 10) -> nn.Module:
    """LeNet's shape with more channels, for 28 x 28 gray images; about .905 on FashionMNIST after six epochs."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, num_classes),
    )


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 for ImageNet's thousand classes, as `efficientnet_lite_pytorch` on PyPI builds it."""
    return efficientnet_lite("efficientnet-lite0")


def efficientnet_lite(name: str) -> nn.Module:
    """Any of that package's networks, `efficientnet-lite0` to `efficientnet-lite4`."""
    from efficientnet_lite_pytorch import EfficientNet

    network: nn.Module = EfficientNet.from_name(name)
    return network
