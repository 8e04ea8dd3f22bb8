"""A reader sees the old file or the new one, never a part."""

import os
import stat
import threading
from pathlib import Path

import pytest

from ulcli.errors import UserError
from ulcli.files import atomic_write, check_writable, is_special


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    with atomic_write(path, "wb") as stream:
        stream.write(b"half of the n")
        stream.flush()
        raise error("stop")


def test_a_new_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "model.pt"
    with atomic_write(path, "wb") as stream:
        stream.write(b"new")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["model.pt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_or_interrupt_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.pt"]


def test_an_error_leaves_no_new_file(tmp_path):
    with pytest.raises(ValueError, match="stop"):
        write_half(tmp_path / "model.pt", ValueError)
    assert names(tmp_path) == []


def test_readers_never_see_a_part(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("0" * 100_000)
    done, lengths = threading.Event(), set()

    def read():
        while not done.is_set():
            lengths.add(len(path.read_text()))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        with atomic_write(path) as stream:
            for _ in range(100):
                stream.write(str(number % 10) * 1000)
    done.set()
    reader.join()
    assert lengths == {100_000}


def test_an_existing_file_keeps_its_permissions_and_a_new_one_obeys_the_umask(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("")
    old.chmod(0o604)
    umask = os.umask(0o027)
    try:
        for path in (old, new):
            with atomic_write(path) as stream:
                stream.write("x")
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old, new)] == [0o604, 0o640]


def test_a_link_is_followed(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as stream:
        stream.write("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_long_name(tmp_path):
    path = tmp_path / ("x" * 250 + ".pt")
    with atomic_write(path) as stream:
        stream.write("x")
    assert names(tmp_path) == [path.name]


def test_a_pipe_is_written_in_place(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    check_writable(pipe)
    with atomic_write(pipe) as stream:
        stream.write("through")
    reader.join()
    assert got == ["through"]
    assert is_special(pipe)


def test_special_files(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    assert [is_special(path) for path in (plain, tmp_path, tmp_path / "none")] == [False, False, False]


def test_what_can_be_written_passes_and_stays_as_it_is(tmp_path):
    path = tmp_path / "model.pt"
    check_writable(path)
    assert names(tmp_path) == []
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"


def test_a_directory_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="it is a directory; name a file in it"):
        check_writable(tmp_path)


def test_the_directory_must_exist(tmp_path):
    with pytest.raises(UserError, match=r"there is no directory '.*/none'; create it first"):
        check_writable(tmp_path / "none" / "model.pt")


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="there is no directory"):
        check_writable(tmp_path / "file" / "model.pt")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a directory where not even root may write")
def test_a_directory_without_permission():
    with pytest.raises(UserError, match=r"cannot write '/proc/self/model.pt': .*; choose another place with -o"):
        check_writable(Path("/proc/self/model.pt"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("")
    path.chmod(0o444)
    with pytest.raises(UserError, match="permission denied; choose another place with -o"):
        check_writable(path)


def test_a_file_that_somebody_else_removes_is_written_all_the_same(tmp_path):
    target, ended = tmp_path / "file", threading.Event()

    def come_and_go():
        while not ended.is_set():
            target.touch()
            target.unlink(missing_ok=True)

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(300):
            with atomic_write(target) as stream:
                stream.write("whole")
    finally:
        ended.set()
        other.join()
    assert not list(tmp_path.glob(".*"))


def test_what_is_moved_into_place_is_on_the_disk(tmp_path, monkeypatch):
    """A machine that loses power leaves the old file or the new one, not an empty one."""
    done, fsync, replace = [], os.fsync, Path.replace

    def watched_fsync(number):
        done.append(("on the disk", os.fstat(number).st_size))
        fsync(number)

    def watched_replace(self, target):
        done.append(("moved", self.stat().st_size))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    with atomic_write(tmp_path / "model.pt", "wb") as stream:
        stream.write(b"new")
    assert done == [("on the disk", 3), ("moved", 3)]


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(UserError, match="File name too long; choose another place with -o"):
        check_writable(tmp_path / ("x" * 300))
