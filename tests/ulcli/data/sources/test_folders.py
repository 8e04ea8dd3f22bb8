"""Image files on disk, in sorted order, hidden ones left out."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from ulcli.data.images import ImageError
from ulcli.data.imageset import relabel
from ulcli.data.shifts import Shifted
from ulcli.data.sources.folders import FileSet, class_folder, class_names, plain_folder, walk_images
from ulcli.errors import UserError


def relative(paths, folder):
    return [os.path.relpath(path, folder) for path in paths]


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_walk_is_sorted_and_leaves_out_what_is_hidden_or_no_image(tmp_path):
    touch(
        tmp_path, "b/2.png", "b/1.JPG", "a.png", "b/c/x.tif", "a/z.bmp", ".git/x.png", "._a.png", "notes.txt", "B.png"
    )
    assert relative(walk_images(tmp_path), tmp_path) == ["B.png", "a.png", "a/z.bmp", "b/1.JPG", "b/2.png", "b/c/x.tif"]


def test_walk_leaves_out_what_is_no_file_but_not_what_is_broken(tmp_path):
    touch(tmp_path, "a.png", "hidden/.x")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "nowhere.png").symlink_to("gone.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert relative(walk_images(tmp_path), tmp_path) == ["a.png", "link.png", "nowhere.png"]


def test_a_name_with_a_null_byte_has_a_digest():
    assert FileSet("n", ["a\0.png"]).digest() == FileSet("n", ["a\0.png"]).digest()


def test_a_path_is_shown_as_it_was_given(tmp_path, monkeypatch):
    touch(tmp_path, "in/1.png")
    monkeypatch.chdir(tmp_path)
    assert list(walk_images(Path("in"))) == ["in/1.png"]


def test_names_that_are_no_unicode(tmp_path, picture):
    name = os.fsdecode(b"caf\xe9 \n,\"'.png")
    picture().save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", tmp_path / name)
    images = plain_folder(tmp_path)
    assert images.identify(0) == str(tmp_path / name)
    assert images.load(0).size == (24, 16)
    assert len(images.digest()) == 32


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot read folder '.*none': No such file or directory"):
        list(walk_images(tmp_path / "none"))
    with pytest.raises(UserError, match=r"cannot read folder '.*none': No such file or directory"):
        class_names(tmp_path / "none")


def test_a_sub_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.png", "b/2.png")
    listed = os.scandir

    def refuse(path):
        if os.path.basename(path) == "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for read in (plain_folder, lambda folder: class_folder(folder, "n")):
        with pytest.raises(UserError, match=r"^cannot read folder '.*b': Permission denied$"):
            read(tmp_path)


def test_a_plain_folder(image_folder):
    folder = image_folder({"b": 1, "a": 2})
    images = plain_folder(folder)
    assert len(images) == 3
    assert images.labels is None
    assert images.label_name(0) is None
    assert relative(images.paths, folder) == ["a/000.png", "a/001.png", "b/000.png"]
    assert images.load(0).size == (24, 16)


def test_a_plain_folder_without_images(tmp_path):
    touch(tmp_path, "notes.txt", "a/.hidden.png")
    with pytest.raises(UserError, match=r"no images in '.*' or its sub-folders; expected .png"):
        plain_folder(tmp_path)


def test_a_class_folder(image_folder):
    folder = image_folder({"dog": 2, "Cat": 1, "10": 1, "9": 1})
    (folder / ".cache").mkdir()
    touch(folder, "readme.txt", "stray.png")
    images = class_folder(folder, "pets")
    assert images.name == "pets"
    assert images.classes == ("10", "9", "Cat", "dog")
    np.testing.assert_array_equal(images.labels, [0, 1, 2, 3, 3])
    assert [images.label_name(index) for index in range(5)] == ["10", "9", "Cat", "dog", "dog"]
    assert relative(images.paths, folder)[3:] == ["dog/000.png", "dog/001.png"]


def test_images_in_deeper_folders_belong_to_the_class(tmp_path):
    touch(tmp_path, "a/x/y/1.png", "b/1.png")
    assert class_folder(tmp_path, "n").labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["1.png"], "has no sub-folders; labelled data needs one sub-folder a class, or a CSV with path,label"),
        (["a/1.txt", "b/2.txt"], "no images in the sub-folders of"),
        (["a/1.png", "b/1.txt", "c/1.txt"], "no images for class 'b', 'c' in '.*'; add some or remove the sub-folder"),
    ],
)
def test_class_folders_that_cannot_serve(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(UserError, match=message):
        class_folder(tmp_path, "n")


def test_a_file_that_went_away(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        FileSet("n", [str(tmp_path / "a.png")]).load(0)


def test_the_cache_key_tells_twins_apart_that_the_digest_takes_for_copies(image_folder):
    twins = [image_folder({"a": 2, "b": 2}, name) for name in ("one", "other")]
    for folder in twins:
        for label, file in enumerate(sorted(folder.glob("*/*.png"))):
            file.write_bytes(bytes([label]) * 100)
            os.utime(file, ns=(0, 0))  # as many archives leave it
    first, second = (class_folder(folder, "n") for folder in twins)
    assert first.digest() == second.digest()
    assert first.cache_key() != second.cache_key()
    assert first.cache_key() == class_folder(twins[0], "n").cache_key()
    for view in (lambda images: relabel(images, ("b", "a")), lambda images: Shifted(images, "blur")):
        assert view(first).digest() == view(second).digest()
        assert view(first).cache_key() != view(second).cache_key()


def test_the_cache_key_of_a_moved_folder_stays(image_folder, tmp_path):
    before = class_folder(image_folder({"a": 1, "b": 1}), "n").cache_key()
    (tmp_path / "images").rename(tmp_path / "moved")
    assert class_folder(tmp_path / "moved", "n").cache_key() == before


def test_the_digest_follows_files_and_labels(image_folder):
    folder = image_folder({"a": 2, "b": 2})
    seen = [class_folder(folder, "n").digest(), plain_folder(folder).digest()]
    assert class_folder(folder, "other name").digest() == seen[0]
    file = folder / "a" / "000.png"
    os.utime(file, ns=(0, 0))
    seen.append(class_folder(folder, "n").digest())
    file.write_bytes(b"x")
    os.utime(file, ns=(0, 0))
    seen.append(class_folder(folder, "n").digest())
    listed = FileSet("n", [str(file)])
    seen.append(listed.digest())
    file.chmod(0o000)  # an image that may not be read any more is another image
    seen.append(listed.digest())
    file.unlink()
    seen.append(listed.digest())
    assert len(set(seen)) == len(seen)
