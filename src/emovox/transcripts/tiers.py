"""Which tiers of a Praat or ELAN file are segments of speech, and whose; shared by both formats."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from emovox.errors import TranscriptError
from emovox.results import TranscriptSegment, Word
from emovox.transcripts.entries import Entry, clean_text, group_words

__all__ = ["EMOTION", "NO_SPEAKER", "Lane", "Span", "Tier", "make_lanes", "select_entries"]

EMOTION = "emotion"
"""What the name of a tier of labels ends with."""

NO_SPEAKER = "speech"
"""Name of the tier of a transcript without speakers."""

_PART = re.compile(r"^(?:(?P<speaker>.*?)[\s_/:|-]+)?(?P<kind>[^\s_/:|-]+)$")
_WORDS = frozenset({"word", "words", "orthography"})
_OTHERS = frozenset(
    {"phone", "phones", "phoneme", "phonemes", "segmentation", "syllable", "syllables", "pos", "lemma"}
)
_NO_SPEAKERS = frozenset(
    {
        *(
            "",
            "default",
            "label",
            "labels",
            "segment",
            "segments",
            "sentence",
            "sentences",
            NO_SPEAKER,
            "text",
        ),
        *("transcript", "transcription", "transcriptions", "utterance", "utterances", "mark", "turns"),
    }
)
_COPY = re.compile(r" \(\d{1,6}\)$")
"""A tier holds no overlaps: what overlaps is in ``Anna (2)``."""


@dataclass(slots=True)
class Tier:
    """A tier of intervals."""

    name: str
    entries: list[Entry] = field(default_factory=list)
    speaker: str | None = None
    """Where the file names one besides the tier's name."""

    @property
    def base(self) -> str:
        """Its name without the number of an overlapping tier."""
        return _COPY.sub("", self.name)

    @property
    def kind(self) -> str:
        """``words``, ``phones``, `EMOTION` or ``speech``, by the last part of its name."""
        match = _PART.match(self.base.strip().lower())
        last = match["kind"] if match else ""
        if last in _WORDS:
            return "words"
        return "phones" if last in _OTHERS else EMOTION if last == EMOTION else "speech"

    def find_speaker(self) -> str | None:
        """Return whose tier it is: as the file says, or by its name unless that is a general one."""
        if self.speaker and clean_text(self.speaker):
            return clean_text(self.speaker)
        name = clean_text(self.base) or ""
        if self.kind != "speech":
            match = _PART.match(name)
            name = (match["speaker"] or "") if match else ""
        return None if name.lower() in _NO_SPEAKERS else name


class Span(NamedTuple):
    """A segment to write."""

    start_ms: int
    end_ms: int
    label: str
    text: str | None


@dataclass(slots=True)
class Lane:
    """What is written of one speaker or channel, without overlaps: a tier of labels, perhaps one of text."""

    name: str
    speaker: str | None
    spans: list[Span] = field(default_factory=list)
    has_text: bool = False
    """Whether there is a tier of text."""

    @property
    def emotion_name(self) -> str:
        """Name of the tier of labels."""
        return _emotion_name(self.name)


def make_lanes(spans: Iterable[tuple[str, str | None, Span]]) -> list[Lane]:
    """Sort segments into lanes; a lane ``Anna (2)`` has those that overlap with others of Anna.

    Args:
        spans: name of the lane, speaker and segment, in the order of their starts.
    """
    lanes: list[Lane] = []
    taken: set[str] = set()
    ends: dict[tuple[str, str | None], list[tuple[int, int]]] = {}
    for name, speaker, span in spans:
        free = ends.setdefault((name, speaker), [])
        if free and free[0][0] <= span.start_ms:
            number = heapq.heappop(free)[1]
        else:
            number = len(lanes)
            lanes.append(_make_lane(name, speaker, len(free) + 1, taken))
        lanes[number].spans.append(span)
        heapq.heappush(free, (span.end_ms, number))
    has_text = any(span.text for lane in lanes for span in lane.spans)
    for lane in lanes:
        lane.has_text = has_text
    return lanes


def _make_lane(name: str, speaker: str | None, number: int, taken: set[str]) -> Lane:
    """A lane whose tiers have names that are not taken; a speaker called ``words`` is no tier of words."""
    base = name if Tier(name).kind == "speech" else f"{name} speaker"
    while True:
        lane = Lane(base if number == 1 else f"{base} ({number})", speaker)
        if not {lane.name, lane.emotion_name} & taken:
            taken |= {lane.name, lane.emotion_name}
            return lane
        number += 1


def select_entries(tiers: Sequence[Tier], tier: str | None = None) -> Iterator[Entry]:
    """Yield the segments of the tiers of speech; of several tiers, one after the other.

    Tiers of words, phones and emotions are used only where there is no other: words are joined to segments.

    Raises:
        TranscriptError: there is no tier of that name, or none at all.
    """
    if tier is not None:
        chosen = [one for one in tiers if one.name == tier]
        if not chosen:
            names = ", ".join(repr(one.name) for one in tiers[:20])
            raise TranscriptError(f"it has no tier {tier!r} of intervals; there are {names or 'none'}")
        for one in chosen:
            yield from _read_tier(one, one)
        return
    by_kind: dict[str, list[Tier]] = {"speech": [], "words": [], EMOTION: [], "phones": []}
    for one in tiers:
        by_kind[one.kind].append(one)
    labels = {one.name: one for one in by_kind[EMOTION]}
    # The tier of labels beside one of text has all segments, those without text included.
    pairs = [(one, labels.get(_emotion_name(one.name), one)) for one in by_kind["speech"]]
    if not any(times.entries for _, times in pairs):
        pairs = [(one, one) for one in by_kind["words"] or by_kind[EMOTION]]
    if not pairs:
        raise TranscriptError("it has no tier of intervals; expected one per speaker, or one in all")
    for one, times in pairs:
        yield from _read_tier(one, times)


def _read_tier(tier: Tier, times: Tier) -> Iterator[Entry]:
    """Yield the segments of ``times``, with the text that ``tier`` has at the same time."""
    speaker = tier.find_speaker()
    if tier.kind == "words":
        yield from _join_words(tier, speaker)
        return
    found = (entry.segment for entry in tier.entries)
    texts = {(one.start_s, one.end_s): one.text for one in found if one is not None and tier.kind != EMOTION}
    for entry in times.entries:
        if entry.segment is None:
            yield entry
        else:
            span = entry.segment.start_s, entry.segment.end_s
            yield Entry(TranscriptSegment(*span, texts.get(span), speaker))


def _emotion_name(name: str) -> str:
    """The tier of labels beside a tier of text: ``Anna (2)`` -> ``Anna emotion (2)``."""
    base = _COPY.sub("", name)
    return (EMOTION if base == NO_SPEAKER else f"{base} {EMOTION}") + name[len(base) :]


def _join_words(tier: Tier, speaker: str | None) -> Iterator[Entry]:
    yield from (entry for entry in tier.entries if entry.segment is None)
    words = [
        (Word(one.start_s, one.end_s, one.text), speaker)
        for one in (entry.segment for entry in tier.entries)
        if one is not None and one.text
    ]
    yield from map(Entry, group_words(sorted(words, key=lambda pair: pair[0].start_s)))
