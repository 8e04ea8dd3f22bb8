"""The one pass of every image through the frozen network, and the cache that spares it."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import uncertainty_loss as ul
from ulcli.data.arrays import ArraySet, LabelledArrays
from ulcli.data.imageset import Subset, relabel
from ulcli.data.sources.folders import class_folder, plain_folder
from ulcli.data.transform import Transform
from ulcli.errors import UserError
from ulcli.network.backbone import Backbone
from ulcli.network.cache import FeatureCache
from ulcli.network.features import Extractor, LabelledFeatures, TrainingFeatures, warn_of_unreadable

TRANSFORM = Transform(8, 8, (0.5,) * 3, (0.25,) * 3)


class Counting(nn.Module):
    """A small classifier that counts the images it has seen."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(4, 2)
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return self.fc(self.body(x))


class Divides(nn.Module):
    """NaN for images of one colour."""

    def forward(self, x):
        spread = x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True)
        return x * (spread / spread)


class NoNaN(nn.Module):
    """Hides what the layers before did."""

    def forward(self, x):
        return x.nan_to_num()


@pytest.fixture
def backbone():
    found = Backbone.take_apart("mine", None, Counting(), TRANSFORM.shape)
    found.network.seen = 0
    return found


def test_features_of_a_folder(image_folder, backbone, recorder):
    images = class_folder(image_folder({"a": 3, "b": 4}), "toy")
    features = Extractor(backbone, TRANSFORM, batch_size=2, workers=2)(images, recorder)
    expected = backbone.network.body(torch.stack([TRANSFORM(images.load(index)) for index in range(7)]))
    torch.testing.assert_close(features.values, expected, rtol=1e-5, atol=1e-6)
    assert features.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert features.errors == {}
    assert len(features) == 7
    assert recorder.tracks == [("features of toy", 7)]
    assert recorder.steps == 7


def test_for_a_density_the_embeddings_become_moments(image_folder, backbone, recorder, tmp_path):
    folder = image_folder({"a": 5, "b": 4, "c": 3})
    (folder / "b" / "001.png").write_bytes(b"no image")
    images = class_folder(folder, "toy")
    extract = Extractor(backbone, TRANSFORM, batch_size=2, cache=FeatureCache(tmp_path / "cache"))
    kept, streamed = extract(images, recorder), extract.for_training(images, recorder)
    assert not isinstance(kept, TrainingFeatures)
    assert kept.embedding.shape == (11, backbone(torch.zeros(1, *TRANSFORM.shape)).embedding.shape[1])
    assert streamed.embedding.shape == (11, 0)
    assert streamed.moments.counts.tolist() == [5, 3, 3]
    assert torch.equal(streamed.values, kept.values)
    whole = ul.Moments(3)
    whole.update(kept.embedding, kept.labels)
    fits = [ul.FeatureDensity.fit(moments).score(kept.embedding) for moments in (whole, streamed.moments)]
    for one, other in zip(*fits, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    seen = backbone.network.seen
    again = extract.for_training(images, recorder)
    assert backbone.network.seen == seen  # from the cache
    for name, tensor in streamed.moments.state_dict().items():
        assert torch.equal(again.moments.state_dict()[name], tensor)


def test_moments_of_other_labels_are_another_entry(image_folder, backbone, recorder, tmp_path):
    images = class_folder(image_folder({"a": 3, "b": 2, "c": 1}), "toy")
    extract = Extractor(backbone, TRANSFORM, cache=FeatureCache(tmp_path / "cache"))
    for classes, counts in ((("a", "b", "c"), [3, 2, 1]), (("b", "a", "c"), [2, 3, 1]), (("c", "a", "b"), [1, 3, 2])):
        moments = extract.for_training(relabel(images, classes), recorder).moments
        assert moments.counts.tolist() == counts


def test_images_that_cannot_be_read_are_left_out_and_told(image_folder, backbone, recorder):
    folder = image_folder({"a": 3, "b": 6})
    whole = Extractor(backbone, TRANSFORM)(class_folder(folder, "toy"), recorder)
    broken = [folder / "a" / "001.png", *(folder / "b" / f"00{number}.png" for number in range(5))]
    for path in broken:
        path.write_bytes(b"no image")
    images = class_folder(folder, "toy")
    features = Extractor(backbone, TRANSFORM, batch_size=2)(images, recorder)
    assert torch.equal(features.labels, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(features.values, whole.values[[0, 2, 8]], rtol=1e-5, atol=1e-6)
    assert features.errors == {str(path): "not an image of a known format" for path in broken}
    warn_of_unreadable(features, images, recorder)
    (warning,) = recorder.warnings
    assert warning.startswith(f"6 of 9 images in 'toy' cannot be read and are left out: '{broken[0]}': not an image")
    assert warning.endswith(f"('{broken[1]}', '{broken[2]}', '{broken[3]}' and 2 more too)")


def test_nothing_unreadable_is_nothing_to_tell(image_folder, backbone, recorder):
    images = plain_folder(image_folder({"a": 1}))
    features = Extractor(backbone, TRANSFORM)(images, recorder)
    warn_of_unreadable(features, images, recorder)
    assert recorder.warnings == []
    assert not isinstance(features, LabelledFeatures)


def test_no_image_can_be_read(image_folder, backbone, recorder):
    folder = image_folder({"a": 2})
    for path in (folder / "a").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"none of the images in '.*' can be read; the first, '.*000.png': not an image"
    ):
        Extractor(backbone, TRANSFORM)(plain_folder(folder), recorder)


def test_a_network_that_gives_nan(backbone, recorder):
    with torch.no_grad():
        backbone.network.body[0].bias[0] = torch.nan
    images = ArraySet("toy", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"features that are not finite \(NaN or infinite\) on 'toy'; check the checkp"):
        Extractor(backbone, TRANSFORM)(images, recorder)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize("hidden", [False, True])
def test_an_image_that_gives_nan_counts_as_unreadable(backbone, recorder, tmp_path, batch_size, hidden):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8)
    kept = [0, 2, 4, 5]
    pixels[[1, 3]] = 7
    images = LabelledArrays("toy", pixels, np.array([0, 0, 1, 1, 1, 0]), ("a", "b"))
    expected = Extractor(backbone, TRANSFORM)(Subset(images, kept, "fine"), recorder)
    backbone.network.body[0] = nn.Sequential(Divides(), backbone.network.body[0])
    if hidden:
        backbone.network.body[2] = nn.Sequential(NoNaN(), nn.AdaptiveAvgPool2d(1))
    extract = Extractor(backbone, TRANSFORM, batch_size=batch_size, cache=FeatureCache(tmp_path))
    for again in (False, True):
        features, streamed = extract(images, recorder), extract.for_training(images, recorder)
        for each in (features, streamed):
            assert each.errors == {f"toy/{index}": "the network's output is not finite" for index in (1, 3)}, again
            assert each.labels.tolist() == [0, 1, 1, 0]
            torch.testing.assert_close(each.values, expected.values, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(features.embedding, expected.embedding, rtol=1e-4, atol=1e-5)
        assert streamed.moments.counts.tolist() == [2, 2]
        assert streamed.moments.sums.isfinite().all()
    warn_of_unreadable(features, images, recorder)
    assert "2 of 6 images in 'toy' cannot be read and are left out: 'toy/1': the network's" in recorder.warnings[0]


def test_nan_on_all_that_can_be_read(image_folder, backbone, recorder):
    with torch.no_grad():
        backbone.network.body[0].bias[0] = torch.nan
    folder = image_folder({"a": 3})
    (folder / "a" / "000.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"features that are not finite \(NaN or infinite\) on '.*'; check the checkp"):
        Extractor(backbone, TRANSFORM, batch_size=1)(plain_folder(folder), recorder)


def test_a_layer_that_gives_nan_where_the_outcome_hides_it(backbone, recorder):
    backbone.network.body[2] = nn.Sequential(NoNaN(), nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        backbone.network.body[0].bias[0] = torch.nan
    images = LabelledArrays("toy", np.zeros((3, 8, 8), np.uint8), np.zeros(3, int), ("a",))
    extract = Extractor(backbone, TRANSFORM)
    for give in (extract, extract.for_training):
        with pytest.raises(UserError, match=r"features that are not finite \(NaN or infinite\) on 'toy'"):
            give(images, recorder)


def test_the_second_pass_comes_from_the_cache(image_folder, backbone, recorder, tmp_path):
    folder = image_folder({"a": 3, "b": 2})
    (folder / "b" / "000.png").write_bytes(b"no image")
    extract = Extractor(backbone, TRANSFORM, cache=FeatureCache(tmp_path / "cache"))
    first = extract(class_folder(folder, "toy"), recorder)
    second = extract(class_folder(folder, "toy"), recorder)
    assert backbone.network.seen == 4 + 1  # and one probe of the network's code, however many calls
    assert torch.equal(first.values, second.values)
    assert torch.equal(first.labels, second.labels)
    assert first.errors == second.errors


def test_another_network_transform_or_set_is_another_entry(image_folder, backbone, recorder, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    folder = image_folder({"a": 3, "b": 2})
    images = class_folder(folder, "toy")
    Extractor(backbone, TRANSFORM, cache=cache)(images, recorder)
    Extractor(backbone, Transform(9, 8, (0.5,) * 3, (0.25,) * 3), cache=cache)(images, recorder)
    assert backbone.network.seen == 10 + 2
    Extractor(backbone, TRANSFORM, cache=cache)(class_folder(image_folder({"a": 1, "b": 1}, "more"), "toy"), recorder)
    assert backbone.network.seen == 12 + 3
    with torch.no_grad():
        backbone.network.body[0].bias += 1e-3
    Extractor(backbone, TRANSFORM, cache=cache)(images, recorder)
    assert backbone.network.seen == 17 + 4


def test_another_folder_of_the_same_names_sizes_and_times_has_its_own_features(
    image_folder, backbone, recorder, tmp_path, picture
):
    extract, values = Extractor(backbone, TRANSFORM, cache=FeatureCache(tmp_path / "cache")), []
    for seed, name in enumerate(("one", "other")):
        folder = image_folder({"a": 1}, name)
        picture(seed=seed).save(folder / "a" / "000.png", compress_level=0)
        os.utime(folder / "a" / "000.png", ns=(0, 0))
        values.append(extract(plain_folder(folder), recorder).values)
    assert not torch.equal(*values)


def test_batch_size_and_workers_are_not_part_of_the_key(image_folder, backbone, recorder, tmp_path):
    images, cache = class_folder(image_folder({"a": 3, "b": 2}), "toy"), FeatureCache(tmp_path / "cache")
    Extractor(backbone, TRANSFORM, batch_size=2, workers=1, cache=cache)(images, recorder)
    Extractor(backbone, TRANSFORM, batch_size=5, workers=3, cache=cache)(images, recorder)
    assert backbone.network.seen == 5 + 2


def test_a_cache_that_cannot_be_written_warns_and_the_work_goes_on(image_folder, backbone, recorder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    extract = Extractor(backbone, TRANSFORM, cache=FeatureCache(tmp_path / "file" / "cache"))
    assert len(extract(class_folder(image_folder({"a": 2}), "toy"), recorder)) == 2
    assert len(recorder.warnings) == 1
    assert "features are not cached" in recorder.warnings[0]


def test_changed_code_is_another_entry(image_folder, backbone, recorder, tmp_path):
    images, cache = class_folder(image_folder({"a": 3, "b": 2}), "toy"), FeatureCache(tmp_path / "cache")
    before = Extractor(backbone, TRANSFORM, cache=cache)(images, recorder)
    changed = Counting()
    changed.load_state_dict(backbone.network.state_dict())
    changed.body[1] = nn.Tanh()  # the same weights do something else
    changed = replace(backbone, network=changed)
    after = Extractor(changed, TRANSFORM, cache=cache)(images, recorder)
    assert not torch.equal(before.values, after.values)
