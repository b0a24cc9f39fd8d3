"""Transcripts and label files: read as segments of speech, written from the rows of results.

::

    read_transcript("call.srt").segments      SRT, WebVTT, TextGrid, ELAN, RTTM, CTM, Audacity, JSON, CSV
    format_rows("vtt", rows)                  SRT, WebVTT, TextGrid, ELAN, RTTM, Audacity
    summarize_speakers(results)               what each speaker expressed

The readers are our own, since srt 3.5, webvtt-py 0.6 and praatio 6.2 put a damaged cue into the text of the
one before, drop it, or refuse the whole file. Tests read what is written with these libraries.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["LABEL_FORMATS", "MEDIA_TYPES"]

LABEL_FORMATS: Mapping[str, str] = {
    "srt": ".srt",
    "vtt": ".vtt",
    "textgrid": ".TextGrid",
    "eaf": ".eaf",
    "audacity": ".txt",
    "rttm": ".rttm",
}
"""Format -> the suffix of its files."""

MEDIA_TYPES: Mapping[str, str] = {
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "textgrid": "text/x-textgrid",
    "eaf": "application/x-eaf+xml",
    "audacity": "text/x-audacity-labels",
    "rttm": "text/x-rttm",
}
"""Format -> its type in HTTP; only WebVTT's is registered."""
