"""Praat TextGrid files, long and short.

Source: Praat's manual, "TextGrid file formats" (P. Boersma and D. Weenink): only free-standing numbers, flags
and quoted strings count, so that one parser reads both forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from emovox.transcripts.entries import Entry, make_entry, quote
from emovox.transcripts.tiers import Lane, Tier, select_entries

__all__ = ["format_textgrid", "read_textgrid"]

_TOKEN = re.compile(r'"([^"]*(?:""[^"]*)*)"|(?<!\S)([+-]?[\d.][\d.eE+-]*)%?(?!\S)')
_TIERS = ("IntervalTier", "TextTier")


def read_textgrid(text: str, *, tier: str | None = None) -> Iterator[Entry]:
    """Yield the intervals with text of the tiers of speech (see `select_entries`).

    Raises:
        TranscriptError: there is no such tier.
    """
    tiers: list[Tier] = []
    numbers: list[str] = []
    names_tier = is_intervals = False
    n_labels = 0
    for token in _TOKEN.finditer(text):
        if token[1] is None:
            numbers.append(token[2])
            continue
        string = token[1].replace('""', '"')
        if names_tier:
            names_tier, n_labels = False, 0
            if is_intervals:
                tiers.append(Tier(string))
        elif string in _TIERS and len(numbers) in (0, 3):  # a label has the numbers of its times before it
            names_tier, is_intervals = True, string == "IntervalTier"
        elif tiers and is_intervals:
            n_labels += 1
            if string.strip():
                times = numbers[3:] if n_labels == 1 else numbers  # three are of the tier itself
                tiers[-1].entries.append(_make_entry(tiers[-1].name, n_labels, times, string))
        numbers = []
    return select_entries(tiers, tier)


def _make_entry(tier: str, number: int, times: Sequence[str], label: str) -> Entry:
    position = f"tier {quote(tier)}, interval {number}"
    if len(times) != 2:
        return Entry(None, f"{position}: {len(times)} times; expected xmin and xmax, in seconds")
    return make_entry(position, times[0], times[1], label)


def format_textgrid(lanes: Sequence[Lane], end_ms: int) -> Iterator[str]:
    """Yield the text of a TextGrid, in Praat's long form: tiers of text and of labels.

    Args:
        lanes: of the segments, each without overlaps.
        end_ms: end of the recording, in milliseconds.
    """
    tiers: dict[str, list[tuple[int, int, str]]] = {}
    for lane in lanes:
        if lane.has_text:
            tiers[lane.name] = [(span.start_ms, span.end_ms, span.text or "") for span in lane.spans]
        tiers[lane.emotion_name] = [(span.start_ms, span.end_ms, span.label) for span in lane.spans]
    yield 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
    yield f"xmin = 0\nxmax = {_format(end_ms)}\ntiers? <exists>\nsize = {len(tiers)}\nitem []:\n"
    for n, (name, spans) in enumerate(tiers.items(), 1):
        filled = list(_fill_gaps(spans, end_ms))
        yield f'    item [{n}]:\n        class = "IntervalTier"\n        name = {_quote(name)}\n'
        yield f"        xmin = 0\n        xmax = {_format(end_ms)}\n        intervals: size = {len(filled)}\n"
        for number, (start, end, label) in enumerate(filled, 1):
            yield f"        intervals [{number}]:\n            xmin = {_format(start)}\n"
            yield f"            xmax = {_format(end)}\n            text = {_quote(label)}\n"


def _fill_gaps(spans: Sequence[tuple[int, int, str]], end_ms: int) -> Iterator[tuple[int, int, str]]:
    """A tier covers the recording: between its labels are empty ones."""
    before = 0
    for start, end, label in spans:
        if start > before:
            yield before, start, ""
        yield start, end, label
        before = end
    if before < end_ms:
        yield before, end_ms, ""


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _format(time_ms: int) -> str:
    """Seconds with the digits of milliseconds that are needed: 12340 -> 12.34."""
    return f"{time_ms // 1000}.{time_ms % 1000:03}".rstrip("0").rstrip(".")
