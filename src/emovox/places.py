"""Where files lie: a path of this machine, or a URL such as ``s3://bucket/calls/1.wav``; one way to both.

A place is a string, as it was typed. A local one needs nothing but Python. A URL is opened by fsspec (the
extra ``distributed``, or ``s3`` and ``gcs`` for these stores), and who may open it is told by the environment
or by the store's own settings, never by the URL: one that carries a password is refused, and whatever names
a place in an error or in a row goes through ``veiled``.

A file is written whole or not at all. Locally ``files.replaced`` sees to it; a store gets it in one upload,
which is seen when it is complete.
"""

from __future__ import annotations

import glob as patterns
import io
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from emovox.errors import EmovoxError, MissingExtraError, PlaceError, PlaceNotFoundError
from emovox.files import replaced

__all__ = [
    "MAX_BYTES",
    "exists",
    "glob",
    "has_magic",
    "is_folder",
    "is_local",
    "is_url",
    "joined",
    "local_path",
    "opened",
    "read",
    "remove",
    "source",
    "veiled",
    "walk",
    "write",
    "written",
]

MAX_BYTES = 1 << 29
"""Of a recording that is fetched: it is held in memory, and 512 MiB are 4.6 hours of 16 kHz, 16-bit wav."""

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.I)
_EXTRA_OF = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
}
_SEEN_WHEN_COMPLETE = {*_EXTRA_OF, "memory", "az", "abfs", "abfss"}
"""Stores whose uploads appear at once. In others a file is uploaded under another name, then moved."""

_PASSWORD = re.compile(
    r"(?P<user>://[^/?#\s:\[]*:)(?!\d{1,5}(?:[/?#]|$))\S*@"  # up to the last @: a password may have / and @
    r"|(?P<web>(?:(?<=http)|(?<=https))://)[^/?#@\s\[]+@",  # on the web, a name alone is a token
    re.I,
)
_SECRET = re.compile(
    r"([?&;](?:[\w.-]*(?:signature|credential|token|secret|password|key)[\w.-]*|sig|pwd)=)[^&;#\s'\"]*", re.I
)


# --- names ----------------------------------------------------------------------------------------


def is_url(place: str) -> bool:
    """Whether it is ``scheme://...`` rather than a path. A drive, ``C:``, is a path."""
    return _URL.match(place) is not None


def is_local(place: str) -> bool:
    """Whether it is on this machine: a path, or ``file://...``."""
    return not is_url(place) or place[:7].lower() == "file://"


def local_path(place: str) -> Path:
    """The path of a place on this machine.

    Raises:
        PlaceError: it is elsewhere, or has a zero byte.
    """
    if not is_local(place):
        raise PlaceError(f"{veiled(place)}: a URL; expected a file or folder of this machine")
    if "\0" in place:
        raise PlaceError(f"{place!r}: a name with a zero byte, which no file has")
    if not is_url(place):
        return Path(place)
    parts = urlsplit(place)
    if parts.netloc not in ("", "localhost"):
        raise PlaceError(f"{veiled(place)}: a file of another machine; expected file:///path")
    return Path(unquote(place.split("://", 1)[1].removeprefix(parts.netloc)))


def veiled(text: str) -> str:
    """A place, or any text with one in it, without what would let others in: passwords, tokens, signatures.

    >>> veiled("sftp://me:1234@host/a.wav")
    'sftp://me:***@host/a.wav'
    >>> veiled("https://host/a.wav?id=3&X-Amz-Signature=77ab")
    'https://host/a.wav?id=3&X-Amz-Signature=***'
    """
    return _SECRET.sub(r"\1***", _PASSWORD.sub(_without_password, text)) if "://" in text else text


def _without_password(found: re.Match[str]) -> str:
    return f"{found['user'] or found['web']}***@"


def joined(place: str, *names: str) -> str:
    """A file or folder below a place, separated as there."""
    if is_url(place):
        return "/".join((place.removesuffix("/"), *names))
    return str(Path(place, *names))


def has_magic(place: str) -> bool:
    """Whether it is a pattern, with ``*``, ``?`` or ``[``. The query of a web address is none."""
    return patterns.has_magic(place.split("?", 1)[0] if place[:4].lower() == "http" else place)


# --- reading --------------------------------------------------------------------------------------


@contextmanager
def opened(place: str) -> Iterator[BinaryIO]:
    """A seekable stream of the bytes of a file; of a URL, what is read is fetched, not the whole.

    Raises:
        PlaceNotFoundError: there is no such file.
        PlaceError: it cannot be read, also when that shows while it is read.
        MissingExtraError: a URL, and what opens it is not installed.
    """
    with _told(place, "read"):
        if is_local(place):
            raw: Any = local_path(place).open("rb", buffering=0)
        else:
            store, path = _store(place)
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
        with _told(self._place, "read"):
            part = self._raw.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with _told(self._place, "read"):
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
    with _told(place, "looked up"):
        if is_local(place):
            path = local_path(place)
            return "directory" if path.is_dir() else "file" if path.exists() else None
        store, name = _store(place)
        try:
            return str(store.info(name)["type"])
        except FileNotFoundError:
            return None


# --- listing --------------------------------------------------------------------------------------


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
    with _told(place, "listed"):
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
        with _told(pattern, "listed"):
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
        store, path = _store(place)
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


# --- writing --------------------------------------------------------------------------------------


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
        with _told(place, "written", OSError), kept as half, half.open("wb") as stream:
            yield stream
        return
    with _told(place, "written"):
        store, name = _store(place)
    with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
        half = Path(folder) / "half"
        with half.open("wb") as stream:
            yield stream
        with _told(place, "written"):
            _upload(store, half, name)


def _upload(store: Any, file: Path, path: str) -> None:
    if store.protocol in _SEEN_WHEN_COMPLETE or set(store.protocol) & _SEEN_WHEN_COMPLETE:
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
    with _told(place, "removed"):
        if is_local(place):
            local_path(place).unlink(missing_ok=True)
            return
        store, path = _store(place)
        with suppress(FileNotFoundError):
            store.rm_file(path)


# --- stores ---------------------------------------------------------------------------------------


def _store(place: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there."""
    if _PASSWORD.search(place):
        raise PlaceError(
            f"{veiled(place)}: a URL with a password; leave it out, and let environment variables or the "
            "store's own settings hold it (docs/scale.md)"
        )
    scheme = place.partition("://")[0].lower()
    kind = _kind_of_store(scheme, place)
    # What another process wrote has to be seen: no listing is remembered.
    return kind(**kind._get_kwargs_from_urls(place), use_listings_cache=False), kind._strip_protocol(place)


def _kind_of_store(scheme: str, place: str) -> Any:
    extra = _EXTRA_OF.get(scheme, "distributed")
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(f"{scheme}://", extra) from None
    try:
        return fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise PlaceError(
            f"{veiled(place)}: no kind of place known as {scheme}://; expected a path, or a URL that fsspec "
            "opens, such as s3://bucket/name"
        ) from None
    except ImportError as error:
        if scheme in _EXTRA_OF:
            raise MissingExtraError(f"{scheme}://", extra) from None
        raise PlaceError(f"{veiled(place)}: what opens it is not installed: {error}") from None


@contextmanager
def _told(place: str, done: str, kinds: type[Exception] = Exception) -> Iterator[None]:
    """Errors of the system and of foreign libraries, which are of many kinds, become ours, and say where."""
    try:
        yield
    except EmovoxError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        where = "check the path" if is_local(place) else "check the bucket or host as well as the name"
        raise PlaceNotFoundError(f"{veiled(place)}: no such file or folder; {where}") from error
    except IsADirectoryError as error:
        raise PlaceError(f"{veiled(place)}: cannot be {done}: a folder, not a file") from error
    except kinds as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PlaceError(f"{veiled(place)}: cannot be {done}: {veiled(words).strip()}") from error
