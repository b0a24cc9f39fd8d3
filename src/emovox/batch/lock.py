"""One run at a time in one folder.

On this machine, and on file systems that share locks, the system holds the lock and lets go of it when the
process ends, however it ends. In a store there is none: an object says who works there, and is refreshed
while they do; one that has not been for a while was left by a process that was killed.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from emovox import places
from emovox.errors import BatchError, PlaceError

__all__ = ["REFRESH_S", "STALE_S", "locked"]

REFRESH_S = 20.0
"""How often the lock in a store is refreshed."""

STALE_S = 90.0
"""From when on a lock in a store counts as left behind."""

_FILE = "lock"


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold the lock of a run's folder.

    Raises:
        BatchError: somebody else holds it.
        PlaceError: it cannot be written.
    """
    place = places.joined(folder, _FILE)
    with _held_here(places.local_path(place)) if places.is_local(place) else _held_there(place):
        yield


def _busy(place: str, who: str) -> BatchError:
    folder = places.veiled(place.removesuffix(_FILE).rstrip("/\\"))
    return BatchError(
        f"{folder}: another run works in this folder{who}; wait until it ends (emovox batch status shows how "
        "far it is), or choose another folder"
    )


# --- a file, locked by the system -------------------------------------------------------------------


@contextmanager
def _held_here(file: Path) -> Iterator[None]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a+", encoding="utf-8")
    except OSError as error:
        raise PlaceError(f"{str(file)!r} cannot be written: {error.strerror or error}") from error
    with stream:
        if not _taken(stream):
            stream.seek(0)
            raise _busy(str(file), _told(stream.read(1000)))
        stream.truncate(0)
        stream.write(json.dumps(_self()))
        stream.flush()
        yield  # the lock goes with the stream


def _taken(stream: IO[str]) -> bool:
    """Take the lock; whether it was free."""
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(1 << 20)  # a byte far behind what is written: locked bytes cannot be read
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _self() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _told(text: str) -> str:
    """Who holds it, if that can be read."""
    with suppress(ValueError, KeyError, TypeError):
        about = json.loads(text)
        return f" (process {about['pid']} on {about['host']})"
    return ""


# --- an object in a store ---------------------------------------------------------------------------


@contextmanager
def _held_there(place: str) -> Iterator[None]:
    token = secrets.token_hex(8)
    _check_free(place)
    _refresh(place, token)
    time.sleep(1.0)  # of two who came at the same moment, the later one stays
    if _read(place).get("token") != token:
        raise _busy(place, "")
    over = threading.Event()
    thread = threading.Thread(target=_refreshing, args=(place, token, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(PlaceError):
            places.remove(place)


def _check_free(place: str) -> None:
    found = _read(place)
    age_s = time.time() - float(found.get("at", 0.0))
    if age_s < STALE_S:
        raise _busy(place, f"{_told(json.dumps(found))}, or was killed less than {STALE_S:g} s ago")


def _read(place: str) -> dict[str, Any]:
    try:
        found = json.loads(places.read(place, max_bytes=1000))
    except (PlaceError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _refresh(place: str, token: str) -> None:
    places.write(place, json.dumps({**_self(), "token": token, "at": time.time()}).encode())


def _refreshing(place: str, token: str, over: threading.Event) -> None:
    while not over.wait(REFRESH_S):
        with suppress(PlaceError):  # it is tried again soon enough
            _refresh(place, token)
