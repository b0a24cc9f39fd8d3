"""What the readers of label files share: an entry, its checks, and the text of captions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from emovox.results import TranscriptSegment, Word

__all__ = ["MAX_TIME_S", "Entry", "clean_text", "group_words", "make_entry", "quote"]

MAX_TIME_S = 1e7
"""Times beyond, four months, are no times of a recording."""

_PAUSE_S = 0.5
"""Words further apart belong to two segments."""

_INVALID = {n: None for n in (*range(32), *range(127, 160), 0xFFFE, 0xFFFF) if chr(n) not in "\t\n\r\x85"}
"""Control characters, which neither XML nor a terminal should get."""

_SENTENCE_END = re.compile(r"[.!?。！？…][\"'”’)]*$")


class Entry(NamedTuple):
    """A segment of a label file, or why a part of it is none."""

    segment: TranscriptSegment | None
    problem: str | None = None
    """Begins with its position, such as ``line 7``."""
    file: str | None = None
    """The recording that it names; ``None``: the format names none."""


def clean_text(text: object) -> str | None:
    """Return text in one line, without control characters and lone surrogates; ``None`` if none is left."""
    if not isinstance(text, str):
        return None
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join(text.translate(_INVALID).split()) or None


def quote(text: str) -> str:
    """Return a part of a file for a message, shortened."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def make_entry(
    position: str,
    start: object,
    end: object,
    text: object = None,
    speaker: object = None,
    *,
    words: Sequence[Word] = (),
    file: str | None = None,
) -> Entry:
    """Return the entry of a segment, or of the problem that its times are no seconds."""
    start_s, end_s = _parse_number(start), _parse_number(end)
    if start_s is None or end_s is None:
        given = quote(str(start if start_s is None else end))
        return Entry(None, f"{position}: {given} is no time; expected seconds", file)
    segment = TranscriptSegment(start_s, end_s, clean_text(text), clean_text(speaker), tuple(words))
    return Entry(segment, None, file)


def _parse_number(value: object) -> float | None:
    """A finite time in seconds out of a JSON number or the text of one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        time_s = float(value)
    except (ValueError, OverflowError):
        return None
    return time_s if math.isfinite(time_s) and abs(time_s) <= MAX_TIME_S else None


def group_words(words: Iterable[tuple[Word, str | None]]) -> Iterator[TranscriptSegment]:
    """Join words to segments, which end with a sentence, with a pause of 0.5 s, or where the speaker changes.

    Args:
        words: in order of time, each with its speaker.
    """
    group: list[Word] = []
    current: str | None = None
    for word, speaker in words:
        if group and (
            speaker != current
            or word.start_s - group[-1].end_s >= _PAUSE_S
            or _SENTENCE_END.search(group[-1].text)
        ):
            yield _join(group, current)
            group = []
        group.append(word)
        current = speaker
    if group:
        yield _join(group, current)


def _join(words: Sequence[Word], speaker: str | None) -> TranscriptSegment:
    text = clean_text(" ".join(word.text for word in words))
    end_s = max(word.end_s for word in words)
    return TranscriptSegment(words[0].start_s, end_s, text, clean_text(speaker), tuple(words))
