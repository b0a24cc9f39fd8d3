"""Label files of one line per segment: RTTM, CTM and Audacity's.

Sources: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan" (RTTM); the manual of
sclite (CTM); Audacity's manual, "Importing and Exporting Labels".
"""

from __future__ import annotations

from collections.abc import Iterator

from emovox.results import Word
from emovox.transcripts.entries import Entry, group_words, make_entry, quote
from emovox.transcripts.subtitles import split_caption

__all__ = ["read_audacity", "read_ctm", "read_rttm"]

_NONE = ("<NA>", "<na>", "NA", "-", "")


def read_rttm(text: str) -> Iterator[Entry]:
    """Yield the ``SPEAKER`` lines; those of other types are left out."""
    for n, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        if len(fields) < 8:
            yield Entry(
                None, f"line {n}: {len(fields)} fields; expected SPEAKER file channel start duration ..."
            )
            continue
        speaker = None if fields[7] in _NONE else fields[7]
        spoken = None if fields[5] in _NONE else fields[5]
        yield _make_entry(n, fields[3], fields[4], spoken, speaker, fields[1])


def _make_entry(n: int, start: str, duration: str, text: str | None, speaker: str | None, file: str) -> Entry:
    entry = make_entry(f"line {n}", start, duration, text, speaker, file=file)
    if entry.segment is None:
        return entry
    start_s, length_s = entry.segment.start_s, entry.segment.end_s
    return make_entry(f"line {n}", start_s, round(start_s + length_s, 9), text, speaker, file=file)


def read_ctm(text: str) -> Iterator[Entry]:
    """Yield segments joined from the words (see `group_words`); several channels are speakers."""
    words: dict[str, list[tuple[Word, str | None]]] = {}
    channels: dict[str, set[str]] = {}
    for n, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        if len(fields) < 5:
            yield Entry(None, f"line {n}: {len(fields)} fields; expected file channel start duration word")
            continue
        file, channel, start, duration, said, *more = fields
        entry = _make_entry(n, start, duration, said, channel, file)
        if entry.segment is None:
            yield entry
            continue
        if entry.segment.text is None or said.startswith("<"):  # <ALT>, <UNK>, <SIL>
            continue
        speaker = more[2] if len(more) > 2 and more[2] not in _NONE else None
        word = Word(entry.segment.start_s, entry.segment.end_s, entry.segment.text, _parse_probability(more))
        words.setdefault(file, []).append((word, speaker or channel))
        channels.setdefault(file, set()).add(channel)
    for file, found in words.items():
        single = channels[file] if len(channels[file]) == 1 else set()
        found.sort(key=lambda pair: pair[0].start_s)
        pairs = ((word, None if speaker in single else speaker) for word, speaker in found)
        yield from (Entry(segment, None, file) for segment in group_words(pairs))


def _parse_probability(fields: list[str]) -> float | None:
    try:
        probability = float(fields[0])
    except (IndexError, ValueError):
        return None
    return probability if 0 <= probability <= 1 else None  # not nan


def read_audacity(text: str) -> Iterator[Entry]:
    """Yield the labels; lines with frequencies are left out."""
    for n, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("\\"):
            continue
        start, _, rest = line.partition("\t")
        end, _, label = rest.partition("\t")
        if not rest:
            yield Entry(
                None, f"line {n}: {quote(line)}; expected start, end and label, with tabs between them"
            )
            continue
        cut = label.rfind("[")
        lines = [label[:cut], label[cut:]] if cut >= 0 else [label]
        spoken, speaker = split_caption(lines)
        yield make_entry(f"line {n}", start, end, spoken, speaker)
