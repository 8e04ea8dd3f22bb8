"""A network is taken apart at its last linear layer; where there is none, its outputs are the features."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torchvision import models

import uncertainty_loss as ul
from ulcli.errors import UserError
from ulcli.network.anatomy.backbone import Backbone


def find(network, shape=(3, 32, 32)):
    return Backbone.take_apart("mine", None, network, shape)


def images(shape=(3, 32, 32), n=3):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(5))


class Vit(nn.Module):
    """A transformer in small: tokens, attention with linear layers of its own, a class token, a log-softmax."""

    def __init__(self, final=None):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 5)
        self.final = final or nn.LogSoftmax(1)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.block(torch.cat([self.token.expand(len(x), -1, -1), tokens], 1))
        return self.final(self.head(tokens[:, 0]))


class Wrapped(nn.Module):
    """Gives its logits inside something."""

    def __init__(self, wrap):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 6), nn.ReLU(inplace=True), nn.Linear(6, 4))
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(self.body(x))


class Output:
    def __init__(self, logits):
        self.logits = logits


def slim_vgg():
    """vgg11, its classifier of 120 million weights replaced before they are made."""
    with torch.device("meta"):
        network = models.vgg11(init_weights=False)
        first, last = nn.Linear(512 * 49, 16), nn.Linear(16, 7)
        network.classifier = nn.Sequential(first, nn.ReLU(True), nn.Dropout(), *(nn.Identity(),) * 3, last)
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    return network


FOUND = {
    "resnet18": (lambda: models.resnet18(num_classes=7), "fc"),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(num_classes=7), "classifier.3"),
    "vgg11": (slim_vgg, "classifier.6"),
    "densenet": (lambda: models.DenseNet(8, (2, 2), 16, num_classes=7), "classifier"),
    "vit": (Vit, "head"),
    "softmax": (lambda: Vit(nn.Softmax(1)), "head"),
    "tuple": (lambda: Wrapped(lambda logits: (logits, None)), "body.3"),
    "logits": (lambda: Wrapped(Output), "body.3"),
    "no bias": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 4, bias=False)), "1"),
    "unused layer after": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.Dropout(0.5)), "1"),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_classifier_is_found_and_reads_the_features(name):
    make, head = FOUND[name]
    network = make()
    backbone = find(network)
    assert backbone.head == head
    features = backbone(images()).features
    classifier = backbone.own_classifier()
    assert features.dtype == torch.float32
    with torch.no_grad():
        output = network(images())
    output = output[0] if isinstance(output, tuple) else getattr(output, "logits", output)
    logits = classifier(features).float()
    if isinstance(network, Vit):
        logits = network.final(logits)
    torch.testing.assert_close(logits, output, rtol=1e-4, atol=1e-5)


NOT_FOUND = {
    "squeezenet1_1": lambda: models.squeezenet1_1(num_classes=7),
    "normalised logits": lambda: Wrapped(nn.functional.normalize),
    "no layer at all": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_without_a_linear_classifier_the_outputs_are_the_features(name):
    network = NOT_FOUND[name]()
    backbone = find(network)
    assert backbone.head is None
    (note,) = backbone.notes
    assert note.startswith("no linear layer gives what 'mine' gives, so its outputs serve as features; --head NAME")
    features = backbone(images()).features
    with torch.no_grad():
        torch.testing.assert_close(features, network(images()))
    torch.testing.assert_close(backbone.own_classifier()(features).float(), features)


class Lenet(nn.Module):
    """One pooling layer for all resolutions, as many write it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(16 * 16, 10)

    def forward(self, x):
        x = self.pool(self.second(self.pool(self.first(x)).relu())).relu()
        return self.fc(x.flatten(1))


class Windows(nn.Module):
    """Attention over windows, which come in a batch of their own."""

    def __init__(self):
        super().__init__()
        self.stem, self.attention, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Softmax(-1), nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        self.attention(torch.cat([x[:, :, :8, :8], x[:, :, 8:, 8:]]))
        return self.fc(x.mean((2, 3)))


class ChannelsLast(nn.Module):
    """Two stages that keep the channels last, as transformers do."""

    def __init__(self):
        super().__init__()
        self.stem, self.second = nn.Conv2d(3, 6, 4, stride=4), nn.Linear(6, 10)
        self.norm, self.fc = nn.LayerNorm(10), nn.Linear(10, 3)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        x = self.second(x[:, ::2, ::2])
        return self.fc(self.norm(x).mean((1, 2)))


TAPS = {
    "channels last": (ChannelsLast, (3, 16, 16), ("stem", "norm")),
    "resnet18": (lambda: models.resnet18(num_classes=3), (3, 64, 64), ("layer1", "layer2", "layer3", "layer4")),
    "one pooling layer": (Lenet, (1, 28, 28), ("first", "second", "pool")),
    "padding in layers of its own": (  # 16, padded to 17, 8, padded to 9, 4
        lambda: nn.Sequential(
            *(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, stride=2)),
            *(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        ),
        (3, 16, 16),
        ("1", "4"),
    ),
    "windows": (Windows, (3, 16, 16), ("stem",)),
    "no layer with a map": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)),
        (3, 2, 2),
        (),
    ),
}


@pytest.mark.parametrize("name", TAPS)
def test_the_last_layer_at_each_resolution_is_tapped(name):
    make, shape, taps = TAPS[name]
    torch.manual_seed(3)
    network = make()
    backbone = find(network, shape)
    assert backbone.taps == taps
    x = images(shape)
    seen = {}
    for tap in taps:
        network.get_submodule(tap).register_forward_hook(lambda _, __, out, tap=tap: seen.update({tap: out.clone()}))
    features, embedding = backbone(x)
    last = name == "channels last"
    maps = [seen[tap].permute(0, 3, 1, 2) if last and tap != "stem" else seen[tap] for tap in taps]
    parts = [ul.embed([ul.pool_map(each)], 512) for each in maps]
    torch.testing.assert_close(embedding, torch.cat([*parts, ul.embed([features], 1024)], 1))
    assert embedding.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(backbone.own_classifier()(features).float(), network(x), rtol=1e-4, atol=1e-5)


def test_wide_layers_are_bounded():
    backbone = find(nn.Sequential(nn.Conv2d(3, 200, 3), nn.Flatten(), nn.Linear(200 * 36, 3)), (3, 8, 8))
    assert backbone(images((3, 8, 8))).embedding.shape == (3, 512 + 1 + 1024 + 1)


def test_a_network_comes_out_frozen_and_in_evaluation_mode():
    backbone = find(Vit().train())
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    assert torch.equal(backbone(images()).features, backbone(images()).features)


def hooks_of(network):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_hooks_stay_as_long_as_the_backbone():
    network = models.resnet18(num_classes=3)
    backbone = find(network)
    assert hooks_of(network) == len(backbone.taps) + 1
    backbone(images())
    assert hooks_of(network) == len(backbone.taps) + 1
    del backbone
    assert not hooks_of(network)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_copies_of_a_network_hear_nothing(copied):
    backbone = find(models.resnet18(num_classes=3))
    expected = backbone(images())
    twin = copied(backbone.network)
    with backbone._listener.listening() as heard, torch.no_grad():
        output = twin(images())
    assert not heard
    torch.testing.assert_close(backbone.own_classifier()(expected.features).float(), output, rtol=1e-4, atol=1e-5)
    again = Backbone("mine", None, twin, backbone.head, backbone.taps)
    assert torch.equal(again(images()).embedding, expected.embedding)


def test_a_copy_of_a_backbone_works_alone():
    backbone = find(models.resnet18(num_classes=3))
    twin = copy.deepcopy(backbone)
    assert twin.network is not backbone.network
    assert hooks_of(twin.network) >= len(twin.taps) + 1
    with torch.no_grad():
        backbone.network.fc.weight.zero_()
        backbone.network.conv1.weight.zero_()
    assert twin(images()).features.std() > 0


def test_several_threads_get_what_one_gets():
    backbone = find(models.resnet18(num_classes=3))
    batches = [torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in (1, 2, 3, 5) * 10]
    alone = [backbone(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backbone, batches))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one.features, other.features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.embedding, other.embedding, rtol=1e-4, atol=1e-4)


def test_threads_that_use_the_network_itself_are_not_heard():
    backbone = find(models.resnet18(num_classes=3))
    expected = backbone(images())
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            backbone.network(torch.zeros(3, 3, 32, 32))

    other = threading.Thread(target=disturb)
    other.start()
    try:
        for _ in range(30):
            torch.testing.assert_close(backbone(images()).embedding, expected.embedding, rtol=1e-4, atol=1e-4)
    finally:
        stop.set()
        other.join()


def test_the_classifier_is_a_copy():
    backbone = find(Vit())
    before = backbone.own_classifier()
    with torch.no_grad():
        backbone.network.head.weight.zero_()
        backbone.network.head.bias.zero_()
    assert before.weight.abs().sum() > 0


def test_features_do_not_depend_on_the_batch():
    backbone = find(models.resnet18(num_classes=4))
    together = backbone(images(n=5))
    one_by_one = [backbone(image[None]) for image in images(n=5)]
    for whole, parts in zip(together, zip(*one_by_one, strict=True), strict=True):
        torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-4, atol=1e-5)


def test_features_of_a_network_in_half_precision():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.ReLU(), nn.Linear(4, 3))
    backbone = find(network)
    backbone.network.bfloat16()
    assert backbone(images().bfloat16()).features.dtype == torch.float32
    assert backbone.own_classifier().weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (
            nn.Conv2d(3, 4, 3),
            (3, 32, 32),
            r"'mine' is no image classifier: it gives \(2, 4, 30, 30\), expected a tensor",
        ),
        (Wrapped(lambda logits: {"out": 1}), (3, 32, 32), "is no image classifier: it gives dict"),
        (Wrapped(lambda logits: ()), (3, 32, 32), "is no image classifier: it gives tuple"),
        (
            Vit(),
            (1, 32, 32),
            r"'mine' does not take images of 32 x 32 pixels and 1 channel: .*--gray\w+ \(it takes 16 or 28 or 32 pix",
        ),
        (Wrapped(lambda logits: logits), (3, 8, 16), "'mine' does not take images of 8 x 16 pixels and 3 channels: "),
    ],
)
def test_networks_that_cannot_serve(network, shape, message):
    with pytest.raises(UserError, match=message):
        find(network, shape)


class Says(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.fc, self.answer = nn.Linear(12, 4), answer

    def forward(self, x):
        return self.answer(self.fc, x)


def raising(error):
    def answer(fc, x):
        raise error

    return Says(answer)


REFUSED = {
    "KeyError": (
        raising(KeyError("spam")),
        r"'mine' does not take images of 2 x 2 pixels and 3 ch.*: KeyError: 'spam'; see",
    ),
    "no text": (raising(NotImplementedError()), "channels: NotImplementedError; see"),
    "two lines": (raising(TypeError("one\ntwo")), "channels: TypeError: one; see"),
    "exit": (raising(SystemExit("bye")), "channels: SystemExit: bye; see"),
    "dropout in evaluation": (
        Says(lambda fc, x: fc(nn.functional.dropout(x.flatten(1), 0.1))),
        "gives an image other features each time, even in evaluation mode; switch off what is random in it",
    ),
    "batch statistics": (
        Says(lambda fc, x: fc(x.flatten(1) - x.flatten(1).mean(0))),
        "gives an image other features in another batch, even in evaluation mode",
    ),
    "even batches only": (
        Says(lambda fc, x: fc(x.reshape(len(x) // 2, 2, 12).flatten(0, 1))),
        "fails on a batch of 3 images of 2 x 2 pixels and 3 channels: shape",
    ),
    "one image at a time": (
        Says(lambda fc, x: fc(x.reshape(1, 12))),
        r"does not take images of .*: shape '\[1, 12\]' is invalid",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_goes_wrong_in_a_forward_is_one_line(name):
    network, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as caught:
        find(network, (3, 2, 2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_interrupts_and_memory_are_no_mistake_of_the_network(error):
    with pytest.raises(type(error)):
        find(raising(error), (3, 2, 2))


def test_a_forward_that_fails_later_is_one_line_too():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    backbone = find(network, (3, 2, 2))
    with pytest.raises(UserError, match="'mine' fails on a batch of 1 image of 3 x 2 pixels and 3 channels: mat1"):
        backbone(torch.zeros(1, 3, 3, 2))


def test_a_network_that_splits_its_batch():
    class Halves(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, x):
            return torch.cat([self.body(part) for part in x.split(2)])

    body = models.resnet18(num_classes=3)
    whole, halves = find(body), find(Halves(body))
    assert halves.head == "body.fc"
    for one, other in zip(whole(images(n=5)), halves(images(n=5)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_digest_tells_networks_apart():
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 4), nn.Linear(4, 4))
    network.register_buffer("narrow", torch.ones(2, dtype=torch.bfloat16))
    network.register_buffer("nothing", torch.ones(0))
    changed = copy.deepcopy(network)
    changed[2].weight.data[3, 11] += 1e-7
    counted = copy.deepcopy(network)
    counted[1].num_batches_tracked += 1
    backbones = [
        Backbone("a", None, network, "3", ()),
        Backbone("a", None, network, "2", ()),
        Backbone("a", None, network, None, ()),
        Backbone("a", None, network, "3", ("0",)),
        Backbone("b", None, network, "3", ()),
        Backbone("a", None, changed, "3", ()),
        Backbone("a", None, counted, "3", ()),
    ]
    assert len({backbone.digest() for backbone in backbones}) == len(backbones)
    assert backbones[0].digest() == Backbone("a", None, copy.deepcopy(network), "3", ()).digest()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    backbone = find(models.resnet18(num_classes=4))
    expected = backbone(images()).features
    backbone.network.cuda()
    got = backbone(images().cuda()).features
    assert got.device.type == "cpu"
    torch.testing.assert_close(got, expected, rtol=1e-2, atol=1e-2)
    assert backbone.own_classifier().weight.device.type == "cpu"
