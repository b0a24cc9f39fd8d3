"""A plan on disk: the recordings to be judged, cut into shards by a stable hash of what each is.

The order in which recordings are listed does not matter, and a plan of many millions needs the memory of a
few thousand: it is spooled into buckets by the hash, and each bucket sorted by itself.
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

from emovox.batch import places
from emovox.batch.listing import Item
from emovox.errors import ConfigError, PlaceError

__all__ = ["Plan", "check_shard_size", "digests", "read_shard", "settle", "shard_file", "write_plan"]

_HASH_DIGITS = 16
_WHOLE = 1 << 256
_FOLDER = "plan"
_SHARD = re.compile(r"\d{6,}\.jsonl(\.\d+\.part)?")
_BUCKET = re.compile(r"[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a plan that was written."""

    sha256: str
    """Of what is to be judged."""
    addresses: str
    """Of how it is reached: signatures of web addresses are renewed, and it is the same recording."""
    n_items: int
    """Different ones."""
    n_twice: int
    """Listed again, and judged once."""
    n_shards: int
    shard_size: int

    def n_in(self, number: int) -> int:
        """Recordings of a shard."""
        return min(self.shard_size, self.n_items - number * self.shard_size)


class _Digest:
    """A hash of many texts in any order: the sum of theirs. The same list again has the same."""

    def __init__(self) -> None:
        self._sum = self._count = 0

    def add(self, text: str) -> None:
        """One more."""
        self._sum += int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
        self._count += 1

    def text(self) -> str:
        """Hexadecimal."""
        return hashlib.sha256(f"{self._count} {self._sum % _WHOLE}".encode()).hexdigest()


def digests(items: Iterable[Item]) -> tuple[str, str]:
    """``Plan.sha256`` and ``Plan.addresses`` of a list, which is written nowhere."""
    what, how = _Digest(), _Digest()
    for item in items:
        what.add(item.key)
        how.add(_line(item))
    return what.text(), how.text()


def check_shard_size(size: int) -> None:
    """Raises ConfigError for what is no positive whole number."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"shard size is {size!r}; expected a whole number, 1 or more")


def write_plan(items: Iterable[Item], folder: str, *, shard_size: int) -> Plan:
    """Write the shards of ``items`` below ``folder``, a path or a URL.

    Raises:
        ConfigError: there is not one item.
        PlaceError: it cannot be written.
    """
    check_shard_size(shard_size)
    with _spool(folder) as spool:
        what, how, n_listed = _spooled(items, spool)
        if not n_listed:
            raise ConfigError("the plan names no recording at all; nothing is to be done")
        n_items = n_shards = 0
        for lines in _chunks(_sorted(spool), shard_size):
            places.write(shard_file(folder, n_shards), b"".join(lines))
            n_items += len(lines)
            n_shards += 1
    return Plan(what, how, n_items, n_listed - n_items, n_shards, shard_size)


def read_shard(folder: str, number: int) -> list[Item]:
    """The items of a shard.

    Raises:
        PlaceError: it cannot be read, or is damaged.
    """
    place = shard_file(folder, number)
    text = places.read(place)
    try:
        return [Item(*json.loads(line)) for line in text.decode().splitlines()]
    except (ValueError, TypeError) as error:
        raise PlaceError(
            f"{places.veiled(place)}: damaged ({error}); restore it, or begin the run anew in another folder"
        ) from error


def settle(folder: str, n_shards: int) -> None:
    """Wait until the disk has the shards: the ledger that counts on them must not outlive them.

    Raises:
        OSError: it has not got them.
    """
    if not places.is_local(folder):
        return
    if hasattr(os, "sync"):  # once for all: there may be very many shards
        os.sync()
        return
    for number in range(n_shards):
        with places.local_path(shard_file(folder, number)).open("r+b") as stream:
            os.fsync(stream.fileno())


def shard_file(folder: str, number: int) -> str:
    """Where the recordings of a shard stand."""
    return places.joined(folder, _FOLDER, f"{number:06d}.jsonl")


# --- the spool --------------------------------------------------------------------------------------


@contextmanager
def _spool(folder: str) -> Iterator[Path]:
    """A local folder for the buckets, beside the shards if these are local: there is room for them there."""
    near: Path | None = None
    if places.is_local(folder):
        near = places.local_path(places.joined(folder, _FOLDER))
        near.mkdir(parents=True, exist_ok=True)
        _clear(near)
    try:
        with tempfile.TemporaryDirectory(prefix=".spool-", dir=near) as made:
            yield Path(made)
    finally:
        if near is not None:
            with suppress(OSError):  # there are shards in it
                near.rmdir()


def _clear(near: Path) -> None:
    """Remove what a run left that was killed while it planned: files by the names that we give, no others."""
    for one in list(near.iterdir()):
        if _SHARD.fullmatch(one.name) and one.is_file():
            one.unlink()
        elif one.name.startswith(".spool-") and one.is_dir() and not one.is_symlink():
            for bucket in list(one.iterdir()):
                if _BUCKET.fullmatch(bucket.name) and bucket.is_file():
                    bucket.unlink()
            with suppress(OSError):  # there is something else in it
                one.rmdir()


def _line(item: Item) -> str:
    last = max(i for i, value in enumerate(item) if value is not None)
    return json.dumps(item[: last + 1], separators=(",", ":"))


def _spooled(items: Iterable[Item], spool: Path) -> tuple[str, str, int]:
    """Put every item into the bucket of its hash; the digests of all of them, and their number."""
    what, how, n = _Digest(), _Digest(), 0
    buckets: dict[str, BinaryIO] = {}
    with ExitStack() as stack:
        for item in items:
            key, line = item.key, _line(item)
            what.add(key)
            how.add(line)
            digits = hashlib.blake2b(key.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()
            bucket = digits[:2]
            if bucket not in buckets:
                buckets[bucket] = stack.enter_context((spool / bucket).open("wb", buffering=1 << 13))
            buckets[bucket].write(f"{digits}{line}\n".encode())
            n += 1
    return what.text(), how.text(), n


def _sorted(spool: Path) -> Iterator[bytes]:
    """The lines of all buckets by their hash; each recording once, by whichever address sorts first."""
    for bucket in sorted(spool.iterdir()):
        with bucket.open("rb") as stream:
            lines = sorted(set(stream))
        for _, alike in groupby(lines, key=itemgetter(slice(_HASH_DIGITS))):
            first, *others = (line[_HASH_DIGITS:] for line in alike)
            yield first
            known = {_key(first)} if others else set()
            for line in others:
                if (key := _key(line)) not in known:  # two recordings of one hash
                    known.add(key)
                    yield line


def _key(line: bytes) -> str:
    return Item(*json.loads(line)).key


def _chunks(lines: Iterator[bytes], size: int) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
