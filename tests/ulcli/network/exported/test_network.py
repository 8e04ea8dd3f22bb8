"""A program as a network, compared with the module that was exported."""

import threading
import warnings

import pytest
import torch
from programs import Small, save
from torch import nn
from torchvision import models

from ulcli.errors import UserError
from ulcli.network.anatomy.backbone import Backbone
from ulcli.network.sources.exported import read_exported

KINDS = ("one", "four", "bounded", "any")


def images(count, *shape):
    return torch.randn(count, *(shape or (3, 16, 16)), generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 13])
def test_it_gives_what_the_module_gives_for_any_number_of_images(network, files, kind, count):
    with torch.inference_mode():
        got = read_exported(files[kind]).built.network(images(count))
        expected = network(images(count))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_head_taps_features_and_classifier_are_those_of_the_module(network, files, kind):
    bundle = read_exported(files[kind])
    got = Backbone.take_apart("exported", None, bundle.built.network, (3, 16, 16))
    expected = Backbone.take_apart("small", None, Small().eval(), (3, 16, 16))
    expected.network.load_state_dict(network.state_dict())
    assert (got.head, got.taps) == (expected.head, expected.taps)
    for count in (1, 6):
        one, other = got(images(count)), expected(images(count))
        torch.testing.assert_close(one.features, other.features)
        torch.testing.assert_close(one.embedding, other.embedding)
        with torch.inference_mode():
            torch.testing.assert_close(got.own_classifier()(one.features).float(), network(images(count)))


def test_a_row_is_the_same_in_any_batch(files):
    network = read_exported(files["four"]).built.network
    with torch.inference_mode():
        whole = network(images(7))
        assert torch.equal(network(images(7)[4:]), whole[4:])


def test_layers_have_their_classes_and_weights(network, files):
    layers = dict(read_exported(files["any"]).built.network.named_modules())
    assert isinstance(layers["fc"], nn.Linear)
    assert isinstance(layers["block.0"], nn.Conv2d)
    assert (layers["block.0"].stride, layers["conv"].padding) == ((2, 2), (1, 1))
    assert torch.equal(layers["fc"].weight, network.fc.weight)


def test_images_of_another_size_are_refused(files):
    with pytest.raises(UserError, match="takes images of 3 x 16 x 16, not"):
        read_exported(files["any"]).built.network(images(2, 3, 17, 17))


def test_several_threads_do_not_meet(network, files):
    exported = read_exported(files["four"]).built.network
    backbone = Backbone.take_apart("exported", None, exported, (3, 16, 16))
    wrong = []

    def work(count):
        with torch.inference_mode():
            expected = network.fc.weight.new_tensor(network(images(count)).numpy())
        for _ in range(10):
            got = backbone.own_classifier()(backbone(images(count)).features).float()
            if not torch.allclose(got, expected, atol=1e-5):
                wrong.append(count)

    threads = [threading.Thread(target=work, args=(count,)) for count in (3, 5, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_images_of_any_size(tmp_path, network):
    side = torch.export.Dim("side", min=8, max=64)
    path = save(network, tmp_path / "a.pt2", sizes={0: torch.export.Dim("batch"), 2: side, 3: side})
    bundle = read_exported(path)
    assert bundle.built.images == (3, 16, False)
    with torch.inference_mode():
        torch.testing.assert_close(bundle.built.network(images(3, 3, 20, 20)), network(images(3, 3, 20, 20)))
        with pytest.raises(UserError, match="takes images"):
            bundle.built.network(images(3, 3, 65, 65))


class Keyed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Small()
        self.other = nn.Linear(3, 7)

    def forward(self, pictures):
        return {"more": self.other(pictures.mean((2, 3))), "logits": self.body(pictures)}


def test_outputs_keep_their_names(tmp_path):
    network = Keyed().eval()
    bundle = read_exported(save(network, tmp_path / "a.pt2"))
    with torch.inference_mode():
        got, expected = bundle.built.network(images(3)), network(images(3))
    assert list(got) == ["more", "logits"]
    torch.testing.assert_close(got, expected)
    assert Backbone.take_apart("exported", None, bundle.built.network, (3, 16, 16)).head == "body.fc"


class Functional(nn.Module):
    """A classifier without a module, layers that share a weight, and a layer of half a batch norm."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 12) / 4)
        self.shared = nn.Conv2d(12, 12, 3, padding=1)
        self.first = nn.Conv2d(3, 12, 3)

    def forward(self, images):
        x = self.shared(self.shared(self.first(images).relu()).relu())
        return nn.functional.linear(x.mean((2, 3)), self.weight)


@pytest.mark.parametrize(("batch", "sizes"), [(1, None), (2, None), (8, None), (2, {0: torch.export.Dim("batch")})])
def test_a_functional_classifier_is_found(tmp_path, batch, sizes):
    network = Functional().eval()
    bundle = read_exported(save(network, tmp_path / "a.pt2", batch=batch, sizes=sizes))
    backbone = Backbone.take_apart("exported", None, bundle.built.network, (3, 16, 16))
    assert backbone.head == "weight"
    with torch.inference_mode():
        got = backbone.own_classifier()(backbone(images(5)).features).float()
        torch.testing.assert_close(got, network(images(5)))


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_the_classifier_of_a_program_of_core_operators(tmp_path, network, batch):
    program = torch.export.export(network, (images(batch),)).run_decompositions()
    torch.export.save(program, tmp_path / "a.pt2")
    backbone = Backbone.take_apart("exported", None, read_exported(tmp_path / "a.pt2").built.network, (3, 16, 16))
    assert backbone.head == "fc.weight"
    with torch.inference_mode():
        got = backbone.own_classifier()(backbone(images(5)).features).float()
        torch.testing.assert_close(got, network(images(5)))


def test_a_transformer_is_tapped_along_its_depth(tmp_path):
    torch.manual_seed(0)
    network = models.VisionTransformer(32, 8, 4, 2, 32, 64, num_classes=5).eval()
    nn.init.normal_(network.heads.head.weight)
    expected = Backbone.take_apart("vit", None, network, (3, 32, 32))
    for batch, sizes in ((1, None), (3, None), (2, {0: torch.export.Dim("batch")})):
        path = save(network, tmp_path / f"{batch}.pt2", (3, 32, 32), batch, sizes)
        got = Backbone.take_apart("exported", None, read_exported(path).built.network, (3, 32, 32))
        assert (got.head, got.taps) == (expected.head, expected.taps)
        torch.testing.assert_close(got(images(4, 3, 32, 32)).embedding, expected(images(4, 3, 32, 32)).embedding)


@pytest.mark.zoo
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "vit_b_16", "squeezenet1_0", "swin_t", "regnet_y_400mf", "densenet121"]
)
@pytest.mark.parametrize(("batch", "sizes"), [(1, None), (8, None), (2, {0: torch.export.Dim("batch")})])
def test_torchvision_networks(tmp_path, name, batch, sizes):
    torch.manual_seed(0)
    network = models.get_model(name, num_classes=5, **({"image_size": 64} if name.startswith("vit") else {})).eval()
    path = save(network, tmp_path / "a.pt2", (3, 64, 64), batch, sizes)
    with warnings.catch_warnings(), torch.inference_mode():
        expected = Backbone.take_apart(name, None, network, (3, 64, 64))
        got = Backbone.take_apart("exported", None, read_exported(path).built.network, (3, 64, 64))
        assert (got.head, got.taps) == (expected.head, expected.taps)
        own = got.own_classifier()(got(images(11, 3, 64, 64)).features).float()
        torch.testing.assert_close(own, network(images(11, 3, 64, 64)), rtol=1e-4, atol=1e-5)
