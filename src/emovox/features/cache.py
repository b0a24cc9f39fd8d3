"""The feature cache: one file an entry, keyed by everything that the features depend on.

::

    cache = FeatureCache(default_folder())
    key = cache_key(hash_file(path), cut="all", digest=find_feature_set("seed-full").digest)
    cache.put(key, CachedFeatures(values, n_samples))
    cache.get(key)                               # the same values, or None

The key is made of the bytes of the recording, the part of it, and the digest of the set. No time stamp, name
or size is trusted: the content is hashed each time, in about 50 microseconds a clip.

An entry contains a checksum over its key and its values. It is written to a temporary file and renamed, so
readers see it whole or not at all; two writers of one key write the same bytes. It is not synced to the disk:
an entry torn by a power cut fails the checksum and is computed again, whereas a sync would take some
milliseconds for every entry.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

import emovox
from emovox._arrays import Floats
from emovox.errors import ConfigError

__all__ = [
    "MAX_GB",
    "CacheStats",
    "CachedFeatures",
    "FeatureCache",
    "cache_key",
    "default_folder",
    "hash_file",
]


MAX_GB = 10.0
"""Default limit of the size of a cache: RAVDESS as `seed-full` takes 0.014 GB."""

# Part of every key: raised when the same bytes are decoded into other samples.
_FORM = "1"

_MAGIC = b"emovox\x00\x01"
# Magic, n_samples, rows (all bits set: a vector), columns, checksum.
_HEADER = struct.Struct("<8sQQQ16s")
_VECTOR = (1 << 64) - 1

# The time of last use of an entry is updated at most this often.
_TOUCHED_S = 3600.0
# A temporary file this old was left by a process that was killed.
_STALE_S = 3600.0
# A process scans the whole cache after it has written a 32nd of the limit.
_SCANS = 32


@dataclass(frozen=True, slots=True, eq=False)
class CachedFeatures:
    """The features of one clip."""

    values: Floats
    """``(d,)`` or ``(t, d)``; nan is missing."""
    n_samples: int
    """Length of the clip at 16 kHz."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts of cache accesses; they can be added."""

    found: int = 0
    """Read from the cache."""
    made: int = 0
    """Computed."""
    corrupt: int = 0
    """Damaged or not readable: computed again."""
    unwritten: int = 0
    """Computed, but not stored: the disk is full, or the cache is not writable."""

    def __add__(self, other: CacheStats) -> CacheStats:
        return CacheStats(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return ``features`` in the folder ``EMOVOX_CACHE``, or else in the platform's folder for caches."""
    if environ.get("EMOVOX_CACHE"):
        return Path(environ["EMOVOX_CACHE"]) / "features"
    if sys.platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "emovox" / "features"


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_key(content: str, *, cut: str, digest: str, channel: str = "mix") -> str:
    """Return the key of the features of one clip, 64 hexadecimal digits.

    It differs between releases of emovox: values that differ in the last digits must not be mixed.

    Args:
        content: `hash_file` of the recording.
        cut: the part of the recording, and its windows.
        digest: of the set, which changes with any parameter and with its version.
        channel: the channel that was read.
    """
    parts = (_FORM, emovox.__version__, content, channel, cut, digest)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class FeatureCache:
    """A folder of entries, shared by any number of processes.

    Args:
        root: the folder; created with the first entry.
        max_gb: limit of its size, in 10**9 bytes; beyond it the least recently used entries are deleted. Each
            writing process may exceed it by a 32nd, since the whole is only scanned now and then.

    Raises:
        ConfigError: the limit is not above 0.
    """

    def __init__(self, root: str | os.PathLike[str], *, max_gb: float = MAX_GB) -> None:
        if not max_gb > 0:
            raise ConfigError(f"the cache's limit is {max_gb!r} GB; expected more than 0")
        self.root = Path(root)
        self.max_bytes = int(min(max_gb * 1e9, 1 << 62))
        self._unscanned = self.max_bytes  # so that the first entry triggers a scan
        self._stats = CacheStats()

    def get(self, key: str) -> CachedFeatures | None:
        """Return the entry of ``key``, or ``None`` if there is none or it is damaged."""
        path = self._path(key)
        try:
            with path.open("rb") as stream:
                unused_s = time.time() - os.fstat(stream.fileno()).st_mtime
                data = stream.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            self._stats += CacheStats(corrupt=1)
            return None
        entry = _unpack(key, data)
        if entry is None:
            self._stats += CacheStats(corrupt=1)
            with contextlib.suppress(OSError):
                path.unlink()
        elif unused_s > _TOUCHED_S:
            with contextlib.suppress(OSError):
                os.utime(path)
        self._stats += CacheStats(found=entry is not None)
        return entry

    def put(self, key: str, entry: CachedFeatures) -> bool:
        """Store ``entry``; return false if it cannot be written, which is counted and not an error."""
        data = _pack(key, entry)
        written = len(data) <= self.max_bytes and _write(self._path(key), data)
        self._stats += CacheStats(made=1, unwritten=not written)
        self._unscanned += len(data)
        if self._unscanned > self.max_bytes // _SCANS:
            self.trim()
        return written

    def trim(self) -> None:
        """Delete leftover temporary files, and the least recently used entries beyond the limit."""
        self._unscanned = 0
        entries, now_s = [], time.time()
        for path in self._files():
            try:
                stat = path.stat()
            except OSError:  # deleted by another process
                continue
            if path.suffix == ".part" and now_s - stat.st_mtime > _STALE_S:
                _delete(path)
            else:
                entries.append((stat.st_mtime_ns, stat.st_size, path))
        size = sum(n_bytes for _, n_bytes, _ in entries)
        if size <= self.max_bytes:
            return
        for _, n_bytes, path in sorted(entries):
            if size <= self.max_bytes * (1 - 1 / _SCANS):  # some slack, or every new entry would be a scan
                return
            if path.suffix != ".part" and _delete(path):
                size -= n_bytes

    def take_stats(self) -> CacheStats:
        """Return the counts of this process since the last call."""
        stats, self._stats = self._stats, CacheStats()
        return stats

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.evf"

    def _files(self) -> Iterator[Path]:
        """Yield the cache's own files: the folder may contain others."""
        for folder in self.root.glob("[0-9a-f][0-9a-f]"):
            for path in folder.iterdir():
                if re.fullmatch(r"[0-9a-f]{64}\.evf(\.\d+-\d+\.part)?", path.name):
                    yield path


_numbers = itertools.count()


def _write(path: Path, data: bytes) -> bool:
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{next(_numbers)}.part")
    try:
        try:
            temporary.write_bytes(data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        _delete(temporary)
        return False
    return True


def _delete(path: Path) -> bool:
    """Delete a file; return whether it is gone."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _pack(key: str, entry: CachedFeatures) -> bytes:
    values = np.ascontiguousarray(entry.values, dtype="<f4")
    if values.ndim not in (1, 2):
        raise ValueError(f"an entry has the shape {values.shape}; expected (d,) or (t, d)")
    rows = _VECTOR if values.ndim == 1 else len(values)
    body = values.tobytes()
    check = _checksum(key, entry.n_samples, rows, values.shape[-1], body)
    return _HEADER.pack(_MAGIC, entry.n_samples, rows, values.shape[-1], check) + body


def _unpack(key: str, data: bytes) -> CachedFeatures | None:
    """The entry, or ``None`` if these are not the bytes that were written for this key."""
    if len(data) < _HEADER.size:
        return None
    magic, n_samples, rows, columns, check = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC or check != _checksum(key, n_samples, rows, columns, body):
        return None
    values = np.frombuffer(body, dtype="<f4").astype(np.float32)
    return CachedFeatures(values if rows == _VECTOR else values.reshape(rows, columns), n_samples)


def _checksum(key: str, n_samples: int, rows: int, columns: int, body: bytes) -> bytes:
    head = f"{key} {n_samples} {rows} {columns}\n".encode()
    return hashlib.blake2b(body, digest_size=16, key=hashlib.blake2b(head, digest_size=32).digest()).digest()
