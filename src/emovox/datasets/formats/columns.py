"""Columns of foreign tables: their usual names, and the spans of time that they give."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from emovox.datasets.formats.base import FIELDS, RawRow

__all__ = ["COLUMN_NAMES", "find_column", "make_row", "parse_seconds", "read_span", "span_columns"]

COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "path": (
        *("path", "file", "filename", "file_name", "filepath", "file_path", "paths", "files", "filenames"),
        *("wav", "wav_path", "wav_file", "wavfile", "wav_filename", "wavpath", "audio", "audio_path"),
        *("audio_file", "audio_filename", "audio_filepath", "audiofile", "audiopath", "sound", "clip"),
        *("clip_path", "recording", "utterance_path", "full_path", "fullpath", "location"),
    ),
    "emotion": (
        *("emotion", "label", "emo", "emotion_label", "class", "class_label", "category", "labels"),
        *("emotions", "emotion_name", "emotion_class", "emotional_state", "expressed_emotion", "classes"),
        *("emotion_category", "target"),
    ),
    "speaker": (
        *("speaker", "speaker_id", "spk", "spk_id", "speakers", "speaker_name", "speakerid", "actor"),
        *("actor_id", "actors", "subject", "subject_id", "participant", "participant_id", "client_id"),
    ),
    "sex": ("sex", "gender"),
    "age": ("age",),
    "language": ("language", "lang", "locale"),
    "text": ("text", "text_id", "sentence", "transcript", "transcription", "statement"),
    "intensity": ("intensity", "emotional_intensity"),
    "start": ("start", "start_s", "start_time", "begin", "begin_s", "onset", "xmin", "tmin", "start_ms"),
    "end": ("end", "end_s", "end_time", "stop", "xmax", "tmax", "end_ms"),
    "offset": ("offset", "offset_s", "offset_ms"),
    "duration": ("duration", "dur", "duration_s", "dur_s", "length", "len", "length_s", "duration_ms"),
    "corpus": ("corpus", "dataset", "database"),
    "annotator": ("annotator", "annotator_id", "rater", "rater_id", "evaluator", "evaluator_id"),
    "part": ("part", "split", "set", "subset", "partition", "split_set"),
}
"""Field -> the usual names of its column, in the order in which they are looked for."""

_WHOLE = frozenset({"id", "corpus", "speaker", "emotion", "original"})
"""Columns by which a table is known to be one of ours."""

_SECONDS = frozenset({"s", "sec", "secs", "second", "seconds", "ss", "mm", "hh"})
_MILLISECONDS = frozenset({"ms", "msec", "msecs", "millisecond", "milliseconds"})
_COUNTS = frozenset({"sample", "samples", "frame", "frames"})
# Words in names of columns of time that say nothing of their own, as in `segment_start_time`.
_FILLERS = frozenset({"time", "times", "timestamp", "seg", "segment", "utt", "utterance", "clip", "in", "at"})

_TIMEDELTA = re.compile(r"(?:(\d+) days? ?\+?)?(?:(\d+):)?(\d+):(\d\d(?:[.,]\d+)?)", re.ASCII)
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+", re.ASCII)


def find_column(names: Iterable[str], field: str) -> str | None:
    """The column that holds a field of an utterance, by its usual names; ``None``: there is none."""
    return _find(_by_plain_name(names), field)


def _by_plain_name(names: Iterable[str]) -> dict[str, str]:
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(re.sub(r"[\s-]+", "_", name.strip().lower()), name)
    return plain


def _find(plain: Mapping[str, str], field: str) -> str | None:
    return next((plain[alias] for alias in COLUMN_NAMES[field] if alias in plain), None)


def span_columns(names: Iterable[str]) -> dict[str, str]:
    """The columns that give a span of a file: some of ``start``, ``end`` and ``duration``.

    ``offset`` is the start, as in NeMo and librosa, unless another column is the start and none is a
    duration: then it is the end, as in tables of events (``onset``, ``offset``). A duration without a start
    is that of the file and gives no span.
    """
    plain = _by_plain_name(names)
    found = {field: _find(plain, field) for field in ("start", "end", "offset", "duration")}
    for column in plain.values():
        if (time := _parse_time_name(column)) and found[time[0]] is None:
            found[time[0]] = column
    if found["offset"] is not None:
        if found["start"] is None:
            found["start"] = found["offset"]
        elif found["end"] is None and found["duration"] is None:
            found["end"] = found["offset"]
    if found["start"] is None or found["end"] is not None:
        found["duration"] = None
    return {field: name for field in ("start", "end", "duration") if (name := found[field]) is not None}


def _parse_time_name(name: str) -> tuple[str, str] | None:
    """The field that a column of times gives, and its unit: ``s``, ``ms`` or ``samples``.

    >>> [_parse_time_name(name) for name in ("Begin Time - hh:mm:ss.ms", "StartTime (ms)", "end_sample", "n")]
    [('start', 's'), ('start', 'ms'), ('end', 'samples'), None]
    """
    words = re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower())
    units = {word for word in words if word in _SECONDS | _MILLISECONDS | _COUNTS}
    rest = [word for word in words if word not in units | _FILLERS]
    fields = ("start", "end", "offset", "duration")
    field = next((field for field in fields if len(rest) == 1 and rest[0] in COLUMN_NAMES[field]), None)
    if field is None:
        return None
    return field, "samples" if units & _COUNTS else "ms" if units and units <= _MILLISECONDS else "s"


def read_span(columns: Mapping[str, str], cells: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Start and end in seconds, out of the cells of `span_columns`; ``None`` where a cell is empty.

    Raises:
        ValueError: a cell is no time.
    """
    times: dict[str, float] = {}
    for field, column in columns.items():
        text = cells.get(column, "").strip()
        if text.lower() not in ("", "nan", "none", "null", "<na>", "nat"):
            _, unit = _parse_time_name(column) or ("", "s")
            if unit == "samples":
                raise ValueError(f"{column!r} counts samples; expected seconds, as 'start' and 'end'")
            times[field] = parse_seconds(text) / (1000 if unit == "ms" else 1)
    start, end = times.get("start"), times.get("end")
    if "duration" in times:
        end = round((start or 0.0) + times["duration"], 9)
    # Some tables write -1 for the end of the file.
    return start or None, None if end == -1 else end


def parse_seconds(text: str) -> float:
    """Seconds out of ``1.25``, ``1,25``, ``01:02.5`` or ``0 days 00:00:01.250000``.

    Raises:
        ValueError: it is none of these.
    """
    clock = _TIMEDELTA.fullmatch(text.strip())
    if clock is None:
        return float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text.strip()) else text)
    days, hours, minutes, rest = clock.groups()
    whole_s = ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes)) * 60
    return round(whole_s + float(rest.replace(",", ".")), 9)  # pandas counts nanoseconds


def make_row(where: str, cells: Mapping[str, Any]) -> RawRow:
    """A row out of cells under any usual names of their columns."""
    texts = {name: _text(value) for name, value in cells.items() if value is not None}
    plain = _by_plain_name(texts)
    path = _find(plain, "path")
    if texts.keys() >= _WHOLE:
        own = {name: text for name, text in texts.items() if name in FIELDS}
        numbers = {name: text for name, text in texts.items() if name not in FIELDS and _is_number(text)}
        return RawRow(where, texts[path] if path else "", own, {**_own_extra(texts), **numbers}, whole=True)
    spans = span_columns(texts)
    found = {field: _find(plain, field) for field in COLUMN_NAMES}
    taken = {name for field, name in found.items() if field not in ("start", "end", "offset", "duration")}
    named = {
        field: texts[name]
        for field, name in found.items()
        if name is not None and field not in ("path", "start", "end", "offset", "duration")
    }
    extra = {
        name: " ".join(text.split()) for name, text in texts.items() if name not in {*taken, *spans.values()}
    }
    trouble = None
    try:
        start, end = read_span(spans, texts)
        named |= {} if start is None else {"start": repr(start)}
        named |= {} if end is None else {"end": repr(end)}
    except ValueError as error:
        trouble = f"its times are no seconds: {error}"
    return RawRow(where, texts[path] if path else "", named, extra, trouble=trouble)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and value and all(map(_is_weight, value.values())):  # shares of labels
        parts = [f"{label}:{weight}" for label, weight in value.items()]
        return ",".join(parts * 2)  # twice the same shares: with a comma it is no label such as "class:1"
    if isinstance(value, Mapping):  # Hugging Face's form of a sound
        return str(value["path"]) if value.get("path") else json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(value) if isinstance(value, list | bool) else str(value)


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_number(text: str) -> bool:
    try:
        return bool(text) and math.isfinite(float(text))
    except ValueError:
        return False


def _own_extra(texts: Mapping[str, str]) -> dict[str, str]:
    """Our own ``extra``, which is JSON in its cell."""
    try:
        extra = json.loads(texts.get("extra") or "{}")
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        return {"extra": texts["extra"]}
    return {str(k): str(v) for k, v in extra.items()}
