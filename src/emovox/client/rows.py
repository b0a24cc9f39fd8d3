"""From what a server sends to results and errors of the library.

Keys that are not known here are those of a newer server, and left alone.
"""

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
)
from emovox.results import Adaptation, Prediction, Quality, Segment, Window

__all__ = ["prediction", "raised", "segment", "window"]

Row = Mapping[str, Any]

_RAISED: Mapping[str, type[EmovoxError]] = {
    "not_audio": AudioDecodeError,
    "unusable_sound": AudioValueError,
    "too_long": AudioTooLongError,
    "bad_label": LabelError,
    "bad_profile": ProfileError,
    "bad_argument": ConfigError,
}
"""Code of an error document -> what the recogniser would have raised."""


def raised(document: Row, retry_after: str | None = None) -> EmovoxError:
    """The error that an error document tells of; ``retry_after`` is the header of that name."""
    code, message = document["error"]["code"], document["error"]["message"]
    if code in _RAISED:
        return _RAISED[code](message)
    wait_s = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return ServerError(code, message, retry_after_s=wait_s)


def window(row: Row) -> Window:
    """What `Window.to_dict` gave."""
    return Window(row["start_s"], row["end_s"], row["scores"], row["speech"])


def segment(row: Row, *, file: str | None = None) -> Segment:
    """What `Segment.to_dict` gave, of a sound that goes by the name ``file`` here."""
    return Segment(
        start_s=row["start_s"],
        end_s=row["end_s"],
        label=row["label"],
        confidence=row["confidence"],
        scores=row["scores"],
        reason=row["reason"],
        file=file,
        channel=row["channel"],
        adaptation=_adaptation(row),
    )


def prediction(row: Row, *, file: str | None = None, model: str | None = None) -> Prediction:
    """What `Prediction.to_dict` gave, of a sound that goes by the name ``file`` here."""
    if "error" in row:
        return Prediction(label=None, file=file, error=row["error"])
    return Prediction(
        label=row["label"],
        scores=row["scores"],
        confidence=row["confidence"],
        duration_s=row["end_s"],
        quality=None if row["quality"] is None else _quality(row["quality"]),
        reason=row["reason"],
        file=file,
        channel=row["channel"],
        model=model,
        adaptation=_adaptation(row),
    )


def _adaptation(row: Row) -> Adaptation | None:
    found = row.get("adaptation")
    return None if found is None else Adaptation(**found)


def _quality(row: Row) -> Quality:
    return Quality(
        level_dbfs=row["level_dbfs"],
        peak_dbfs=row["peak_dbfs"],
        clipped=row["clipped"],
        speech_s=row["speech_s"],
        warnings=tuple(row["warnings"]),
    )
