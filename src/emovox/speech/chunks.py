"""Cut a recording into chunks of speech for a speech recogniser, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emovox._arrays import Bools, Floats
from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import FRAME_S, SpeechDetector

__all__ = ["FRAME", "MAX_CHUNK_S", "SpeechChunk", "SpeechChunker"]

FRAME = round(FRAME_S * SAMPLE_RATE)
"""Samples of a frame of the voice activity detector."""

MAX_CHUNK_S = 28.0
"""Whisper takes 30 s at once, and the same time for less: chunks are as long as it allows."""

_GAP_S = 3.0
"""Silence that ends a chunk. Whisper invents words in silence, and pads a chunk with zeros anyway."""

_MARGIN_S = 0.3
"""Sound that a chunk keeps before its first and after its last speech."""

_MAX, _GAP, _MARGIN = (round(s / FRAME_S) for s in (MAX_CHUNK_S, _GAP_S, _MARGIN_S))


@dataclass(frozen=True, slots=True, eq=False)
class SpeechChunk:
    """A part of a recording that holds speech."""

    start_s: float
    """Of its first sample, in the recording."""
    sound: Floats
    """``(n,)`` at 16 kHz."""
    flags: Bools
    """Which of its frames of `emovox.audio.vad.FRAME_S` are speech, ``(n_frames,)``."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.sound) / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """In the recording."""
        return self.start_s + self.duration_s

    def has_speech(self, start_s: float, end_s: float) -> bool:
        """Whether there is speech between two times, in seconds from the start of the chunk."""
        first = max(0, int(start_s / FRAME_S))
        return bool(self.flags[first : max(first + 1, int(np.ceil(end_s / FRAME_S)))].any())


class SpeechChunker:
    """Cut sound that is pushed block by block into chunks that begin and end in pauses where there are any.

    The voice activity detector decides what is speech. A chunk ends before a long silence; speech without one
    is cut in its longest pause of the second half of `MAX_CHUNK_S`, or, without any pause, where it is
    quietest. Every frame of speech is in exactly one chunk.

    Args:
        vad: ``False``: all sound counts as speech.
    """

    def __init__(self, *, vad: bool = True) -> None:
        self.n = 0
        """Samples taken so far."""
        self._detector = SpeechDetector(enabled=vad)
        self._sound = np.zeros(0, np.float32)
        self._flags = np.zeros(0, np.bool_)
        self._start = 0
        """Number of the first frame that is still kept."""

    def push(self, x: Floats) -> list[SpeechChunk]:
        """Take samples ``(n,)``; return the chunks that they completed."""
        self.n += len(x)
        self._sound = np.concatenate([self._sound, x])
        self._flags = np.concatenate([self._flags, self._detector.push(x)])
        return self._cut()

    def flush(self) -> list[SpeechChunk]:
        """End the sound; return the chunks that are left."""
        self._flags = np.concatenate([self._flags, self._detector.flush()])
        return self._cut(at_end=True)

    def _cut(self, *, at_end: bool = False) -> list[SpeechChunk]:
        chunks: list[SpeechChunk] = []
        while True:
            speech = np.flatnonzero(self._flags)
            if not len(speech):
                self._drop(max(0, len(self._flags) - _MARGIN))
                return chunks
            self._drop(max(0, int(speech[0]) - _MARGIN))
            stop = self._find_stop(speech - speech[0], int(np.argmax(self._flags)), at_end=at_end)
            if stop is None:
                return chunks
            chunks.append(
                SpeechChunk(
                    start_s=self._start * FRAME / SAMPLE_RATE,
                    sound=self._sound[: stop * FRAME].copy(),
                    flags=self._flags[:stop].copy(),
                )
            )
            self._drop(stop)

    def _find_stop(self, speech: np.ndarray, first: int, *, at_end: bool) -> int | None:
        """Return the frame at which the first chunk ends, ``None`` if that is not known yet.

        Args:
            speech: frames of speech ``(n,)``, counted from the first of them.
            first: the frame, of those that are kept, from which they are counted.
        """
        n = len(self._flags) - first
        gaps = np.diff(speech, append=n if not at_end else n + _GAP + 1) - 1
        far = np.flatnonzero(gaps >= _GAP)
        if len(far) and speech[far[0]] < _MAX:
            return min(first + int(speech[far[0]]) + 1 + _MARGIN, len(self._flags))
        if n <= _MAX:
            return None
        # Too long: the middle of the longest pause in the second half.
        inside = np.flatnonzero((speech >= _MAX // 2) & (speech + gaps < _MAX))
        if len(inside) and gaps[inside].max() > 0:
            pause = inside[gaps[inside].argmax()]
            return first + int(speech[pause]) + 1 + int(gaps[pause]) // 2
        # No pause at all: the quietest frame of the last quarter.
        begin = first + _MAX * 3 // 4
        tail = self._sound[begin * FRAME : (first + _MAX) * FRAME].reshape(-1, FRAME)
        return begin + int(np.square(tail, dtype=np.float64).sum(axis=1).argmin())

    def _drop(self, n_frames: int) -> None:
        self._sound = self._sound[n_frames * FRAME :]
        self._flags = self._flags[n_frames:]
        self._start += n_frames
