"""The store of features: what it gives is what was put, or nothing; whatever lies on the disk."""

from __future__ import annotations

import errno
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import emovox
from emovox.errors import ConfigError
from emovox.features.cache import (
    CachedFeatures,
    CacheStats,
    FeatureCache,
    cache_key,
    default_folder,
    hash_file,
)

KEY = cache_key("a" * 64, cut="all", digest="d")
VALUES = hnp.arrays(  # any bits at all, with nan and infinity among them
    np.uint32, st.one_of(st.tuples(st.integers(0, 20)), st.tuples(st.integers(0, 5), st.integers(1, 5)))
).map(lambda bits: bits.view(np.float32))


def keys(n: int) -> list[str]:
    return [cache_key(f"{i:064}", cut="all", digest="d") for i in range(n)]


def row(value: float = 1.0, n: int = 100) -> CachedFeatures:
    return CachedFeatures(np.full(n, value, np.float32), 16_000)


def file_of(store: FeatureCache, key: str) -> Path:
    (found,) = store.root.glob(f"*/{key}*")
    return found


# ---------------------------------------------------------------------------------- what comes back


@settings(max_examples=40)
@given(values=VALUES, n_samples=st.integers(0, 1 << 40))
def test_entry_round_trip(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, n_samples: int
) -> None:
    store = FeatureCache(tmp_path_factory.mktemp("store"))
    assert store.get(KEY) is None
    assert store.put(KEY, CachedFeatures(values, n_samples))
    found = FeatureCache(store.root).get(KEY)
    assert found is not None
    assert found.n_samples == n_samples
    assert found.values.shape == values.shape
    assert found.values.tobytes() == values.tobytes()
    assert store.take_stats() == CacheStats(made=1)


@pytest.mark.parametrize(
    "change", [{"content": "b" * 64}, {"cut": "0.0 1.0"}, {"digest": "e"}, {"channel": "0"}]
)
def test_key_depends_on_everything(change: dict[str, str]) -> None:
    given_ = {"content": "a" * 64, "cut": "all", "digest": "d", "channel": "mix"}
    told = given_ | change
    assert cache_key(told.pop("content"), **told) != KEY
    assert cache_key(given_.pop("content"), **given_) == KEY


def test_key_depends_on_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emovox, "__version__", "99.0")
    assert cache_key("a" * 64, cut="all", digest="d") != KEY


def test_hash_file_ignores_name(tmp_path: Path) -> None:
    a, b = tmp_path / "a.wav", tmp_path / "b.wav"
    a.write_bytes(b"sound")
    b.write_bytes(b"sound")
    assert hash_file(a) == hash_file(b)
    about = a.stat()
    a.write_bytes(b"sOund")
    os.utime(a, ns=(about.st_atime_ns, about.st_mtime_ns))  # same name, size and time
    assert hash_file(a) != hash_file(b)


# ------------------------------------------------------------------------------------------- damage


@settings(max_examples=40)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_no_entry(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = FeatureCache(tmp_path_factory.mktemp("store"))
    store.put(KEY, row())
    file_of(store, KEY).write_bytes(data)
    assert store.get(KEY) is None
    assert store.take_stats() == CacheStats(made=1, corrupt=1)
    assert store.put(KEY, row(2.0))
    again = store.get(KEY)
    assert again is not None
    assert again.values[0] == 2


@settings(max_examples=40)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.booleans())
def test_damaged_entry_is_detected(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, cut: bool
) -> None:
    store = FeatureCache(tmp_path_factory.mktemp("store"))
    store.put(KEY, row())
    file = file_of(store, KEY)
    data = bytearray(file.read_bytes())
    at = place % len(data)
    if cut:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    file.write_bytes(data)
    assert store.get(KEY) is None
    assert store.take_stats().corrupt == 1


def test_entry_of_another_key(tmp_path: Path) -> None:
    store = FeatureCache(tmp_path)
    one, other = keys(2)
    store.put(one, row())
    store.put(other, row())
    file_of(store, other).write_bytes(file_of(store, one).read_bytes())
    assert store.get(other) is None
    assert store.get(one) is not None


def test_unreadable_entry_is_counted(tmp_path: Path) -> None:
    store = FeatureCache(tmp_path)
    store.put(KEY, row())
    file = file_of(store, KEY)
    file.unlink()
    file.mkdir()
    assert store.get(KEY) is None
    assert not store.put(KEY, row())
    assert store.take_stats() == CacheStats(made=2, corrupt=1, unwritten=1)


# ---------------------------------------------------------------------------------------- full disks


def test_full_disk_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureCache(tmp_path)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> Any:
        write(path, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert not store.put(KEY, row())
    monkeypatch.undo()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store.get(KEY) is None
    assert store.take_stats() == CacheStats(made=1, unwritten=1)


def test_unwritable_cache_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = FeatureCache(tmp_path / "file" / "store")
    assert not store.put(KEY, row())
    assert store.get(KEY) is None
    assert store.take_stats().unwritten == 1


# -------------------------------------------------------------------------------------- its bound


def aged(store: FeatureCache, key: str, age_s: float) -> None:
    past = time.time() - age_s
    os.utime(file_of(store, key), (past, past))


def test_least_recently_used_are_deleted(tmp_path: Path) -> None:
    names = keys(10)
    store = FeatureCache(tmp_path)
    for i, key in enumerate(names):
        store.put(key, row(n=1000))
        aged(store, key, age_s=100_000 - 1000 * i)
    assert store.get(names[0]) is not None  # used just now, so it stays
    small = FeatureCache(tmp_path, max_gb=20e-6)
    small.trim()
    there = [i for i, key in enumerate(names) if FeatureCache(tmp_path).get(key) is not None]
    assert there == [0, 7, 8, 9]


def test_cache_size_limit(tmp_path: Path) -> None:
    store = FeatureCache(tmp_path, max_gb=50e-6)
    for key in keys(60):
        assert store.put(key, row(n=1000))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.evf"))
    assert 20_000 < size <= 55_000
    assert not store.put(keys(61)[-1], row(n=100_000))  # larger than all there may be


def test_foreign_files_are_kept(tmp_path: Path) -> None:
    store = FeatureCache(tmp_path, max_gb=1e-6)
    strangers = [tmp_path / "notes.txt", tmp_path / "ab" / "clip.wav", tmp_path / "ab" / "x.evf"]
    (tmp_path / "ab").mkdir()
    for path in strangers:
        path.write_bytes(bytes(5000))
    for key in keys(3):
        store.put(key, row(n=200))
    store.trim()
    assert all(path.exists() for path in strangers)


def test_stale_temporary_files_are_deleted(tmp_path: Path) -> None:
    store = FeatureCache(tmp_path)
    store.put(KEY, row())
    old = file_of(store, KEY).with_name(f"{KEY}.evf.123-0.part")
    new = old.with_name(f"{KEY}.evf.124-0.part")
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    store.trim()
    assert not old.exists()
    assert new.exists()  # somebody may be writing it
    assert store.get(KEY) is not None


@pytest.mark.parametrize("bound", [0, -1, float("nan")])
def test_invalid_limit_is_refused(tmp_path: Path, bound: float) -> None:
    with pytest.raises(ConfigError, match="more than 0"):
        FeatureCache(tmp_path, max_gb=bound)


# ------------------------------------------------------------------------------------------ sharing


def test_concurrent_writers(tmp_path: Path) -> None:
    stop, wrong = threading.Event(), []

    def write() -> None:
        store = FeatureCache(tmp_path)
        while not stop.is_set():
            store.put(KEY, row(n=20_000))

    def read() -> None:
        store = FeatureCache(tmp_path)
        while not stop.is_set():
            found = store.get(KEY)
            if found is not None and not np.array_equal(found.values, row(n=20_000).values):
                wrong.append(found)
        wrong.extend([None] * store.take_stats().corrupt)

    crew = [threading.Thread(target=one) for one in (write, write, write, read, read)]
    for one in crew:
        one.start()
    time.sleep(0.5)
    stop.set()
    for one in crew:
        one.join()
    assert wrong == []
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_cache_is_picklable(tmp_path: Path) -> None:
    store = FeatureCache(tmp_path, max_gb=2)
    store.put(KEY, row())
    copy = pickle.loads(pickle.dumps(store))
    assert copy.max_bytes == store.max_bytes
    assert copy.get(KEY) is not None


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_folder({"EMOVOX_CACHE": "c"}) == Path("c") / "features"
    monkeypatch.setattr("sys.platform", "linux")
    assert default_folder({"XDG_CACHE_HOME": "x"}) == Path("x") / "emovox" / "features"
    assert default_folder({}) == Path.home() / ".cache" / "emovox" / "features"
    monkeypatch.setattr("sys.platform", "darwin")
    assert default_folder({}) == Path.home() / "Library" / "Caches" / "emovox" / "features"
    monkeypatch.setattr("sys.platform", "win32")
    assert default_folder({"LOCALAPPDATA": "L"}) == Path("L") / "emovox" / "features"
