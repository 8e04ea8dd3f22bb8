"""torchvision's data sets, read from files as torchvision lays them out."""

import gzip

import numpy as np
import pytest

from ulcli.data.imageset import hash_parts
from ulcli.data.sources.torchvision import SETS, TorchvisionSet
from ulcli.errors import UserError


def write_idx(path, array):
    """The format of the MNIST family: a magic number, the shape, the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def root(tmp_path):
    """Ten images a class to train on and two to test on; the label is the gray level's last digit."""
    for kind in ("FashionMNIST", "MNIST"):
        folder = tmp_path / kind / "raw"
        folder.mkdir(parents=True)
        for part, count in (("train", 100), ("t10k", 20)):
            levels = np.arange(count)
            write_idx(folder / f"{part}-images-idx3-ubyte", np.broadcast_to(levels[:, None, None], (count, 28, 28)))
            write_idx(folder / f"{part}-labels-idx1-ubyte", levels % 10)
    return tmp_path


def test_every_name_is_a_data_set_of_torchvision():
    import torchvision

    for entry in SETS.values():
        assert hasattr(torchvision.datasets, entry.class_name)


def test_train_and_test(root):
    train = TorchvisionSet("mnist", "train", root, download=False)
    test = TorchvisionSet("mnist", "test", root, download=False)
    assert (len(train), len(test)) == (100, 20)
    assert (train.name, test.name) == ("mnist:train", "mnist:test")
    assert train.identify(7) == "mnist:train/7"
    assert train.native_size == 28
    assert len(train.classes) == 10
    np.testing.assert_array_equal(train.labels, np.arange(100) % 10)
    assert train.load(42).mode == "L"
    assert train.load(42).getpixel((0, 0)) == 42
    assert train.digest() != test.digest()
    assert train.digest() == TorchvisionSet("mnist", "train", root, download=False).digest()


def test_class_names(root):
    assert "Sandal" in TorchvisionSet("fashion-mnist", "test", root, download=False).classes


def test_the_digest_follows_the_images(root):
    before = TorchvisionSet("mnist", "test", root, download=False).digest()
    write_idx(root / "MNIST" / "raw" / "t10k-images-idx3-ubyte", np.ones((20, 28, 28)))
    assert TorchvisionSet("mnist", "test", root, download=False).digest() != before


def test_the_digest_that_model_files_hold(root):
    # As the first version made it: name, pixels, labels.
    pixels = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None], (20, 28, 28))
    expected = hash_parts("mnist:test", pixels, np.arange(20) % 10)
    assert TorchvisionSet("mnist", "test", root, download=False).digest() == expected


def test_packed_files_as_they_are_published(root):
    raw = root / "FashionMNIST" / "raw"
    images = TorchvisionSet("fashion-mnist", "train", root, download=False).data.data.clone()
    for file in list(raw.iterdir()):
        (raw / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    unpacked = TorchvisionSet("fashion-mnist", "train", root, download=False)
    assert (unpacked.data.data == images).all()
    assert len(list(raw.iterdir())) == 8


def test_a_packed_file_that_is_damaged(root):
    raw = root / "MNIST" / "raw"
    packed = gzip.compress((raw / "train-images-idx3-ubyte").read_bytes())
    (raw / "train-images-idx3-ubyte").unlink()
    (raw / "train-images-idx3-ubyte.gz").write_bytes(packed[:-20])
    with pytest.raises(UserError, match=r"cannot unpack '.*train-images-idx3-ubyte.gz' beside itself"):
        TorchvisionSet("mnist", "train", root, download=False)
    assert not (raw / "train-images-idx3-ubyte").exists()


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_is_not_there(tmp_path, name):
    with pytest.raises(UserError, match=rf"'{name}' is not under '.*'.*--data-root, or fetch it with --download"):
        TorchvisionSet(name, "test", tmp_path, download=False)


def test_a_download_that_fails(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"could not download 'mnist' to '.*file'"):
        TorchvisionSet("mnist", "test", tmp_path / "file", download=True)
