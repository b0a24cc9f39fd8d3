"""One run at a time in one folder.

On this machine, and on file systems that share locks, the system holds the lock and lets go of it when the
process ends, however it ends. In a store there is none: an object says who works there, and is refreshed
while they do; one that has not been for a while was left by a process that was killed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from emovox.batch import places
from emovox.errors import BatchError, PlaceError, PlaceNotFoundError

__all__ = ["REFRESH_S", "STALE_S", "locked"]

REFRESH_S = 20.0
"""How often the lock in a store is refreshed."""

STALE_S = 90.0
"""From when on a lock in a store counts as left behind."""

_FILE = "lock"


@contextmanager
def locked(folder: str) -> Iterator[Callable[[], None]]:
    """Hold the lock of a run's folder; a folder in which nothing else came to be is left as it was.

    What it gives is to be called now and then: it raises BatchError when somebody else took the lock, which
    they may in a store where this machine was asleep, or cut off, for longer than ``STALE_S``.

    Raises:
        BatchError: somebody else holds it, or a file of that name is no lock.
        PlaceError: it cannot be written, or this file system has no locks.
    """
    place = places.joined(folder, _FILE)
    if places.is_local(place):
        with _held_here(places.local_path(place)):
            yield lambda: None
        return
    with _held_there(place) as check:
        yield check


def _busy(place: str, who: str) -> BatchError:
    folder = places.veiled(place.removesuffix(_FILE).rstrip("/\\"))
    return BatchError(
        f"{folder}: another run works in this folder{who}; wait until it ends (emovox batch status shows how "
        "far it is), or choose another folder"
    )


def _not_ours(place: str) -> BatchError:
    return BatchError(
        f"{places.veiled(place)}: there is such a file, and it is no lock of a run; choose another folder"
    )


def _about(text: str) -> dict[str, Any] | None:
    """Who holds it, as was written; ``{}`` if they were stopped before that, ``None``: it is no lock."""
    if not text.strip("\0 \r\n"):
        return {}
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict) and {"host", "pid"} <= set(found):
            return found
    return None


# --- a file, locked by the system -------------------------------------------------------------------


@contextmanager
def _held_here(file: Path) -> Iterator[None]:
    was_there = file.parent.exists()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise PlaceError(f"{str(file)!r} cannot be written: {error.strerror or error}") from error
    with stream:
        is_taken = _taken(stream, file)
        stream.seek(0)
        text = stream.read(1000)
        # One that was removed meanwhile went with the run that made it: the next command finds the way free.
        if not is_taken or (os.name == "posix" and os.fstat(stream.fileno()).st_nlink == 0):
            raise _busy(str(file), _told(text))
        if _about(text) is None:
            raise _not_ours(str(file))
        stream.truncate(0)
        stream.write(json.dumps(_self()))
        stream.flush()
        try:
            yield  # the lock goes with the stream
        finally:
            if os.name != "posix":  # an open file cannot be removed there
                stream.close()
            _leave(file, was_there)


def _leave(file: Path, was_there: bool) -> None:
    """Where a run was refused before it began there is only the lock; then that goes too."""
    with suppress(OSError):
        if [one.name for one in file.parent.iterdir()] == [file.name]:
            file.unlink()
            if not was_there:
                file.parent.rmdir()


def _taken(stream: IO[str], file: Path) -> bool:
    """Take the lock; whether it was free.

    Raises:
        PlaceError: the system cannot lock it.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(1 << 20)  # a byte far behind what is written: locked bytes cannot be read
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise PlaceError(
            f"{str(file)!r} cannot be locked: {error.strerror or error}; this file system has no locks, or "
            "they are switched off: choose a folder on another disk"
        ) from error
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
def _held_there(place: str) -> Iterator[Callable[[], None]]:
    token = secrets.token_hex(8)
    _check_free(place)
    _refresh(place, token)
    time.sleep(1.0)  # of two who came at the same moment, the later one stays
    if _read(place).get("token") != token:
        raise _busy(place, "")
    over, lost = threading.Event(), threading.Event()
    thread = threading.Thread(target=_refreshing, args=(place, token, over, lost), daemon=True)
    thread.start()

    def check() -> None:
        if lost.is_set():
            raise _busy(place, ", which took it over while this one did not answer")

    try:
        yield check
    finally:
        over.set()
        thread.join()
        with suppress(PlaceError, BatchError):
            if _read(place).get("token") == token:
                places.remove(place)


def _check_free(place: str) -> None:
    found = _read(place)
    age_s = time.time() - float(found.get("at", 0.0))
    if age_s < STALE_S:
        raise _busy(place, f"{_told(json.dumps(found))}, or was killed less than {STALE_S:g} s ago")


def _read(place: str) -> dict[str, Any]:
    """What it says; ``{}`` where there is none.

    Raises:
        BatchError: it is no lock.
        PlaceError: the store does not answer.
    """
    try:
        with places.opened(place) as stream:
            text = stream.read(1000)
    except PlaceNotFoundError:
        return {}
    found = _about(text.decode(errors="replace"))
    if found is None:
        raise _not_ours(place)
    return found


def _refresh(place: str, token: str) -> None:
    places.write(place, json.dumps({**_self(), "token": token, "at": time.time()}).encode())


def _refreshing(place: str, token: str, over: threading.Event, lost: threading.Event) -> None:
    while not over.wait(REFRESH_S):
        with suppress(PlaceError, BatchError):  # it is tried again soon enough
            if _read(place).get("token", token) != token:
                lost.set()
                return
            _refresh(place, token)
