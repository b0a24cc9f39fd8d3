"""Names of places: which are URLs, what lies below, and what may be shown of them."""

from __future__ import annotations

import glob as patterns
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from emovox.errors import PlaceError

__all__ = ["has_magic", "has_password", "is_local", "is_url", "joined", "local_path", "veiled"]

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://", re.I)
_PASSWORD = re.compile(
    r"(?P<user>://[^/?#\s:\[]*:)(?!\d{1,5}(?:[/?#]|$))\S*@"  # up to the last @: a password may have / and @
    r"|(?P<web>(?:(?<=http)|(?<=https))://)[^/?#@\s\[]+@",  # on the web, a name alone is a token
    re.I,
)
_PARAMETER = re.compile(r"(?<=[?&;])([^=?&;#\s'\"]+)=[^&;#\s'\"]*")
_SECRET = re.compile(
    r"[\w.-]*(?:signature|credential|token|secret|passw|key|auth|session|jwt|hmac|bearer)[\w.-]*"
    r"|sig|pwd|pass|code|hdne[at]s?|hdnts|access",
    re.I,
)
"""What parameters are called that let others in, among them Azure's ``code`` and Akamai's ``hdnea``."""


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
    if "://" not in text:
        return text
    return _PARAMETER.sub(_without_secret, _PASSWORD.sub(_without_password, text))


def has_password(place: str) -> bool:
    """Whether a URL carries one, or what stands for one."""
    return _PASSWORD.search(place) is not None


def _without_password(found: re.Match[str]) -> str:
    return f"{found['user'] or found['web']}***@"


def _without_secret(found: re.Match[str]) -> str:
    return f"{found[1]}=***" if _SECRET.fullmatch(unquote(found[1])) else found[0]


def joined(place: str, *names: str) -> str:
    """A file or folder below a place, separated as there."""
    if is_url(place):
        return "/".join((place.removesuffix("/"), *names))
    return str(Path(place, *names))


def has_magic(place: str) -> bool:
    """Whether it is a pattern, with ``*``, ``?`` or ``[``. The query of a web address is none."""
    return patterns.has_magic(place.split("?", 1)[0] if place[:4].lower() == "http" else place)
