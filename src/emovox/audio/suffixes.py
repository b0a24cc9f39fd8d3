"""What does the name of a recording end with?"""

from __future__ import annotations

__all__ = ["AUDIO_SUFFIXES"]

AUDIO_SUFFIXES: frozenset[str] = frozenset(
    f".{kind}"
    for kind in (
        *("wav", "wave", "w64", "flac", "mp3", "ogg", "oga", "opus", "aif", "aiff", "au", "snd", "caf"),
        *("m4a", "m4b", "aac", "mp4", "mov", "webm", "weba", "mkv", "mka", "avi", "3gp", "amr", "wma", "mp2"),
    )
)
"""What counts as a recording inside a folder. A file named outright is opened whatever its suffix."""
