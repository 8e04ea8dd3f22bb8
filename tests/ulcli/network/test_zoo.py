"""Every architecture there is: the head is found and verified, the taps are maps or tokens. `make test-zoo`."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from ulcli.network.anatomy.backbone import Backbone
from ulcli.network.anatomy.outputs import matrices
from ulcli.network.loading.build import rebuilt_network

# Their outputs are no linear function of any layer's input.
NOT_LINEAR = {"squeezenet1_0", "squeezenet1_1"}


def check(network, shape, *, linear=True, width=7, least=2):
    backbone = Backbone.take_apart("zoo", None, network, shape)
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(9))
    seen = {}
    for tap in backbone.taps:
        network.get_submodule(tap).register_forward_hook(lambda _, __, out, tap=tap: seen.update({tap: out}))
    activations = backbone(x)
    with torch.no_grad():
        (output,) = (each for each in matrices(network(x), 1, "zoo") if each.shape[1] == width)
    logits = backbone.own_classifier()(activations.features)
    torch.testing.assert_close(logits.float(), output, rtol=1e-3, atol=1e-3 * output.std().item())
    assert (backbone.head is not None) == linear
    assert len(backbone.taps) >= least
    assert activations.embedding.isfinite().all()
    for tap, out in seen.items():
        out = out[0] if isinstance(out, tuple) else out
        assert out.dim() in (3, 4), tap
        assert out.dim() == 3 or out.shape[1] == out.shape[2] or out.shape[2] == out.shape[3], tap


def check_rebuilt(arch, network, shape):
    """What a model file has of a network makes the same one again."""
    again = rebuilt_network(arch, network.state_dict(), 7, {}).eval()
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        for output, expected in zip(matrices(again(x), 2, "zoo"), matrices(network(x), 2, "zoo"), strict=True):
            torch.testing.assert_close(output, expected)


def torchvision_network(name):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, num_classes=7, **options)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "resnet18"])
def test_a_few_of_torchvision(name):
    check(torchvision_network(name), (3, 64, 64), linear=name not in NOT_LINEAR)


@pytest.mark.zoo
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_all_of_torchvision(name):
    network = torchvision_network(name).eval()
    check(network, (3, 224, 224), linear=name not in NOT_LINEAR)
    check_rebuilt(name, network, (3, 224, 224))


# One of each family.
TIMM = Path(__file__).with_name("timm_networks.txt").read_text().split()
# The mean of two heads that read different features.
TIMM_NOT_LINEAR = {
    *("crossvit_tiny_240", "deit_tiny_distilled_patch16_224", "efficientformer_l1", "efficientformerv2_s0"),
    *("levit_128s", "repvit_m0_9"),
}
# All of its blocks work at the resolution of its patches.
ONE_RESOLUTION = {"convmixer_768_32"}


@pytest.mark.zoo
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    timm = pytest.importorskip("timm")
    network = timm.create_model(name, pretrained=False, num_classes=7)
    shape = tuple(network.pretrained_cfg["input_size"])
    check(network, shape, linear=name not in TIMM_NOT_LINEAR, least=1 if name in ONE_RESOLUTION else 2)
    check_rebuilt(f"timm/{name}", network, shape)


SMALL = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
TRANSFORMERS = {
    "ViT": SMALL | {"image_size": 32, "patch_size": 8},
    "Dinov2": SMALL | {"image_size": 32, "patch_size": 8},
    "Beit": SMALL | {"image_size": 32, "patch_size": 8},
    "Swin": {
        "image_size": 64,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [2, 2],
        "num_heads": [2, 2],
        "window_size": 4,
    },
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "ConvNext": {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]},
}


@pytest.mark.zoo
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name):
    transformers = pytest.importorskip("transformers")
    options = TRANSFORMERS[name]
    config = getattr(transformers, f"{name}Config")(num_labels=7, **options)
    network: nn.Module = getattr(transformers, f"{name}ForImageClassification")(config)
    for parameter in network.parameters():  # some start at 0
        nn.init.normal_(parameter, std=0.1)
    side = options.get("image_size", 64)
    check(network, (3, side, side))
