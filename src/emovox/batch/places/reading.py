"""The bytes at a place, and whether there are any."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from emovox.batch.places.names import is_local, is_url, local_path, veiled
from emovox.batch.places.stores import is_absent, store_of, told
from emovox.errors import PlaceError

__all__ = ["MAX_BYTES", "exists", "is_folder", "opened", "read", "source"]

MAX_BYTES = 1 << 29
"""Of a recording that is fetched: it is held in memory, and 512 MiB are 4.6 hours of 16 kHz, 16-bit wav."""


@contextmanager
def opened(place: str) -> Iterator[BinaryIO]:
    """A seekable stream of the bytes of a file; of a URL, what is read is fetched, not the whole.

    Raises:
        PlaceNotFoundError: there is no such file.
        PlaceError: it cannot be read, also when that shows while it is read.
        MissingExtraError: a URL, and what opens it is not installed.
    """
    with told(place, "read"):
        if is_local(place):
            raw: Any = local_path(place).open("rb", buffering=0)
        else:
            store, path = store_of(place)
            raw = store.open(path, "rb")
            if getattr(raw, "details", {}).get("type") == "directory":
                raise IsADirectoryError
    with io.BufferedReader(_Reading(place, raw), 1 << 16) as stream:
        yield stream


class _Reading(io.RawIOBase):
    """What is read at a place, its errors told as ours."""

    def __init__(self, place: str, raw: Any) -> None:
        self._place, self._raw = place, raw

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with told(self._place, "read"):
            part = self._raw.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with told(self._place, "read"):
            return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self._raw.tell())

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def read(place: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file. One that is larger is refused, and not fetched much further than the bound.

    Raises:
        PlaceError: it has more than ``max_bytes``; or as ``opened``.
    """
    parts, left = list[bytes](), max_bytes + 1
    with opened(place) as stream:
        while left > 0 and (part := stream.read(min(left, 1 << 22))):
            parts.append(part)
            left -= len(part)
    if left <= 0:
        raise PlaceError(
            f"{veiled(place)}: more than {max_bytes:,} bytes, the most that is fetched; cut it up, or copy "
            "it here first"
        )
    return b"".join(parts)


def source(place: str, *, max_bytes: int = MAX_BYTES) -> str | BinaryIO:
    """What the audio door takes for a place: a local path as it is, a URL as its bytes under its name.

    Raises:
        PlaceError: as ``read``, of a URL.
    """
    if is_local(place):
        return str(local_path(place)) if is_url(place) else place
    fetched = _Fetched(read(place, max_bytes=max_bytes))
    fetched.name = veiled(place)
    return fetched


class _Fetched(io.BytesIO):
    """Bytes with the name that an error about them begins with."""

    name: str


def exists(place: str) -> bool:
    """Whether there is a file or a folder.

    Raises:
        PlaceError: the store cannot be asked.
        MissingExtraError: a URL, and what opens it is not installed.
    """
    return _kind(place) is not None


def is_folder(place: str) -> bool:
    """Whether there is a folder; in a store, whether anything lies below that name. Errors as ``exists``."""
    return _kind(place) == "directory"


def _kind(place: str) -> str | None:
    """``directory``, ``file`` or what else there is; asked anew each time."""
    with told(place, "looked up"):
        if is_local(place):
            path = local_path(place)
            return "directory" if path.is_dir() else "file" if path.exists() else None
        store, name = store_of(place)
        try:
            return str(store.info(name)["type"])
        except FileNotFoundError as error:
            if not is_absent(error):
                raise
            return None
