"""Classifiers of many makes are found; the others are said to be none."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from ulcli.errors import UserError
from ulcli.network.anatomy.backbone import Backbone
from ulcli.network.anatomy.outputs import matrices

SHAPE = (3, 8, 8)


def find(network, **options):
    return Backbone.take_apart("mine", None, network, SHAPE, **options)


def images(n=5):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(5))


class Body(nn.Module):
    """Features (N, 16) or maps (N, 16, 4, 4), and what a function makes of them."""

    def __init__(self, answer, *, maps=False, **layers):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU())
        self.pool = nn.Identity() if maps else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.answer = answer
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.answer(self, self.pool(self.stem(x)))


def body(answer, maps=False, **layers):
    torch.manual_seed(0)  # of some weights all logits are positive, and a rectifier does nothing
    layers = layers or {"fc": nn.Linear(16, 5)}
    return Body(answer, maps=maps, **layers)


def tokens(maps):
    return maps.flatten(2).transpose(1, 2)


class OfClasses(nn.Module):
    """Multiplies by a parameter, whichever way."""

    def __init__(self, multiply, *shape):
        super().__init__()
        self.prototypes, self.shift = nn.Parameter(torch.randn(*shape)), nn.Parameter(torch.randn(5))
        self.multiply = multiply

    def forward(self, x):
        return self.multiply(x, self.prototypes, self.shift)


def prototypes(multiply, *shape):
    return body(lambda self, x: self.head(x), head=OfClasses(multiply, *shape))


TEMPERATURE, SHIFT = 2.5, torch.tensor([0.0, 1.0, -2.0, 0.5, 3.0])
# Network, where its features are read, and what makes its output of the logits.
FOUND = {
    "linear": (body(lambda self, x: self.fc(x)), "fc", None),
    "sigmoid": (body(lambda self, x: self.fc(x).sigmoid()), "fc", torch.sigmoid),
    "temperature": (body(lambda self, x: self.fc(x) / TEMPERATURE), "fc", None),
    "in place": (body(lambda self, x: self.fc(x).mul_(TEMPERATURE)), "fc", None),
    "shift": (body(lambda self, x: self.fc(x) - SHIFT), "fc", None),
    "scale a class": (body(lambda self, x: self.fc(x) * (SHIFT + 4)), "fc", None),
    "temperature, softmax": (
        body(lambda self, x: (self.fc(x) / TEMPERATURE - SHIFT).softmax(1)),
        "fc",
        lambda logits: logits.softmax(1),
    ),
    "temperature, log-softmax": (
        body(lambda self, x: (self.fc(x) * TEMPERATURE).log_softmax(1)),
        "fc",
        lambda logits: logits.log_softmax(1),
    ),
    "temperature, sigmoid": (body(lambda self, x: (self.fc(x) / TEMPERATURE + 1).sigmoid()), "fc", torch.sigmoid),
    "batch norm": (
        body(lambda self, x: self.norm(self.fc(x)), fc=nn.Linear(16, 5), norm=nn.BatchNorm1d(5)),
        "fc",
        None,
    ),
    "dropout": (body(lambda self, x: self.fc(x), fc=nn.Sequential(nn.Dropout(), nn.Linear(16, 5))), "fc.1", None),
    "flatten": (body(lambda self, x: self.fc(x), fc=nn.Sequential(nn.Linear(16, 5), nn.Flatten())), "fc.0", None),
    "first token": (body(lambda self, x: self.fc(tokens(x))[:, 0], maps=True), "fc[0]", None),
    "last token": (body(lambda self, x: self.fc(tokens(x))[:, -1], maps=True), "fc[-1]", None),
    "mean of tokens": (body(lambda self, x: self.fc(tokens(x)).mean(1), maps=True), "fc", None),
    "one token": (body(lambda self, x: self.fc(x[:, None])[:, 0]), "fc[0]", None),
    "1x1 convolution": (
        body(lambda self, x: self.conv(x).mean((2, 3)), maps=True, conv=nn.Conv2d(16, 5, 1)),
        "conv",
        None,
    ),
    "convolution of pooled maps": (
        body(lambda self, x: self.conv(x[:, :, None, None]), conv=nn.Conv2d(16, 5, 1)),
        "conv",
        None,
    ),
    "convolution as wide as the map": (
        body(lambda self, x: self.conv(x), maps=True, conv=nn.Conv2d(16, 5, 4)),
        "conv",
        None,
    ),
    "functional linear": (prototypes(lambda x, w, b: functional.linear(x, w, b), 5, 16), "head.prototypes", None),
    "weight by name": (
        prototypes(lambda x, w, b: functional.linear(x, weight=w, bias=b), 5, 16),
        "head.prototypes",
        None,
    ),
    "matrix product": (prototypes(lambda x, w, b: x @ w + b, 16, 5), "head.prototypes", None),
    "transposed product": (prototypes(lambda x, w, b: 3 * x.matmul(w.T), 5, 16), "head.prototypes", None),
    "addmm": (prototypes(lambda x, w, b: torch.addmm(b, x, w.t()), 5, 16), "head.prototypes", None),
    "operator": (prototypes(lambda x, w, b: torch.ops.aten.linear.default(x, w, b), 5, 16), "head.prototypes", None),
    "weights of a layer": (body(lambda self, x: functional.linear(x, self.fc.weight)), "fc.weight", None),
    "among other outputs": (body(lambda self, x: {"embedding": x, "scores": self.fc(x)}), "fc", None),
    "as wide as the features": (body(lambda self, x: (x, self.fc(x)), fc=nn.Linear(16, 16)), "fc", None),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_classifier_that_gives_the_output(name):
    network, place, link = FOUND[name]
    network = copy.deepcopy(network)
    backbone = find(network)
    assert backbone.head == place
    x = images()
    with torch.no_grad():
        entries = matrices(network(x), len(x), "mine")
    logits = backbone.own_classifier()(backbone(x).features)
    width = logits.shape[1]
    output = next(each for each in reversed(entries) if each.shape[1] == width)
    torch.testing.assert_close((link(logits) if link else logits).float(), output, rtol=1e-3, atol=1e-4)
    # From a file: the place alone says what to read.
    again = Backbone("mine", None, network, place, backbone.taps)
    assert torch.equal(again(x).features, backbone(x).features)


def test_what_is_found_by_comparison_is_told():
    def notes(name):
        return find(copy.deepcopy(FOUND[name][0])).notes

    assert notes("linear") == notes("sigmoid") == notes("functional linear") == ()
    assert notes("shift") == ("'mine' scales or shifts the logits of layer 'fc'; its own classifier includes that",)
    assert notes("among other outputs") == (
        "of the 2 outputs of 'mine', that of layer 'fc' counts as logits; --head for another",
    )


@pytest.mark.parametrize("link", [lambda z: z, lambda z: z[:, 0], torch.sigmoid, lambda z: (z / 3).sigmoid()])
def test_one_logit_is_that_of_the_second_of_two_classes(link):
    network = body(lambda self, x: link(self.fc(x)), fc=nn.Linear(16, 1))
    backbone = find(network)
    assert backbone.head == "fc"
    assert any("the logit of the second class of two" in note for note in backbone.notes)
    own = backbone.own_classifier()
    assert own.num_classes == 2
    logits = own(backbone(images()).features)
    assert not logits[:, 0].any()
    with torch.no_grad():
        output = network(images()).reshape(-1).double()
    probable = output.min() >= 0 and output.max() <= 1
    expected = output if probable else output.sigmoid()
    torch.testing.assert_close(logits.softmax(1)[:, 1], expected, rtol=1e-4, atol=1e-5)


def two(combine):
    return body(combine, first=nn.Linear(16, 5), second=nn.Linear(16, 5))


# What the network gives, where it is read, and how logits are made of it.
OUTPUTS = {
    "product of two": (two(lambda self, x: self.first(x) * self.second(x)), None, lambda y: y),
    "mean of softmaxes": (
        two(lambda self, x: (self.first(x).softmax(1) + self.second(x).softmax(1)) / 2),
        "[log]",
        torch.log,
    ),
    "mean of sigmoids": (
        body(
            lambda self, x: (self.first(x).sigmoid() + self.second(x).sigmoid()) / 2,
            first=nn.Linear(16, 1),
            second=nn.Linear(16, 1),
        ),
        "[logit]",
        lambda y: torch.cat([torch.zeros_like(y), y.logit()], 1),
    ),
    "product, one logit": (
        body(lambda self, x: self.first(x) * self.second(x) * 9, first=nn.Linear(16, 1), second=nn.Linear(16, 1)),
        None,
        lambda y: torch.cat([torch.zeros_like(y), y], 1),
    ),
    "convolution, relu, pooling": (
        body(lambda self, x: self.conv(x).relu().mean((2, 3)), maps=True, conv=nn.Conv2d(16, 5, 1)),
        None,
        lambda y: y,
    ),
    "convolution, maximum": (
        body(lambda self, x: self.conv(x).amax((2, 3)), maps=True, conv=nn.Conv2d(16, 5, 1)),
        None,
        lambda y: y,
    ),
    "normalised": (body(lambda self, x: functional.normalize(self.fc(x))), None, lambda y: y),
    "rectified": (body(lambda self, x: self.fc(x).relu()), None, lambda y: y),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_that_no_linear_layer_gives_are_the_features(name):
    network, place, logits = OUTPUTS[name]
    network = copy.deepcopy(network)
    backbone = find(network)
    assert backbone.head == place
    features = backbone(images()).features
    with torch.no_grad():
        torch.testing.assert_close(features, logits(network(images())), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(backbone.own_classifier()(features).float(), features)
    assert any("serve as features; --head NAME takes what enters a layer, such as '" in each for each in backbone.notes)


def test_a_rectifier_that_no_probe_shows_is_seen_with_other_images():
    """Of two images all logits are positive; those that are looked at afterwards tell."""
    torch.manual_seed(0)
    fc = nn.Linear(16, 2)
    nn.init.constant_(fc.bias, 1.0)
    network = body(lambda self, x: self.fc(x).relu(), fc=fc)
    probe = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        nn.init.zeros_(fc.weight)
        pooled = network.pool(network.stem(probe))
        fc.weight[0] = (pooled[2] - pooled[:2].mean(0)) * -500
        fc.bias[0] = 1 - (fc.weight[0] @ pooled[:2].T).min()
        assert (network(probe[:2]) > 0).all()
        assert not (network(probe[2:]) > 0).all()
    assert find(network).head is None


class TestHeadByName:
    def test_a_linear_layer_keeps_its_classifier(self):
        backbone = find(body(lambda self, x: self.fc(x)), head="fc")
        assert backbone.head == "fc"
        assert backbone.own_classifier().num_classes == 5

    def test_a_layer_around_the_classifier(self):
        network = body(lambda self, x: self.fc(x), fc=nn.Sequential(nn.Dropout(), nn.Linear(16, 5)))
        backbone = find(network, head="fc")
        assert backbone.head == "fc"
        assert backbone.notes == ("what enters layer 'fc' serves as features (16 an image)",)
        with torch.no_grad():
            output = network(images())
        torch.testing.assert_close(backbone.own_classifier()(backbone(images()).features).float(), output)

    def test_a_layer_before_something_that_is_not_linear(self):
        network = body(
            lambda self, x: self.fc(x),
            fc=nn.Sequential(nn.Linear(16, 7), nn.ReLU(inplace=True), nn.Linear(7, 5)),
        )
        for name, width in (("fc", 16), ("fc.0", 16), ("fc.1", 7), ("fc.2", 7), ("pool", 16), ("stem.1", 16)):
            backbone = find(network, head=name)
            assert backbone.head == name
            assert backbone(images()).features.shape == (5, width)
            assert (backbone.own_classifier() is None) == (name != "fc.2")
            assert not backbone.notes or "a new classifier is fitted" in backbone.notes[0]
        with torch.no_grad():
            pooled = network.fc[0](network.pool(network.stem(images())))
        torch.testing.assert_close(find(network, head="fc.1")(images()).features, pooled)

    def test_a_convolution_behind_which_something_bends(self):
        network = copy.deepcopy(OUTPUTS["convolution, relu, pooling"][0])
        backbone = find(network, head="conv")
        assert backbone.own_classifier() is None
        with torch.no_grad():
            torch.testing.assert_close(backbone(images()).features, network.stem(images()).mean((2, 3)))

    def test_a_token_and_a_parameter(self):
        assert find(copy.deepcopy(FOUND["first token"][0]), head="fc").head == "fc[0]"
        assert find(copy.deepcopy(FOUND["mean of tokens"][0]), head="fc[-1]").own_classifier() is None
        named = find(copy.deepcopy(FOUND["functional linear"][0]), head="head.prototypes")
        assert named.own_classifier().num_classes == 5

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("classifier", r"unknown layer 'classifier'; known: .*'?fc.*\(in 'mine', given to --head\)"),
            ("stm", "unknown layer 'stm'; did you mean 'stem'"),
            ("unused", "--head unused: this layer of 'mine' takes no tensor with an entry an image; name another"),
        ],
    )
    def test_names_that_do_not_serve(self, name, message):
        network = body(lambda self, x: self.fc(x), fc=nn.Linear(16, 5), unused=nn.Linear(3, 3))
        with pytest.raises(UserError, match=message) as caught:
            find(network, head=name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("classes", "place"), [(5, "fc"), (7, "attributes"), (3, "aux"), (None, "aux")])
def test_of_several_outputs_the_one_of_the_datas_classes_counts(classes, place):
    layers = {"fc": nn.Linear(16, 5), "attributes": nn.Linear(16, 7), "aux": nn.Linear(16, 5)}
    network = body(lambda net, x: (net.fc(x), net.attributes(x), net.aux(x)), **layers)
    assert find(network, classes=classes).head == place
