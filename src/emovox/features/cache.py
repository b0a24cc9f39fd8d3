"""Where are features kept that were computed before? One file an entry, its key all that they depend on.

::

    store = Store(default_root())
    key = entry_key(content_hash(path), cut="all", digest=feature_set("seed-full").digest)
    store.put(key, Entry(values, n_samples))
    store.get(key)                               # the same numbers, or None

The key is made of the bytes of the recording, the stretch of it, and the digest of the set. No time stamp,
name or size is trusted: the content is hashed anew each time, at about 50 microseconds a clip.

An entry holds a checksum over its key and its numbers. It is written beside its place and then renamed, so
readers see it whole or not at all; two writers of one key write the same bytes. It is not forced to the
disk: what a power cut tears fails the checksum and is computed again, whereas waiting for the disk would
cost every entry some milliseconds.
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

__all__ = ["MAX_GB", "Entry", "Store", "Tally", "content_hash", "default_root", "entry_key"]


MAX_GB = 10.0
"""Default bound on a store's size: RAVDESS as `seed-full` takes 0.014 GB."""

_FORM = "1"
"""Part of every key: to be raised when the same bytes would be decoded into other samples."""

_MAGIC = b"emovox\x00\x01"
_HEADER = struct.Struct("<8sQQQ16s")
"""Magic, n_samples, rows (all ones: a vector), columns, checksum."""
_VECTOR = (1 << 64) - 1

_TOUCHED_S = 3600.0
"""An entry that is used is marked so at most once in this time."""
_STALE_S = 3600.0
"""A half-written file this old was left by a process that was killed."""
_SCANS = 32
"""A process looks at the whole store again after it has written this part of the bound."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """Features of one stretch of sound."""

    values: Floats
    """``(d,)`` or ``(t, d)``; nan is missing."""
    n_samples: int
    """Length of the sound they were computed of, at 16 kHz."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of entries. Tallies add up."""

    found: int = 0
    """Taken from the store."""
    made: int = 0
    """Computed."""
    corrupt: int = 0
    """There, but damaged or not readable: computed again."""
    unwritten: int = 0
    """Computed, but not kept: the disk is full, or the store may not be written to."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def default_root(environ: Mapping[str, str] = os.environ) -> Path:
    """``features`` in the folder ``EMOVOX_CACHE``, or else in the platform's place for caches."""
    if environ.get("EMOVOX_CACHE"):
        return Path(environ["EMOVOX_CACHE"]) / "features"
    if sys.platform == "win32":
        base = Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "emovox" / "features"


def content_hash(path: str | os.PathLike[str]) -> str:
    """sha256 of the bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def entry_key(content: str, *, cut: str, digest: str, channel: str = "mix") -> str:
    """Key of the features of one stretch of one recording, 64 hexadecimal digits.

    It is another one in each release of emovox: what a release changes of the last digits must not mix.

    Args:
        content: `content_hash` of the recording.
        cut: names the stretch, and how it is divided.
        digest: of the set, which changes with any parameter and with its version.
        channel: what was listened to.
    """
    parts = (_FORM, emovox.__version__, content, channel, cut, digest)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Store:
    """A folder of entries, for any number of processes at once.

    Args:
        root: the folder; made when the first entry is written.
        max_gb: bound on its size, in 10**9 bytes. Beyond it those entries go that were used longest ago.
            Each process that writes may exceed it by a 32nd, for it counts the whole only now and then.

    Raises:
        ConfigError: the bound is not above 0.
    """

    def __init__(self, root: str | os.PathLike[str], *, max_gb: float = MAX_GB) -> None:
        if not max_gb > 0:
            raise ConfigError(f"the store's bound is {max_gb!r} GB; expected more than 0")
        self.root = Path(root)
        self.max_bytes = int(min(max_gb * 1e9, 1 << 62))
        self._unscanned = self.max_bytes  # so that the first entry written is the first occasion to look
        self._tally = Tally()

    def get(self, key: str) -> Entry | None:
        """What is kept under ``key``; ``None`` when there is nothing, or nothing that is whole."""
        place = self._place(key)
        try:
            with place.open("rb") as stream:
                unused_s = time.time() - os.fstat(stream.fileno()).st_mtime
                data = stream.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            self._tally += Tally(corrupt=1)
            return None
        entry = _unpacked(key, data)
        if entry is None:
            self._tally += Tally(corrupt=1)
            with contextlib.suppress(OSError):
                place.unlink()
        elif unused_s > _TOUCHED_S:
            with contextlib.suppress(OSError):
                os.utime(place)
        self._tally += Tally(found=entry is not None)
        return entry

    def put(self, key: str, entry: Entry) -> bool:
        """Keep ``entry``; false when it cannot be written, which is counted and costs nothing else."""
        data = _packed(key, entry)
        written = len(data) <= self.max_bytes and _write(self._place(key), data)
        self._tally += Tally(made=1, unwritten=not written)
        self._unscanned += len(data)
        if self._unscanned > self.max_bytes // _SCANS:
            self.trim()
        return written

    def trim(self) -> None:
        """Delete half-written files that were left, and the longest unused entries beyond the bound."""
        self._unscanned = 0
        oldest, now_s = [], time.time()
        for place in self._files():
            try:
                about = place.stat()
            except OSError:  # another process was faster
                continue
            if place.suffix == ".part" and now_s - about.st_mtime > _STALE_S:
                _forget(place)
            else:
                oldest.append((about.st_mtime_ns, about.st_size, place))
        self._shrink(sorted(oldest))

    def take_tally(self) -> Tally:
        """What happened in this process since this was asked last."""
        tally, self._tally = self._tally, Tally()
        return tally

    def _shrink(self, oldest: list[tuple[int, int, Path]]) -> None:
        size = sum(n_bytes for _, n_bytes, _ in oldest)
        if size <= self.max_bytes:
            return
        for _, n_bytes, place in oldest:
            if size <= self.max_bytes * (1 - 1 / _SCANS):  # some room, or each entry would be a scan
                return
            if place.suffix != ".part" and _forget(place):
                size -= n_bytes

    def _place(self, key: str) -> Path:
        return self.root / key[:2] / f"{key}.evf"

    def _files(self) -> Iterator[Path]:
        """Files of ours, and none of somebody who named a folder with other things in it."""
        for folder in self.root.glob("[0-9a-f][0-9a-f]"):
            for place in folder.iterdir():
                if re.fullmatch(r"[0-9a-f]{64}\.evf(\.\d+-\d+\.part)?", place.name):
                    yield place


_numbers = itertools.count()


def _write(place: Path, data: bytes) -> bool:
    half = place.with_name(f"{place.name}.{os.getpid()}-{next(_numbers)}.part")
    try:
        try:
            half.write_bytes(data)
        except FileNotFoundError:
            place.parent.mkdir(parents=True, exist_ok=True)
            half.write_bytes(data)
        half.replace(place)
    except OSError:
        _forget(half)
        return False
    return True


def _forget(place: Path) -> bool:
    """Delete a file; whether it is gone."""
    try:
        place.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _packed(key: str, entry: Entry) -> bytes:
    values = np.ascontiguousarray(entry.values, dtype="<f4")
    if values.ndim not in (1, 2):
        raise ValueError(f"an entry has the shape {values.shape}; expected (d,) or (t, d)")
    rows = _VECTOR if values.ndim == 1 else len(values)
    body = values.tobytes()
    check = _checksum(key, entry.n_samples, rows, values.shape[-1], body)
    return _HEADER.pack(_MAGIC, entry.n_samples, rows, values.shape[-1], check) + body


def _unpacked(key: str, data: bytes) -> Entry | None:
    """The entry, or ``None`` if these are not the bytes that were written under this key."""
    if len(data) < _HEADER.size:
        return None
    magic, n_samples, rows, columns, check = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC or check != _checksum(key, n_samples, rows, columns, body):
        return None
    values = np.frombuffer(body, dtype="<f4").astype(np.float32)
    return Entry(values if rows == _VECTOR else values.reshape(rows, columns), n_samples)


def _checksum(key: str, n_samples: int, rows: int, columns: int, body: bytes) -> bytes:
    head = f"{key} {n_samples} {rows} {columns}\n".encode()
    return hashlib.blake2b(body, digest_size=16, key=hashlib.blake2b(head, digest_size=32).digest()).digest()
