"""SubRip (.srt) and WebVTT (.vtt) subtitles.

Sources: W3C, "WebVTT: The Web Video Text Tracks Format" (2019). SubRip has no standard; a cue is a number, a
line of times and lines of text, up to the next line of times.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from emovox.results import TranscriptSegment
from emovox.transcripts.entries import Entry, clean_text, make_entry, quote

__all__ = ["name_speakers", "read_srt", "read_vtt", "split_caption"]

_TIME = r"(-?)(?:(\d{1,6}):)?(\d{1,2}):(\d{1,2}(?:[.,]\d{1,9})?)"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?", re.ASCII)
_SRT_MARKUP = re.compile(r"</?(?:[biusv]|font|c)(?:[.\s][^<>]*)?>|\{\\[^{}]*\}", re.IGNORECASE)
_VTT_MARKUP = re.compile(r"</?(?:[a-z][^<>]*)?>|<[\d:.]+>", re.IGNORECASE)
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]+)>")

_LABEL_LINE = re.compile(r"\[(?:no label: [\w ]+(?: [01]\.\d\d)?|[^\[\]]{1,80} [01]\.\d\d)\]")
"""The label that our captions end with."""
_BRACKETED_SPEAKER = re.compile(r"\[([^\[\]]{1,80})\]:\s*")
"""As WhisperX writes it."""
_NAMED_SPEAKER = re.compile(r"([^\W\d_][\w .'-]{0,39}):\s+(?=\S)")


def read_srt(text: str) -> Iterator[Entry]:
    """Yield the cues of SubRip subtitles."""
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if "-->" in line and _begins_cue(lines, n)]
    for start, end in pairwise([*starts, len(lines)]):
        body = lines[start + 1 : end]
        if end < len(lines) and body and body[-1].strip().isdecimal():
            del body[-1]  # the number of the next cue
        spoken, speaker = split_caption([_SRT_MARKUP.sub("", line) for line in body])
        yield _make_cue(start + 1, lines[start], spoken, speaker)


def _begins_cue(lines: Sequence[str], n: int) -> bool:
    """Whether a line with an arrow is one of times, be they damaged, rather than text."""
    before = lines[n - 1].strip() if n else ""
    return not before or before.isdecimal() or _TIMES.fullmatch(lines[n]) is not None


def read_vtt(text: str) -> Iterator[Entry]:
    """Yield the cues of WebVTT subtitles; a ``<v NAME>`` is the speaker."""
    lines = text.splitlines()
    n = 0
    while n < len(lines):
        if "-->" not in lines[n]:
            n += 1
            continue
        times, position = lines[n], n + 1
        n += 1
        body: list[str] = []
        while n < len(lines) and lines[n].strip() and "-->" not in lines[n]:
            body.append(lines[n])
            n += 1
        # A cue names its speakers in tags: of several, the sound is of all.
        speakers = dict.fromkeys(clean_text(html.unescape(name)) for name in _VOICE.findall("\n".join(body)))
        plain = [html.unescape(_VTT_MARKUP.sub("", line)) for line in body]
        spoken, speaker = split_caption(plain)
        named = ", ".join(name for name in speakers if name)
        yield _make_cue(position, times, spoken, named or speaker)


def _make_cue(position: int, times: str, text: str, speaker: str | None) -> Entry:
    match = _TIMES.fullmatch(times)
    if match is None:
        expected = "expected two times such as 00:00:01,000 --> 00:00:02,500"
        return Entry(None, f"line {position}: {quote(times.strip())} is no time span; {expected}")
    parts = match.groups()
    return make_entry(f"line {position}", _seconds(parts[:4]), _seconds(parts[4:]), text, speaker)


def _seconds(parts: Sequence[str]) -> float:
    sign, hours, minutes, rest = parts
    whole_s = int(hours or 0) * 3600 + int(minutes) * 60
    time_s = round(whole_s + float(rest.replace(",", ".")), 9)
    return -time_s if sign else time_s


def split_caption(lines: Sequence[str]) -> tuple[str, str | None]:
    """Return the spoken text of a caption, and the speaker that it begins with, as in ``[Anna]: Hello``.

    A last line such as ``[happy 0.71]``, as our captions have, is left out.
    """
    kept = [line.strip() for line in lines if line.strip()]
    if kept and _LABEL_LINE.fullmatch(kept[-1]):
        del kept[-1]
    text = " ".join(kept)
    match = _BRACKETED_SPEAKER.match(text)
    return (text, None) if match is None else (text[match.end() :], match[1])


def name_speakers(segments: Iterable[TranscriptSegment]) -> list[TranscriptSegment]:
    """Take ``Anna: Hello`` for a speaker and what she says, where every caption begins so, two at least."""
    found = list(segments)
    matches = [_NAMED_SPEAKER.match(one.text) for one in found if one.text]
    if len(matches) < 2 or not all(matches) or any(one.speaker for one in found):
        return found
    return [_name_speaker(one) for one in found]


def _name_speaker(segment: TranscriptSegment) -> TranscriptSegment:
    match = _NAMED_SPEAKER.match(segment.text or "")
    if match is None:
        return segment
    text = clean_text((segment.text or "")[match.end() :])
    return TranscriptSegment(segment.start_s, segment.end_s, text, match[1].strip(), segment.words)
