"""Networks that draw no random weights become the same as those that do, once others are loaded."""

import pytest
import torch
from torch import nn
from torchvision import models

from ulcli.network.loading.blank import assign_weights, build_blank

# One of each family, small ones first of all.
NAMES = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "maxvit_t", "mnasnet1_0"),
    *("mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "squeezenet1_1"),
    *("swin_t", "swin_v2_t", "vgg11_bn", "vit_b_32"),
]


class Seeded(nn.Module):
    """A fixed projection that no state dict holds."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.linear = nn.Linear(4, 4)
        self.projection = torch.randn(4, 4)

    def forward(self, x):
        return self.linear(x) @ self.projection


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x).relu())


class Computed(nn.Module):
    """Numbers that no state dict holds, in every place where a module may keep them."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("steps", torch.linspace(0, 1, 4), persistent=False)
        self.scale, self.shifts = torch.tensor(2.0), [torch.arange(4)]
        self.rate = torch.linspace(0, 0.3, 4)[2].item()

    def forward(self, x):
        return self.linear(x) * self.steps * self.scale + self.shifts[0] * self.rate


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_those_of_a_network_that_was_built_as_usual(name):
    torch.manual_seed(0)
    usual = models.get_model(name).eval()
    blank = build_blank(lambda: models.get_model(name), may_draw=True).eval()
    assert any(not torch.equal(mine, other) for mine, other in zip(blank.parameters(), usual.parameters(), strict=True))
    state = usual.state_dict()
    assign_weights(blank, state)
    assert all(torch.equal(value, state[key]) for key, value in blank.state_dict().items())
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        assert torch.equal(blank(images), usual(images))


@pytest.mark.parametrize(
    "draw",
    [
        *(nn.init.trunc_normal_, nn.init.kaiming_normal_, nn.init.kaiming_uniform_, nn.init.xavier_normal_),
        *(nn.init.xavier_uniform_, nn.init.normal_, nn.init.uniform_),
    ],
)
def test_no_way_of_drawing_is_followed(draw):
    def build():
        layer = nn.Linear(3, 2)
        draw(layer.weight)
        return layer

    before = torch.get_rng_state()
    built = build_blank(build, may_draw=True)
    assert torch.equal(built.weight, torch.zeros(2, 3))
    assert built.weight.requires_grad
    assert torch.equal(torch.get_rng_state(), before)
    assert bool(build().weight.any())


def test_bounds_without_zero_come_to_an_end():
    built = build_blank(lambda: nn.init.trunc_normal_(nn.Linear(3, 2).weight, 5.0, 1.0, 4.0, 6.0), may_draw=True)
    assert built.shape == (2, 3)


@pytest.mark.parametrize("kind", [Seeded, Computed, Tied])
def test_what_no_state_dict_holds_comes_out_as_usual(kind):
    usual, blank = kind(), build_blank(kind, may_draw=False)
    state = usual.state_dict()
    assign_weights(blank, state)
    x = torch.randn(2, 4)
    assert torch.equal(blank(x), usual(x))


def test_a_shared_parameter_stays_shared():
    blank = build_blank(Tied, may_draw=True)
    assign_weights(blank, Tied().state_dict())
    assert blank.first.weight is blank.second.weight


def test_tensors_are_taken_over_where_they_fit_and_converted_where_not():
    network = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3)).requires_grad_(False)
    state = {key: torch.ones_like(value) for key, value in network.state_dict().items()}
    state["0.weight"] = state["0.weight"].half()
    state["1.weight"] = state["1.weight"].to(memory_format=torch.channels_last)
    assign_weights(network, state)
    assert network[0].weight.dtype == torch.float32
    assert network[1].weight.is_contiguous()
    assert network[0].bias.data_ptr() == state["0.bias"].data_ptr()
    assert network[2].num_batches_tracked.dtype == torch.int64
    assert not any(each.requires_grad for each in network.parameters())
