"""The shards of a run: its recordings, deduplicated and divided by a stable hash of their keys.

The order in which recordings are listed does not matter. Many millions of them need the memory of a few
thousand: they are spooled into buckets by the hash, and each bucket is sorted by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from emovox.batch import storage
from emovox.batch.inputs import BatchItem
from emovox.errors import ConfigError, PlaceError

__all__ = [
    "ShardPlan",
    "check_shard_size",
    "hash_items",
    "read_shard",
    "shard_file",
    "sync_shards",
    "write_shards",
]

_HASH_DIGITS = 16
_FOLDER = "plan"
_SHARD = re.compile(r"\d{6,}\.jsonl(\.\d+\.part)?")
_BUCKET = re.compile(r"[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Summary of the shards of a run."""

    sha256: str
    """Of the recordings' keys."""
    addresses: str
    """Of their addresses: renewed signatures of web addresses change these, but not the recordings."""
    n_items: int
    """Distinct recordings."""
    n_twice: int
    """Duplicates in the list."""
    n_shards: int
    shard_size: int

    def n_in(self, number: int) -> int:
        """Return the number of recordings in a shard."""
        return min(self.shard_size, self.n_items - number * self.shard_size)


class _UnorderedHash:
    """A hash of many texts that does not depend on their order: the sum of their hashes."""

    def __init__(self) -> None:
        self._sum = self._count = 0

    def add(self, text: str) -> None:
        self._sum += int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
        self._count += 1

    def hexdigest(self) -> str:
        return hashlib.sha256(f"{self._count} {self._sum % (1 << 256)}".encode()).hexdigest()


def hash_items(items: Iterable[BatchItem]) -> tuple[str, str]:
    """Return ``ShardPlan.sha256`` and ``ShardPlan.addresses`` of a list, without writing it."""
    keys, addresses = _UnorderedHash(), _UnorderedHash()
    for item in items:
        keys.add(item.key)
        addresses.add(_dump_item(item))
    return keys.hexdigest(), addresses.hexdigest()


def check_shard_size(size: int) -> None:
    """Raise ConfigError unless ``size`` is a positive integer."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"shard size is {size!r}; expected a whole number, 1 or more")


def shard_file(folder: str, number: int) -> str:
    """Return the location of a shard's recordings."""
    return storage.join(folder, _FOLDER, f"{number:06d}.jsonl")


def write_shards(items: Iterable[BatchItem], folder: str, *, shard_size: int) -> ShardPlan:
    """Write the shards of ``items`` below ``folder``, a path or a URL.

    Raises:
        ConfigError: there are no items.
        PlaceError: they cannot be written.
    """
    check_shard_size(shard_size)
    with _make_spool(folder) as spool:
        keys, addresses, n_listed = _spool_items(items, spool)
        if not n_listed:
            raise ConfigError("the plan names no recordings; there is nothing to do")
        n_items = n_shards = 0
        chunk: list[bytes] = []
        for line in _sort_spool(spool):
            chunk.append(line)
            n_items += 1
            if len(chunk) == shard_size:
                storage.write_bytes(shard_file(folder, n_shards), b"".join(chunk))
                n_shards += 1
                chunk = []
        if chunk:
            storage.write_bytes(shard_file(folder, n_shards), b"".join(chunk))
            n_shards += 1
    return ShardPlan(keys, addresses, n_items, n_listed - n_items, n_shards, shard_size)


def read_shard(folder: str, number: int) -> list[BatchItem]:
    """Read the items of a shard.

    Raises:
        PlaceError: it cannot be read, or is damaged.
    """
    location = shard_file(folder, number)
    text = storage.read_bytes(location)
    try:
        return [BatchItem(*json.loads(line)) for line in text.decode().splitlines()]
    except (ValueError, TypeError) as error:
        raise PlaceError(
            f"{storage.redact(location)}: damaged ({error}); restore it, or start the run anew in another "
            "folder"
        ) from error


def sync_shards(folder: str, n_shards: int) -> None:
    """Wait until the shards are on disk: the record of the run must not survive them.

    Raises:
        OSError: they cannot be flushed.
    """
    if not storage.is_local(folder):
        return
    if hasattr(os, "sync"):  # once for all, since there may be very many shards
        os.sync()
        return
    for number in range(n_shards):
        with storage.local_path(shard_file(folder, number)).open("r+b") as stream:
            os.fsync(stream.fileno())


# --- the spool ------------------------------------------------------------------------------------


@contextmanager
def _make_spool(folder: str) -> Iterator[Path]:
    """Make a local folder for the buckets, next to the shards if these are local: there is space for them."""
    near: Path | None = None
    if storage.is_local(folder):
        near = storage.local_path(storage.join(folder, _FOLDER))
        near.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(near)
    try:
        with tempfile.TemporaryDirectory(prefix=".spool-", dir=near) as made:
            yield Path(made)
    finally:
        if near is not None:
            with suppress(OSError):  # fails, as it should, when it contains shards
                near.rmdir()


def _remove_leftovers(near: Path) -> None:
    """Remove what a killed run left: files with names that we give, and no others."""
    for one in list(near.iterdir()):
        if _SHARD.fullmatch(one.name) and one.is_file():
            one.unlink()
        elif one.name.startswith(".spool-") and one.is_dir() and not one.is_symlink():
            for bucket in list(one.iterdir()):
                if _BUCKET.fullmatch(bucket.name) and bucket.is_file():
                    bucket.unlink()
            with suppress(OSError):  # it contains something else
                one.rmdir()


def _dump_item(item: BatchItem) -> str:
    last = max(i for i, value in enumerate(item) if value is not None)
    return json.dumps(item[: last + 1], separators=(",", ":"))


def _spool_items(items: Iterable[BatchItem], spool: Path) -> tuple[str, str, int]:
    """Append every item to the bucket of its hash; return the two hashes of all items, and their number."""
    keys, addresses, n = _UnorderedHash(), _UnorderedHash(), 0
    buckets: dict[str, BinaryIO] = {}
    with ExitStack() as stack:
        for item in items:
            key, line = item.key, _dump_item(item)
            keys.add(key)
            addresses.add(line)
            digits = hashlib.blake2b(key.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()
            bucket = digits[:2]
            if bucket not in buckets:
                buckets[bucket] = stack.enter_context((spool / bucket).open("wb", buffering=1 << 13))
            buckets[bucket].write(f"{digits}{line}\n".encode())
            n += 1
    return keys.hexdigest(), addresses.hexdigest(), n


def _sort_spool(spool: Path) -> Iterator[bytes]:
    """Yield the lines of all buckets by hash, each recording once, by the address that sorts first."""

    def key_of(line: bytes) -> str:
        return BatchItem(*json.loads(line)).key

    for bucket in sorted(spool.iterdir()):
        with bucket.open("rb") as stream:
            lines = sorted(set(stream))
        for _, same_hash in groupby(lines, key=itemgetter(slice(_HASH_DIGITS))):
            first, *others = (line[_HASH_DIGITS:] for line in same_hash)
            yield first
            known = {key_of(first)} if others else set()
            for line in others:
                if (key := key_of(line)) not in known:  # two recordings with one hash
                    known.add(key)
                    yield line
