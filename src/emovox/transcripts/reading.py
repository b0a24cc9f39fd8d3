"""Read a transcript or a label file, whatever its format and encoding."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emovox.audio import AUDIO_SUFFIXES
from emovox.errors import ManifestError, TranscriptError, did_you_mean
from emovox.results import TranscriptSegment
from emovox.transcripts.elan import read_eaf
from emovox.transcripts.entries import Entry
from emovox.transcripts.line_labels import read_audacity, read_ctm, read_rttm
from emovox.transcripts.subtitles import name_speakers, read_srt, read_vtt
from emovox.transcripts.tables import read_csv, read_json
from emovox.transcripts.textgrid import read_textgrid

__all__ = ["MAX_SEGMENTS", "MAX_TRANSCRIPT_BYTES", "Transcript", "detect_format", "read_transcript"]

MAX_TRANSCRIPT_BYTES = 1 << 26
"""64 MiB: 100,000 segments with their words have half of it."""

MAX_SEGMENTS = 200_000

_N_LINES = 50
"""Lines by which a format is known."""

_READERS: dict[str, Callable[[str], Iterator[Entry]]] = {
    "srt": read_srt,
    "vtt": read_vtt,
    "rttm": read_rttm,
    "ctm": read_ctm,
    "audacity": read_audacity,
    "json": read_json,
    "csv": read_csv,
}
_TIER_READERS = {"textgrid": read_textgrid, "eaf": read_eaf}


@dataclass(frozen=True, slots=True)
class Transcript:
    """The segments of a file, in its order."""

    segments: tuple[TranscriptSegment, ...]
    format: str
    """``srt``, ``vtt``, ``textgrid``, ``eaf``, ``rttm``, ``ctm``, ``audacity``, ``json`` or ``csv``."""
    problems: tuple[str, ...] = ()
    """Parts of the file that are no segments: where, what was found, what was expected."""


def read_transcript(
    source: str | os.PathLike[str] | bytes,
    *,
    recording: str | None = None,
    tier: str | None = None,
) -> Transcript:
    """Read the segments of a transcript or label file. Its format is found by its content.

    UTF-8, UTF-16 and Windows-1252 are read. A part that cannot be read is one of ``problems``, and costs no
    other.

    Args:
        source: a path, or the bytes of a file.
        recording: the recording that it is about, by which a file of several is filtered.
        tier: of a TextGrid or an ELAN file, the only tier to read; all tiers of speech unless given.

    Raises:
        TranscriptError: it cannot be read, holds no segment, or none of ``recording``.

    >>> read_transcript(b"1\\n00:00:01,000 --> 00:00:02,500\\n[Anna]: Hello\\n").segments[0].speaker
    'Anna'
    """
    if isinstance(source, bytes):
        return _parse(source, recording, tier)
    try:
        return _parse(_read_bytes(Path(source)), recording, tier)
    except TranscriptError as error:
        raise TranscriptError(f"{os.fspath(source)}: {error}") from None


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise TranscriptError("a folder; expected a transcript or label file")
        with path.open("rb") as stream:
            return stream.read(MAX_TRANSCRIPT_BYTES + 1)
    except FileNotFoundError:
        raise TranscriptError("no such file; expected a transcript or label file") from None
    except (OSError, ValueError) as error:
        raise TranscriptError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _parse(content: bytes, recording: str | None, tier: str | None) -> Transcript:
    if len(content) > MAX_TRANSCRIPT_BYTES:
        raise TranscriptError(f"more than {MAX_TRANSCRIPT_BYTES >> 20} MiB, too large for a transcript")
    text = _decode(content)
    if not text.strip():
        raise TranscriptError("it is empty; expected segments with their times")
    form = detect_format(text)
    if tier is not None and form not in _TIER_READERS:
        raise TranscriptError(f"it has no tiers, as {form} never has; leave the tier {tier!r} out")
    entries = _TIER_READERS[form](text, tier=tier) if form in _TIER_READERS else _READERS[form](text)
    segments, problems = _collect(entries, recording)
    if not segments:
        raise TranscriptError(f"it holds no segment: {problems[0] if problems else f'an empty {form}'}")
    return Transcript(tuple(name_speakers(segments)), form, tuple(problems))


def _decode(content: bytes) -> str:
    from emovox.datasets.formats.csv_tables import decode_table

    try:
        text = decode_table(content)
    except ManifestError as error:
        raise TranscriptError(str(error).replace("save it as CSV", "save it as text")) from None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # its invalid bytes are kept as halves of surrogates
        text = content.removeprefix(b"\xef\xbb\xbf").decode("cp1252", "replace")
    return text.removeprefix("\ufeff")


def detect_format(text: str) -> str:
    """Return the format of a label file, by its first lines; ``csv`` if it is no other."""
    head = text.lstrip()[: 1 << 16]
    if head.startswith("WEBVTT"):
        return "vtt"
    if head.startswith("<"):
        return "eaf"
    if "ooTextFile" in head[:200]:
        return "textgrid"
    if head.startswith(("{", "[{", "[]")) or re.match(r"\[\s*\{", head):
        return "json"
    lines = [line for line in head.splitlines() if line.strip() and not line.startswith(";;")][:_N_LINES]
    if any(re.match(r"\s*-?[\d:.,]+\s*-->", line) for line in lines):
        return "srt"
    if any(re.match(r"SPEAKER\s", line) for line in lines):
        return "rttm"
    if lines and re.match(r"\s*-?[\d.,]+\t\s*-?[\d.,]+(\t|\s*$)", lines[0]):
        return "audacity"
    if any(re.match(r"\S+\s+\S+\s+-?[\d.]+\s+-?[\d.]+\s+\S", line) for line in lines):
        return "ctm"
    return "csv"


def _collect(entries: Iterator[Entry], recording: str | None) -> tuple[list[TranscriptSegment], list[str]]:
    """Sort entries into segments and problems; of those of several recordings, one's are kept."""
    found: list[Entry] = []
    for entry in entries:
        if len(found) >= MAX_SEGMENTS:
            raise TranscriptError(f"it has more than {MAX_SEGMENTS:,} segments; split it")
        found.append(entry)
    files = dict.fromkeys(entry.file for entry in found if entry.file is not None)
    if len(files) > 1:
        names = [name for name in files if recording is not None and _stem(name) == _stem(recording)]
        if not names:
            about = "name one" if recording is None else did_you_mean(_stem(recording), map(_stem, files))
            raise TranscriptError(f"it has segments of {len(files)} recordings, none {recording!r}: {about}")
        found = [entry for entry in found if entry.file in names]
    segments = [entry.segment for entry in found if entry.segment is not None]
    return segments, [entry.problem for entry in found if entry.problem is not None]


def _stem(name: str) -> str:
    path = Path(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name
