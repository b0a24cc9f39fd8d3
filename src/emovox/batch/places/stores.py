"""What opens a URL, and what is said when it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emovox.batch.places.names import has_password, is_local, veiled
from emovox.errors import EmovoxError, MissingExtraError, PlaceError, PlaceNotFoundError

__all__ = ["appears_whole", "is_absent", "store_of", "told"]

_EXTRA_OF = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
}
_SEEN_WHEN_COMPLETE = {*_EXTRA_OF, "memory", "az", "abfs", "abfss"}
"""Stores whose uploads appear at once. In others a file is uploaded under another name, then moved."""


def store_of(place: str) -> tuple[Any, str]:
    """The file system of a URL, and the path there.

    Raises:
        PlaceError: the URL carries a password, or nothing known opens it.
        MissingExtraError: what opens it is not installed.
    """
    if has_password(place):
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


def appears_whole(store: Any) -> bool:
    """Whether what is uploaded is seen only when it is complete."""
    return store.protocol in _SEEN_WHEN_COMPLETE or bool(set(store.protocol) & _SEEN_WHEN_COMPLETE)


@contextmanager
def told(place: str, done: str, kinds: type[Exception] = Exception) -> Iterator[None]:
    """Errors of the system and of foreign libraries, which are of many kinds, become ours, and say where."""
    try:
        yield
    except EmovoxError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        if not is_absent(error):
            raise PlaceError(f"{veiled(place)}: cannot be {done}: {_refusal(error)}") from error
        where = "check the path" if is_local(place) else "check the bucket or host as well as the name"
        raise PlaceNotFoundError(f"{veiled(place)}: no such file or folder; {where}") from error
    except IsADirectoryError as error:
        raise PlaceError(f"{veiled(place)}: cannot be {done}: a folder, not a file") from error
    except kinds as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PlaceError(f"{veiled(place)}: cannot be {done}: {veiled(words).strip()}") from error


def is_absent(error: OSError) -> bool:
    """Whether there is no such file: of the web, fsspec says so whatever went wrong; the cause knows."""
    status = getattr(error.__cause__, "status", None)
    return status in (404, 410) if isinstance(status, int) else not _is_of_network(error.__cause__)


def _is_of_network(cause: BaseException | None) -> bool:
    """aiohttp's errors, which need not be installed; its connector's are OSErrors as well."""
    return cause is not None and type(cause).__module__.partition(".")[0] == "aiohttp"


def _refusal(error: OSError) -> str:
    cause = error.__cause__
    status = getattr(cause, "status", None)
    if status in (401, 403):
        return f"the server refuses it ({status}); is it private, or has a signature in the URL expired?"
    if isinstance(status, int):
        return f"the server answers {status}; try again later"
    return f"the server cannot be reached: {veiled(str(cause)).strip() or type(cause).__name__}"
