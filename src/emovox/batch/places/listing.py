"""The files below a place, found while they are asked for."""

from __future__ import annotations

import glob as patterns
import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from emovox.batch.places.names import is_local, is_url, joined, local_path, veiled
from emovox.batch.places.reading import is_folder
from emovox.batch.places.stores import store_of, told
from emovox.errors import PlaceNotFoundError

__all__ = ["glob", "walk"]


def walk(place: str, *, deep: bool = True, suffixes: Collection[str] = ()) -> Iterator[str]:
    """The files of a folder, each as the place with its name below it, found while they are asked for.

    Local folders are read one at a time, by name, and links to folders are not followed; S3 gives its keys in
    pages of a thousand, by their bytes; other stores give a folder at a time. Hidden files are left out, and
    so is what lies in hidden folders below.

    Args:
        deep: also those in the folders below it.
        suffixes: only files whose name ends like this, whatever the case.

    Raises:
        PlaceNotFoundError: there is no such folder.
        PlaceError: it cannot be listed.
        MissingExtraError: a URL, and what opens it is not installed.
    """
    ends = tuple(suffix.lower() for suffix in suffixes)
    with told(place, "listed"):
        place = str(local_path(place)) if is_local(place) else place
        for name in _names(place, deep):
            if not _is_hidden(name) and (not ends or name.lower().endswith(ends)):
                yield joined(place, name)


def glob(pattern: str) -> Iterator[str]:
    """The files that a pattern with ``*``, ``?``, ``[ab]`` or ``**`` matches, found while they are asked for.

    Raises:
        PlaceError: a store cannot be listed.
        MissingExtraError: a URL, and what opens it is not installed.
    """
    if is_local(pattern):
        typed = str(local_path(pattern)) if is_url(pattern) else pattern
        with told(pattern, "listed"):
            yield from (one for one in patterns.iglob(typed, recursive=True) if not Path(one).is_dir())  # noqa: PTH207
        return
    base, wanted = _parted(pattern)
    if is_folder(base):
        matches = _matcher(wanted)
        below = len(joined(base, ""))
        yield from (one for one in walk(base, deep="/" in wanted or "**" in wanted) if matches(one[below:]))


def _parted(pattern: str) -> tuple[str, str]:
    """The folder that a pattern begins with, and the pattern below it."""
    start = len(pattern) - len(pattern.partition("://")[2])
    magic = re.search(r"[*?[]", pattern[start:])
    end = pattern.rfind("/", start - 1, start + magic.start() if magic else len(pattern)) + 1
    return pattern[:end] if end == start else pattern[: end - 1], pattern[end:]


def _matcher(pattern: str) -> Callable[[str], object]:
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(pattern)).match


def _names(place: str, deep: bool) -> Iterator[str]:
    """Names of files below a folder, their parts joined by ``/``."""
    if is_local(place):
        yield from _local_names(local_path(place), deep)
    elif not is_folder(place):
        raise PlaceNotFoundError(f"{veiled(place)}: no such folder, or nothing is in it")
    else:
        store, path = store_of(place)
        yield from (_s3_names if hasattr(store, "call_s3") else _store_names)(store, path, deep)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


def _local_names(folder: Path, deep: bool) -> Iterator[str]:
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            found = sorted((f"{inside}{one.name}", one.is_dir(), one.is_symlink()) for one in entries)
        yield from (name for name, is_dir, _ in found if not is_dir)
        if deep:
            waiting += [
                f"{name}/"
                for name, is_dir, is_link in reversed(found)
                if is_dir and not is_link and not _is_hidden(name)
            ]


def _s3_names(store: Any, path: str, deep: bool) -> Iterator[str]:
    """Page by page: what s3fs itself lists, it holds whole."""
    bucket, key, _ = store.split_path(path)
    prefix = f"{key.rstrip('/')}/" if key else ""
    asked = {"Bucket": bucket, "Prefix": prefix, **({} if deep else {"Delimiter": "/"})}
    while True:
        page = store.call_s3("list_objects_v2", **asked)
        names = (one["Key"].removeprefix(prefix) for one in page.get("Contents", ()))
        yield from (name for name in names if name and not name.endswith("/"))
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def _store_names(store: Any, path: str, deep: bool) -> Iterator[str]:
    start = len(path.rstrip("/")) + 1
    for folder, folders, files in store.walk(path, maxdepth=None if deep else 1, on_error="raise"):
        folders.sort()  # the walk goes on in this order
        inside = f"{folder[start:]}/" if folder[start:] else ""
        yield from (f"{inside}{name}" for name in sorted(files))
