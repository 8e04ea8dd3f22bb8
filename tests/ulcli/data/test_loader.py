"""Decoding on threads keeps the order, reports what cannot be read, and stops when nobody reads on."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ulcli.data.images import ImageError
from ulcli.data.imageset import ImageSet
from ulcli.data.loader import batches, default_workers
from ulcli.data.transform import Transform

TRANSFORM = Transform(2, 2, (0.0,), (1.0,), grayscale=True)


class Levels(ImageSet):
    """Image i is gray level i; some are broken, some make the decoder slow."""

    name = "levels"

    def __init__(self, count, broken=(), bugs=(), slow=0.0):
        self.count, self.broken, self.bugs, self.slow = count, set(broken), set(bugs), slow
        self.loaded, self.lock = [], threading.Lock()

    def __len__(self):
        return self.count

    def identify(self, index):
        return str(index)

    def digest(self):
        return ""

    def load(self, index):
        with self.lock:
            self.loaded.append(index)
        time.sleep(self.slow * (index % 3))
        if index in self.broken:
            raise ImageError(f"broken {index}")
        if index in self.bugs:
            raise ZeroDivisionError(index)
        return Image.fromarray(np.full((2, 2), index, np.uint8))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 7, 30, 100])
def test_every_image_in_order(workers, batch_size):
    parts = list(batches(Levels(30, slow=0.001), TRANSFORM, batch_size, workers))
    assert [len(part.indices) for part in parts[:-1]] == [batch_size] * (len(parts) - 1)
    assert [index for part in parts for index in part.indices] == list(range(30))
    assert [index for part in parts for index in part.readable] == list(range(30))
    images = torch.cat([part.images for part in parts])
    assert torch.equal(images, torch.arange(30.0).view(30, 1, 1, 1).expand(30, 1, 2, 2) / 255)
    assert not any(part.errors for part in parts)


def test_as_many_images_at_once_as_there_are_workers():
    meeting = threading.Barrier(3)

    class Waiting(Levels):
        def load(self, index):
            meeting.wait(timeout=20)  # for two others
            return super().load(index)

    assert len(next(iter(batches(Waiting(3), TRANSFORM, 3, 3))).readable) == 3


def test_the_unreadable_are_told_apart():
    parts = list(batches(Levels(6, broken=(1, 2, 3)), TRANSFORM, 2, 2))
    assert [part.errors for part in parts] == [{1: "broken 1"}, {2: "broken 2", 3: "broken 3"}, {}]
    assert [part.readable for part in parts] == [[0], [], [4, 5]]
    assert [tuple(part.images.shape) for part in parts] == [(1, 1, 2, 2), (0, 1, 2, 2), (2, 1, 2, 2)]


def test_no_images():
    assert list(batches(Levels(0), TRANSFORM, 4, 2)) == []


def test_a_bug_is_not_taken_for_a_bad_image():
    with pytest.raises(ZeroDivisionError):
        list(batches(Levels(20, bugs=(5,)), TRANSFORM, 4, 2))


def test_no_more_than_three_batches_are_held():
    data = Levels(1000)
    stream = batches(data, TRANSFORM, 10, 4)
    next(stream)
    time.sleep(0.05)
    assert len(data.loaded) <= 30
    next(stream)
    time.sleep(0.05)
    assert 20 <= len(data.loaded) <= 40
    stream.close()


def test_early_stop_drops_what_has_not_started_and_ends_the_threads():
    before = threading.active_count()
    data = Levels(1000, slow=0.01)
    stream = batches(data, TRANSFORM, 50, 4)
    next(stream)
    stream.close()
    loaded = len(data.loaded)
    time.sleep(0.05)
    assert 50 <= len(data.loaded) == loaded < 120
    assert threading.active_count() == before


def test_default_workers():
    assert default_workers() >= 1
