"""The sound of a page: its length, its loudness over time, and itself as MP3 in a data URL."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emovox import audio
from emovox.audio import SAMPLE_RATE, Source

if TYPE_CHECKING:
    import soundfile

__all__ = ["MAX_BYTES", "PageSound", "summarize_sound"]

MAX_BYTES = 16_000_000
"""Of an embedded MP3: 2 hours at 16 kbit/s. In base64 it takes a third more."""

_LONG_S = 3600.0
"""A longer recording is encoded at 16 instead of 32 kbit/s."""

_DELAY = 1105
"""Samples that an MP3 is late: 576 of LAME's encoder and 529 of every decoder.

libsndfile writes no tag by which players make up for it. The sound is encoded from there on, so that its
times are right and its first 0.07 s are missing.
"""

_STEP = SAMPLE_RATE // 20
"""Samples of one value of the loudness."""

_MAX_PEAKS = 2000


@dataclass(frozen=True, slots=True)
class PageSound:
    """What a page shows and plays of a recording."""

    duration_s: float
    peaks: tuple[float, ...]
    """Largest absolute values of equal stretches, 0 to 1; at most 2000."""
    data_url: str | None
    """``None``: it was not asked for, or is not possible."""
    problem: str | None = None
    """Why there is no ``data_url``."""


def summarize_sound(
    source: Source, *, sample_rate: int | None = None, encode: bool = True, max_bytes: int = MAX_BYTES
) -> PageSound:
    """Read a recording once, block by block; what is kept is bounded.

    Args:
        source: a path, bytes, a binary file object, or an array.
        sample_rate: Hz, for an array.
        encode: whether the mix of its channels is encoded as MP3.
        max_bytes: of the MP3.

    Raises:
        AudioError: it cannot be read.
    """
    import soundfile

    duration_s = audio.probe(source, sample_rate=sample_rate).duration_s or 0.0
    file, problem = io.BytesIO(), None
    mp3: soundfile.SoundFile | None = None
    if encode:
        try:
            mp3 = _make_encoder(file, 16 if duration_s > _LONG_S else 32)
        except (soundfile.SoundFileError, ValueError) as error:
            problem = f"this build of libsndfile writes no MP3 ({error})"
    peaks: list[np.ndarray] = []
    n = 0
    for block in audio.blocks(source, sample_rate=sample_rate, block_s=10.0):
        x = block[0]
        n += len(x)
        padded = np.pad(np.abs(x), (0, -len(x) % _STEP))
        peaks.append(padded.reshape(-1, _STEP).max(axis=1))
        if mp3 is not None:
            mp3.write(x[max(0, _DELAY - (n - len(x))) :])
            if file.tell() > max_bytes:
                problem = f"its sound takes more than {max_bytes / 1e6:g} MB as MP3"
                mp3.close()
                mp3, file = None, io.BytesIO()
    if mp3 is not None:
        mp3.close()
    data = base64.b64encode(file.getvalue()).decode() if encode and problem is None else None
    levels = np.concatenate(peaks)
    stretches = np.array_split(levels, min(len(levels), _MAX_PEAKS))
    return PageSound(
        duration_s=n / SAMPLE_RATE,
        peaks=tuple(round(float(part.max()), 3) for part in stretches),
        data_url=None if data is None else f"data:audio/mpeg;base64,{data}",
        problem=problem,
    )


def _make_encoder(file: io.BytesIO, kbit_s: int) -> soundfile.SoundFile:
    """Open an encoder with a constant bit rate: its places are exact when a player seeks."""
    import soundfile

    arguments = (file, "w", SAMPLE_RATE, 1, "MPEG_LAYER_III")
    try:
        level = {16: 0.94, 32: 0.85}[kbit_s]
        return soundfile.SoundFile(*arguments, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    except TypeError:  # soundfile before 0.13 does not choose
        return soundfile.SoundFile(*arguments, format="MP3")
