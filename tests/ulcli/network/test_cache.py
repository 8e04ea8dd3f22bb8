"""Features on disk: bounded, shared between processes, and never a reason to fail."""

import multiprocessing
import os

import pytest
import torch

from ulcli.errors import UserError
from ulcli.network.cache import FeatureCache


def entry(fill=1.0, size=1000):
    return {"values": torch.full((size,), fill), "readable": torch.arange(3), "errors": {"caf\udce9\n.png": "damaged"}}


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "below" / "features")


def names(cache):
    return sorted(path.name for path in cache.folder.iterdir())


def test_what_was_put_is_there(cache):
    assert cache.get("a") is None
    assert cache.put("a", entry()) is None
    got = cache.get("a")
    assert torch.equal(got["values"], entry()["values"])
    assert got["errors"] == entry()["errors"]
    assert cache.get("b") is None
    assert names(cache) == ["a.pt"]


def test_the_default_is_where_the_environment_says(cache_dir, monkeypatch):
    assert FeatureCache.default() == FeatureCache(cache_dir, 4 * 2**30)
    monkeypatch.setenv("UL_CACHE_BYTES", "1000")
    assert FeatureCache.default().limit == 1000
    monkeypatch.delenv("UL_CACHE_DIR")
    assert "uncertainty-loss" in FeatureCache.default().folder.parts


@pytest.mark.parametrize("text", ["", "4G", "-1", "1.5"])
def test_a_limit_that_is_no_number(monkeypatch, text):
    monkeypatch.setenv("UL_CACHE_BYTES", text)
    with pytest.raises(UserError, match=f"UL_CACHE_BYTES is '{text}', expected a number of bytes"):
        FeatureCache.default()


@pytest.mark.parametrize("content", [b"", b"garbage", None, [1, 2]])
def test_a_damaged_entry_is_as_good_as_absent(cache, content):
    cache.put("a", entry())
    path = cache.folder / "a.pt"
    if content is None:
        path.write_bytes(path.read_bytes()[:700])
    elif isinstance(content, list):
        torch.save(content, path)
    else:
        path.write_bytes(content)
    assert cache.get("a") is None
    if not isinstance(content, list):
        assert names(cache) == []  # what cannot be read takes no room
    assert cache.put("a", entry(2.0)) is None
    assert cache.get("a")["values"][0] == 2


def test_a_pickle_in_the_cache_does_not_run(cache, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'mark'}",)

    cache.folder.mkdir(parents=True)
    torch.save({"values": Evil()}, cache.folder / "a.pt")
    assert cache.get("a") is None
    assert not (tmp_path / "mark").exists()


def test_a_write_that_fails_half_way_leaves_the_old_entry(cache):
    cache.put("a", entry())
    with pytest.raises(Exception, match="pickle"):
        cache.put("a", {**entry(2.0), "errors": lambda: None})
    assert cache.get("a")["values"][0] == 1
    assert names(cache) == ["a.pt"]


def test_the_longest_unused_go_first(cache):
    size = entry_size(cache)
    bounded = FeatureCache(cache.folder, int(3.5 * size))
    for age, key in enumerate("abc"):
        bounded.put(key, entry())
        os.utime(bounded.folder / f"{key}.pt", (1000 + age, 1000 + age))
    assert bounded.get("a") is not None  # a is now the one used last
    bounded.put("d", entry())
    assert names(bounded) == ["a.pt", "c.pt", "d.pt"]
    bounded.put("e", entry())
    assert names(bounded) == ["a.pt", "d.pt", "e.pt"]


def entry_size(cache):
    cache.put("probe", entry())
    size = (cache.folder / "probe.pt").stat().st_size
    (cache.folder / "probe.pt").unlink()
    return size


def test_the_folder_stays_within_its_bound(cache):
    size = entry_size(cache)
    bounded = FeatureCache(cache.folder, 4 * size)
    for number in range(12):
        bounded.put(str(number), entry(size=200 * (number + 1)))
        assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= bounded.limit
    assert "11.pt" in names(bounded)


def test_an_entry_beyond_the_bound_is_not_kept(cache):
    bounded = FeatureCache(cache.folder, 100)
    assert bounded.put("a", entry()) is None
    assert names(bounded) == []
    assert bounded.get("a") is None


@pytest.mark.parametrize("folder", ["file/below", "file", "/proc/self/features"])
def test_a_folder_that_cannot_be_written_is_told_not_raised(tmp_path, folder):
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / folder)
    assert cache.put("a", entry()).startswith(f"features are not cached: cannot write to '{cache.folder}': ")
    assert cache.get("a") is None


def test_something_else_in_an_entrys_place(cache):
    (cache.folder / "a.pt").mkdir(parents=True)
    assert cache.get("a") is None
    assert cache.put("a", entry()).startswith("features are not cached")


def use(cache, me):
    """Ask for entries, make those that are not there; nothing but whole entries may ever come back."""
    for turn in range(30):
        key = (turn * 7 + me) % 5
        got = cache.get(str(key))
        if got is None:
            assert cache.put(str(key), {"key": key, "values": torch.full((2000,), float(key))}) is None
        else:
            assert got["key"] == key
            assert (got["values"] == key).all()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="new processes import torch anew")
def test_processes_at_once(cache):
    bounded = FeatureCache(cache.folder, 30_000)  # three entries of five
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=use, args=(bounded, me)) for me in (0, 1, 3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert all(name.endswith(".pt") and not name.startswith(".") for name in names(cache))
    assert 0 < sum(path.stat().st_size for path in cache.folder.iterdir()) <= bounded.limit
