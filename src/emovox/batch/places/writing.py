"""A file at a place: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from emovox._files import replaced
from emovox.batch.places.names import is_local, local_path
from emovox.batch.places.stores import appears_whole, store_of, told

__all__ = ["remove", "write", "written"]


@contextmanager
def written(place: str, *, durable: bool = False) -> Iterator[BinaryIO]:
    """A stream to write a file to; it is there, whole, at the end, and not at all when anything fails.

    For a URL the bytes wait in a temporary file of this machine, and are uploaded at the end.

    Args:
        durable: a local file is on the disk, not only on its way, before this ends.

    Raises:
        PlaceError: it cannot be written; its ``is_full`` says whether for want of room.
        MissingExtraError: a URL, and what opens it is not installed.
    """
    if is_local(place):
        path = local_path(place)
        kept = replaced(path, durable=durable)
        with told(place, "written", OSError), kept as half, half.open("wb") as stream:
            yield stream
        return
    with told(place, "written"):
        store, name = store_of(place)
    with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
        half = Path(folder) / "half"
        with half.open("wb") as stream:
            yield stream
        with told(place, "written"):
            _upload(store, half, name)


def _upload(store: Any, file: Path, path: str) -> None:
    if appears_whole(store):
        store.put_file(str(file), path)
        return
    folder, _, name = path.rpartition("/")
    half = f"{folder}/{name}.{os.getpid()}.part"
    store.makedirs(folder, exist_ok=True)
    store.put_file(str(file), half)
    store.mv(half, path)


def write(place: str, data: bytes, *, durable: bool = False) -> None:
    """Write a whole file, as ``written`` does."""
    with written(place, durable=durable) as stream:
        stream.write(data)


def remove(place: str) -> None:
    """Remove a file, if there is one.

    Raises:
        PlaceError: it cannot be removed.
    """
    with told(place, "removed"):
        if is_local(place):
            local_path(place).unlink(missing_ok=True)
            return
        store, path = store_of(place)
        with suppress(FileNotFoundError):
            store.rm_file(path)
