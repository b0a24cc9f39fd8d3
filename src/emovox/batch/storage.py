"""Read, write and list files by path, or by URL such as ``s3://bucket/calls/1.wav``, through one interface.

A location is a string, as the user typed it. Paths need nothing but Python; URLs are opened by fsspec (extra
``distributed``, or ``s3`` and ``gcs`` for these stores). Credentials come from the environment or from the
store's own settings, never from the URL: URLs with a password are refused, and `redact` removes secrets from
whatever is shown. Files appear complete or not at all: locally by a rename, in a store by a single upload.
"""

from __future__ import annotations

import glob as local_glob
import io
import os
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from emovox._files import atomic_path
from emovox.errors import EmovoxError, MissingExtraError, PlaceError, PlaceNotFoundError

__all__ = [
    "MAX_BYTES",
    "audio_source",
    "exists",
    "find_files",
    "has_pattern",
    "is_folder",
    "is_local",
    "is_url",
    "join",
    "list_files",
    "local_path",
    "open_read",
    "open_write",
    "read_bytes",
    "redact",
    "remove",
    "write_bytes",
]

MAX_BYTES = 1 << 29
"""Limit for a recording that is fetched, since it is held in memory: 4.6 hours of 16 kHz, 16-bit wav."""

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.I)
_PASSWORD = re.compile(
    r"(?P<user>://[^/?#\s:\[]*:)(?!\d{1,5}(?:[/?#]|$))\S*@"  # up to the last @: passwords may contain / and @
    r"|(?P<web>(?:(?<=http)|(?<=https))://)[^/?#@\s\[]+@",  # on the web, a name alone is a token
    re.I,
)
_PARAMETER = re.compile(r"(?<=[?&;])([^=?&;#\s'\"]+)=[^&;#\s'\"]*")
_SECRET_NAME = re.compile(
    r"[\w.-]*(?:signature|credential|token|secret|passw|key|auth|session|jwt|hmac|bearer)[\w.-]*"
    r"|sig|pwd|pass|code|hdne[at]s?|hdnts|access",  # among them Azure's "code" and Akamai's "hdnea"
    re.I,
)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_ATOMIC_UPLOADS = {*_EXTRAS, "memory", "az", "abfs", "abfss"}
"""Stores whose uploads become visible at once. In others, files are uploaded under another name, then
moved."""


# --- names ----------------------------------------------------------------------------------------


def is_url(location: str) -> bool:
    """Return whether it is ``scheme://...`` rather than a path; a drive such as ``C:`` is a path."""
    return _URL.match(location) is not None


def is_local(location: str) -> bool:
    """Return whether it is a path, or ``file://...``."""
    return not is_url(location) or location[:7].lower() == "file://"


def local_path(location: str) -> Path:
    """Return the path of a local location.

    Raises:
        PlaceError: it is a URL, or contains a zero byte.
    """
    if not is_local(location):
        raise PlaceError(f"{redact(location)}: a URL; expected a file or folder of this machine")
    if "\0" in location:
        raise PlaceError(f"{location!r}: file names cannot contain a zero byte")
    if not is_url(location):
        return Path(location)
    host = urlsplit(location).netloc
    if host not in ("", "localhost"):
        raise PlaceError(f"{redact(location)}: a file of another machine; expected file:///path")
    return Path(unquote(location.split("://", 1)[1].removeprefix(host)))


def join(location: str, *names: str) -> str:
    """Append names, with the separator of the location."""
    if is_url(location):
        return "/".join((location.removesuffix("/"), *names))
    return str(Path(location, *names))


def has_pattern(location: str) -> bool:
    """Return whether it contains ``*``, ``?`` or ``[``; the query of a web address does not count."""
    return local_glob.has_magic(location.split("?", 1)[0] if location[:4].lower() == "http" else location)


def redact(text: str) -> str:
    """Replace passwords, tokens and signatures in URLs by ``***``.

    >>> redact("sftp://me:1234@host/a.wav")
    'sftp://me:***@host/a.wav'
    >>> redact("https://host/a.wav?id=3&X-Amz-Signature=77ab")
    'https://host/a.wav?id=3&X-Amz-Signature=***'
    """
    if "://" not in text:
        return text
    text = _PASSWORD.sub(lambda found: f"{found['user'] or found['web']}***@", text)
    return _PARAMETER.sub(
        lambda found: f"{found[1]}=***" if _SECRET_NAME.fullmatch(unquote(found[1])) else found[0], text
    )


# --- stores and their errors ----------------------------------------------------------------------


def _open_store(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Raises:
        PlaceError: the URL contains a password, or its scheme is unknown.
        MissingExtraError: the library that opens it is not installed.
    """
    if _PASSWORD.search(url):
        raise PlaceError(
            f"{redact(url)}: a URL with a password; remove it, and set environment variables or the store's "
            "own settings instead (docs/scale.md)"
        )
    scheme = url.partition("://")[0].lower()
    extra = _EXTRAS.get(scheme, "distributed")
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError(f"{scheme}://", extra) from None
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise PlaceError(
            f"{redact(url)}: unknown scheme {scheme}://; expected a path, or a URL that fsspec opens, such "
            "as s3://bucket/name"
        ) from None
    except ImportError as error:
        if scheme in _EXTRAS:
            raise MissingExtraError(f"{scheme}://", extra) from None
        raise PlaceError(f"{redact(url)}: the library that opens it is not installed: {error}") from None
    # Without cached listings: files written by other processes must be seen.
    return kind(**kind._get_kwargs_from_urls(url), use_listings_cache=False), kind._strip_protocol(url)


@contextmanager
def _errors_translated(location: str, action: str, kinds: type[Exception] = Exception) -> Iterator[None]:
    """Turn the errors of the system and of fsspec's libraries, of many types, into PlaceError."""
    try:
        yield
    except EmovoxError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if not _is_absent(error):
            raise PlaceError(f"{redact(location)}: cannot be {action}: {_web_error(error)}") from error
        hint = "check the path" if is_local(location) else "check the bucket or host as well as the name"
        raise PlaceNotFoundError(f"{redact(location)}: no such file or folder; {hint}") from error
    except IsADirectoryError as error:
        raise PlaceError(f"{redact(location)}: cannot be {action}: a folder, not a file") from error
    except kinds as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PlaceError(f"{redact(location)}: cannot be {action}: {redact(text).strip()}") from error


def _is_absent(error: OSError) -> bool:
    """fsspec raises FileNotFoundError for every failure on the web; the cause has the status."""
    status = getattr(error.__cause__, "status", None)
    if isinstance(status, int):
        return status in (404, 410)
    return type(error.__cause__).__module__.partition(".")[0] != "aiohttp"


def _web_error(error: OSError) -> str:
    cause = error.__cause__
    status = getattr(cause, "status", None)
    if status in (401, 403):
        return f"the server refuses it ({status}); is it private, or has a signature in the URL expired?"
    if isinstance(status, int):
        return f"the server answers {status}; try again later"
    return f"the server cannot be reached: {redact(str(cause)).strip() or type(cause).__name__}"


# --- reading --------------------------------------------------------------------------------------


@contextmanager
def open_read(location: str) -> Iterator[BinaryIO]:
    """Open a seekable stream; of a URL, only the parts that are read are fetched.

    Raises:
        PlaceNotFoundError: there is no such file.
        PlaceError: it cannot be read, also while it is being read.
        MissingExtraError: the library that opens the URL is not installed.
    """
    with _errors_translated(location, "read"):
        if is_local(location):
            stream: Any = local_path(location).open("rb")
        else:
            store, path = _open_store(location)
            stream = store.open(path, "rb")
            if getattr(stream, "details", {}).get("type") == "directory":
                raise IsADirectoryError
        with stream:
            yield cast("BinaryIO", stream)


def read_bytes(location: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file.

    Raises:
        PlaceError: it has more than ``max_bytes``, and is not fetched much further; or as `open_read`.
    """
    parts, left = list[bytes](), max_bytes + 1
    with open_read(location) as stream:
        while left > 0 and (part := stream.read(min(left, 1 << 22))):
            parts.append(part)
            left -= len(part)
    if left <= 0:
        raise PlaceError(
            f"{redact(location)}: more than {max_bytes:,} bytes, the limit for fetched files; split it, or "
            "copy it here first"
        )
    return b"".join(parts)


class _NamedBytes(io.BytesIO):
    """Bytes with the name that error messages begin with."""

    name: str


def audio_source(location: str) -> str | BinaryIO:
    """Return what `audio.read` accepts: the local path, or the bytes at a URL.

    Raises:
        PlaceError: as `read_bytes`, of a URL.
    """
    if is_local(location):
        return str(local_path(location)) if is_url(location) else location
    data = _NamedBytes(read_bytes(location))
    data.name = redact(location)
    return data


def exists(location: str) -> bool:
    """Return whether there is a file or a folder.

    Raises:
        PlaceError: the store does not answer.
        MissingExtraError: the library that opens the URL is not installed.
    """
    return _find_type(location) is not None


def is_folder(location: str) -> bool:
    """Return whether there is a folder; in a store, whether any name begins with it. Errors as `exists`."""
    return _find_type(location) == "directory"


def _find_type(location: str) -> str | None:
    with _errors_translated(location, "looked up"):
        if is_local(location):
            path = local_path(location)
            return "directory" if path.is_dir() else "file" if path.exists() else None
        store, path_there = _open_store(location)
        try:
            return str(store.info(path_there)["type"])
        except FileNotFoundError as error:
            if not _is_absent(error):
                raise
            return None


# --- writing --------------------------------------------------------------------------------------


@contextmanager
def open_write(location: str, *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a stream for a file that appears complete at the end, and not at all when anything fails.

    For a URL the bytes are kept in a temporary file and uploaded at the end.

    Args:
        durable: a local file is flushed to disk before this returns.

    Raises:
        PlaceError: it cannot be written; ``is_full`` tells whether the disk is full.
        MissingExtraError: the library that opens the URL is not installed.
    """
    if is_local(location):
        path = local_path(location)
        with (
            _errors_translated(location, "written", OSError),
            atomic_path(path, durable=durable) as partial,
            partial.open("wb") as stream,
        ):
            yield stream
        return
    with _errors_translated(location, "written"):
        store, path_there = _open_store(location)
    with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
        copy = Path(folder) / "upload"
        with copy.open("wb") as stream:
            yield stream
        with _errors_translated(location, "written"):
            protocols = {store.protocol} if isinstance(store.protocol, str) else set(store.protocol)
            if protocols & _ATOMIC_UPLOADS:
                store.put_file(str(copy), path_there)
            else:
                partial_there = f"{path_there}.{os.getpid()}.part"
                store.makedirs(path_there.rpartition("/")[0], exist_ok=True)
                store.put_file(str(copy), partial_there)
                store.mv(partial_there, path_there)


def write_bytes(location: str, data: bytes, *, durable: bool = False) -> None:
    """Write a file, as `open_write` does."""
    with open_write(location, durable=durable) as stream:
        stream.write(data)


def remove(location: str) -> None:
    """Remove a file if it exists.

    Raises:
        PlaceError: it cannot be removed.
    """
    with _errors_translated(location, "removed"):
        if is_local(location):
            local_path(location).unlink(missing_ok=True)
            return
        store, path = _open_store(location)
        with suppress(FileNotFoundError):
            store.rm_file(path)


# --- listing --------------------------------------------------------------------------------------


def list_files(
    location: str,
    *,
    deep: bool = True,
    suffixes: Collection[str] = (),
    left_out: Counter[str] | None = None,
) -> Iterator[str]:
    """Yield the files of a folder lazily, each as the location with the name appended.

    Local folders are read one at a time, by name, without following links to folders; S3 lists its keys in
    pages of a thousand; other stores list one folder at a time. Hidden files and folders are skipped.

    Args:
        deep: also list the folders below.
        suffixes: only files whose name ends with one of these, in any case.
        left_out: counts other files by their suffix, and folders that are not listed under ``"/"``.

    Raises:
        PlaceNotFoundError: there is no such folder.
        PlaceError: it cannot be listed.
        MissingExtraError: the library that opens the URL is not installed.
    """
    endings = tuple(suffix.lower() for suffix in suffixes)
    with _errors_translated(location, "listed"):
        if is_local(location):
            location = str(local_path(location))
            names = _list_local(Path(location), deep)
        elif not is_folder(location):
            raise PlaceNotFoundError(f"{redact(location)}: no such folder, or it is empty")
        else:
            store, path = _open_store(location)
            names = (_list_s3 if hasattr(store, "call_s3") else _list_store)(store, path, deep)
        for name in names:
            if _is_hidden(name):
                continue
            if not name.endswith("/") and (not endings or name.lower().endswith(endings)):
                yield join(location, name)
            elif left_out is not None:
                left_out["/" if name.endswith("/") else os.path.splitext(name)[1].lower()] += 1  # noqa: PTH122


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name


# Each yields the names of files and, with a slash at the end, those of folders that are not entered.


def _list_local(folder: Path, deep: bool) -> Iterator[str]:
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(folder / prefix) as entries:
            found = sorted((f"{prefix}{one.name}", one.is_dir(), one.is_symlink()) for one in entries)
        yield from (name for name, is_dir, _ in found if not is_dir)
        if deep:
            below = (name for name, is_dir, is_link in found if is_dir and not is_link)
            pending += [f"{name}/" for name in below if not _is_hidden(name)][::-1]
        else:
            yield from (f"{name}/" for name, is_dir, _ in found if is_dir)


def _list_s3(store: Any, path: str, deep: bool) -> Iterator[str]:
    """Page by page; s3fs itself would hold the whole listing in memory."""
    bucket, key, _ = store.split_path(path)
    prefix = f"{key.rstrip('/')}/" if key else ""
    query = {"Bucket": bucket, "Prefix": prefix, **({} if deep else {"Delimiter": "/"})}
    while True:
        page = store.call_s3("list_objects_v2", **query)
        names = (one["Key"].removeprefix(prefix) for one in page.get("Contents", ()))
        yield from (name for name in names if name and not name.endswith("/"))
        yield from (one["Prefix"].removeprefix(prefix) for one in page.get("CommonPrefixes", ()))
        if not page.get("IsTruncated"):
            return
        query["ContinuationToken"] = page["NextContinuationToken"]


def _list_store(store: Any, path: str, deep: bool) -> Iterator[str]:
    start = len(path.rstrip("/")) + 1
    for folder, folders, files in store.walk(path, maxdepth=None if deep else 1, on_error="raise"):
        folders.sort()  # walk() visits them in this order
        prefix = f"{folder[start:]}/" if folder[start:] else ""
        yield from (f"{prefix}{name}" for name in sorted(files))
        yield from (f"{prefix}{name}/" for name in folders if not deep)


def find_files(pattern: str) -> Iterator[str]:
    """Yield the files that match a pattern with ``*``, ``?``, ``[ab]`` or ``**`` lazily.

    Local folders that match are yielded with a slash at the end; stores have no folders of their own.

    Raises:
        PlaceError: a store cannot be listed.
        MissingExtraError: the library that opens the URL is not installed.
    """
    if is_local(pattern):
        typed = str(local_path(pattern)) if is_url(pattern) else pattern
        with _errors_translated(pattern, "listed"):
            for one in local_glob.iglob(typed, recursive=True):  # noqa: PTH207
                yield os.path.join(one, "") if Path(one).is_dir() else one  # noqa: PTH118
        return
    # List the longest folder without a wildcard, and match the rest.
    start = len(pattern) - len(pattern.partition("://")[2])
    magic = re.search(r"[*?[]", pattern[start:])
    end = pattern.rfind("/", start - 1, start + magic.start() if magic else len(pattern)) + 1
    base, wanted = pattern[:end] if end == start else pattern[: end - 1], pattern[end:]
    if is_folder(base):
        from fsspec.utils import glob_translate

        matches = re.compile(glob_translate(wanted)).match
        length = len(join(base, ""))
        found = list_files(base, deep="/" in wanted or "**" in wanted)
        yield from (one for one in found if matches(one[length:]))
