"""Transcripts and label files: read as segments of speech, written from the rows of results.

::

    read_transcript("call.srt").segments      SRT, WebVTT, TextGrid, ELAN, RTTM, CTM, Audacity, JSON, CSV
    format_rows("vtt", rows)                  SRT, WebVTT, TextGrid, ELAN, RTTM, Audacity
    summarize_speakers(results)               what each speaker expressed

The readers are our own, since srt 3.5, webvtt-py 0.6 and praatio 6.2 put a damaged cue into the text of the
one before, drop it, or refuse the whole file. Tests read what is written with these libraries.
"""

from __future__ import annotations
