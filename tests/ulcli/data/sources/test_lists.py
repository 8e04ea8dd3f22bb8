"""CSV lists of images."""

import csv

import pytest

from ulcli.data.sources.lists import read_labelled_list, read_list
from ulcli.errors import UserError


@pytest.fixture
def manifest(tmp_path):
    def write(content):
        path = tmp_path / "list.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_paths_and_labels(manifest, tmp_path):
    images = read_labelled_list(manifest("path,label\na.png,dog\n/b/c.png,cat\nsub/d.png,dog\n"), "n")
    assert images.paths == [str(tmp_path / "a.png"), "/b/c.png", str(tmp_path / "sub/d.png")]
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [1, 0, 1]
    assert images.name == "n"


def test_other_columns_a_byte_order_mark_and_windows_lines(manifest, tmp_path):
    images = read_list(manifest("\ufeffid,path\r\n1,a.png\r\n\r\n2,b.png\r\n"), "n")
    assert images.paths == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert images.labels is None
    assert images.classes is None


def test_a_byte_order_mark_is_no_part_of_the_first_columns_name(manifest, tmp_path):
    assert read_list(manifest("\ufeffpath\na.png\n"), "n").paths == [str(tmp_path / "a.png")]


@pytest.mark.parametrize("name", ["a,b.png", 'say "a".png', "two\nlines.png", " blank .png", "ä.png", "-.png"])
def test_awkward_names(manifest, tmp_path, picture, name):
    picture().save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / name)
    path = manifest("")
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["path"], [name]])
    images = read_list(path, "n")
    assert images.load(0).size == (24, 16)


def test_labels_where_they_are_not_needed(manifest):
    assert read_list(manifest("path,label\na.png,x\n"), "n").classes == ("x",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no column 'path'; its first line must name path and label"),
        ("a.png,x\nb.png,y\n", "has no column 'path'"),
        ("path\na.png\n", "has no column 'label'"),
        ("path,label\n", "lists no images below its first line"),
        ("path,label\na.png,x\n,y\n", "line 3 has no path"),
        ("path,label\na.png,x\n\nb.png\n", "line 4 has no label"),
        ("path,label\na.png,\n", "line 2 has no label"),
        (b"path,label\ncaf\xe9.png,x\n", "is not a CSV file in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not a CSV file in UTF-8"),
        ("path,label\n" + "x" * 200_000 + ",y\n", "is not a CSV file in UTF-8: field larger than field limit"),
    ],
)
def test_what_is_no_manifest(manifest, content, message):
    with pytest.raises(UserError, match=message):
        read_labelled_list(manifest(content), "n")


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match=r"cannot read '.*none.csv': No such file"):
        read_labelled_list(tmp_path / "none.csv", "n")
    with pytest.raises(UserError, match=r"cannot read '.*': Is a directory"):
        read_labelled_list(tmp_path, "n")


def test_the_digest_follows_rows_and_labels(manifest):
    digests = [
        read_list(manifest(f"path,label\n{rows}"), "n").digest()
        for rows in ("a.png,x\nb.png,y\n", "b.png,y\na.png,x\n", "a.png,y\nb.png,x\n", "a.png,x\nb.png,x\n")
    ]
    assert len({*digests, read_list(manifest("path\na.png\nb.png\n"), "n").digest()}) == 5
