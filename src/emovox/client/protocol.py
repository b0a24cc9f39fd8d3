"""What HTTP and WebSocket clients share: the header of the API key, and error documents as exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emovox.errors import (
    AudioDecodeError,
    AudioTooLongError,
    AudioValueError,
    ConfigError,
    EmovoxError,
    LabelError,
    ProfileError,
    ServerError,
    TranscriptError,
)

__all__ = ["authorization_header", "error_from_document"]

_ERRORS: Mapping[str, type[EmovoxError]] = {
    "not_audio": AudioDecodeError,
    "unusable_sound": AudioValueError,
    "too_long": AudioTooLongError,
    "bad_label": LabelError,
    "bad_profile": ProfileError,
    "bad_segments": TranscriptError,
    "bad_argument": ConfigError,
}
"""Code of an error document -> what the recognizer would have raised."""


def authorization_header(api_key: str | None) -> dict[str, str]:
    """Return the header with a key, without the white space around it, such as a file's last newline.

    Raises:
        ConfigError: no header can hold the key. httpx and websockets would raise as well, and print it.
    """
    if api_key is None:
        return {}
    key = api_key.strip() if isinstance(api_key, str) else ""
    if not (key and key.isascii() and key.isprintable()):
        raise ConfigError("the API key is unusable; expected a line of printable ASCII, as the server has it")
    return {"Authorization": f"Bearer {key}"}


def error_from_document(document: Mapping[str, Any], retry_after: str | None = None) -> EmovoxError:
    """Return the exception of an error document; ``retry_after`` is the header of that name."""
    code, message = document["error"]["code"], document["error"]["message"]
    if code in _ERRORS:
        return _ERRORS[code](message)
    wait_s = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return ServerError(code, message, retry_after_s=wait_s)
