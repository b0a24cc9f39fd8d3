"""How do the bytes of a live voice become samples? However they were cut into messages, the same samples.

``pcm16``, ``float32``
    little-endian samples of one channel; a sample may be torn between two messages.
``webm``
    what a browser's MediaRecorder gives, opus inside; read by PyAV while it arrives (extra ``media``).

A sound that breaks off in the middle of a sample or a packet is given up to the break.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.audio import MAX_CHANNELS, SAMPLE_RATE, ChannelMixer, Resampler
from emovox.audio.decoders import MediaDecoder
from emovox.errors import AudioDecodeError, AudioValueError, MissingExtraError

__all__ = ["ENCODINGS", "MAX_SILENT_BYTES", "PIECE_S", "Media", "Samples", "Wire", "wire"]

ENCODINGS = ("pcm16", "float32", "webm")

PIECE_S = 1.0
"""Samples are handed on in pieces of at most about this length, so that many voices can take turns."""

MAX_SILENT_BYTES = 1 << 22
"""A container that gives no sound for so long is none: its header takes a few hundred bytes."""

_Sound: TypeAlias = NDArray[Any]
"""float32, or int16 as it came."""


class Wire(Protocol):
    """What every encoding has."""

    rate: int
    """Hz of the samples it gives."""

    def push(self, data: bytes) -> Iterator[_Sound]:
        """Take bytes as they came; give the samples ``(n,)`` that they complete. To be exhausted."""

    def flush(self) -> Iterator[_Sound]:
        """End the sound; give what is left."""

    def close(self) -> None:
        """Let go of everything, at any time but in the middle of a push."""


def wire(encoding: str, rate: int) -> Wire:
    """Open one of `ENCODINGS`; ``rate`` in Hz is that of bare samples, a container names its own.

    Raises:
        MissingExtraError: it is ``webm`` and the extra ``media`` is not installed.
    """
    if encoding == "webm":
        return Media()
    return Samples(np.dtype("<i2" if encoding == "pcm16" else "<f4"), rate)


class Samples:
    """Bare samples of the type ``dtype`` at ``rate`` Hz."""

    def __init__(self, dtype: np.dtype[Any], rate: int) -> None:
        self.rate = rate
        self._dtype = dtype
        self._torn = b""

    def push(self, data: bytes) -> Iterator[_Sound]:
        """Take bytes; give whole samples ``(n,)``."""
        size = self._dtype.itemsize
        whole = self._torn + data
        used = len(whole) - len(whole) % size
        self._torn = whole[used:]
        samples = np.frombuffer(whole, self._dtype, count=used // size)
        piece = max(1, round(PIECE_S * self.rate))
        return (samples[at : at + piece] for at in range(0, len(samples), piece))

    def flush(self) -> Iterator[_Sound]:
        """Nothing waits here but a torn sample, which is no sound."""
        return iter(())

    def close(self) -> None:
        """Nothing is open."""


class Media:
    """A container that is decoded while it arrives, brought to mono at 16 kHz.

    FFmpeg asks for bytes when it wants them, whereas they come when they come. So the decoder runs in a
    thread of its own, in strict turns with the one that pushes: at any time one of the two stands still. It
    reads what has come, and stands still within its next read. What it gives is what the door gives for the
    whole file.

    Raises:
        MissingExtraError: PyAV is not installed.
    """

    rate = SAMPLE_RATE

    def __init__(self) -> None:
        try:
            import av  # noqa: F401  # a client learns at once that it cannot be read here
        except ImportError:
            raise MissingExtraError("a live voice as webm", "media") from None
        self._turns = _Turns()
        self._resampler: Resampler | None = None
        self._mixer = ChannelMixer(1, SAMPLE_RATE)
        self._n_silent = 0
        self._let_go = weakref.finalize(self, _Turns.let_go, self._turns)

    def push(self, data: bytes) -> Iterator[_Sound]:
        """Take bytes; give mono samples ``(n,)`` at 16 kHz.

        Raises:
            AudioDecodeError: it is not sound that can be read while it arrives.
            AudioValueError: an absurd rate or number of channels, or samples that are not finite.
        """
        self._n_silent += len(data)
        self._turns.waiting += data
        yield from self._decoded()
        if self._n_silent > MAX_SILENT_BYTES:
            raise AudioDecodeError(
                f"{self._n_silent >> 20} MiB came and no sound in it; expected webm with opus inside, as "
                "MediaRecorder makes it"
            )

    def flush(self) -> Iterator[_Sound]:
        """End the sound; give what is left. Raises what `push` raises."""
        self._turns.is_over = True
        yield from self._decoded()
        if self._resampler is not None:
            mixed = self._resampler.push(self._mixer.flush())
            yield np.concatenate([mixed, self._resampler.flush()])

    def close(self) -> None:
        """End the decoder's thread."""
        self._let_go()

    def _decoded(self) -> Iterator[_Sound]:
        """Give turns to the decoder until it has used all that came."""
        turns = self._turns
        turns.is_done = False
        while not turns.is_done:
            turns.give()
            if turns.found:
                frames, turns.found = np.concatenate(turns.found), []
                self._n_silent = 0
                yield self._mono(frames)
        if turns.error is not None:
            raise turns.error

    def _mono(self, frames: Floats) -> Floats:
        """``(n, n_channels)`` -> ``(n,)`` at 16 kHz."""
        if self._resampler is None:
            if frames.shape[1] > MAX_CHANNELS:
                raise AudioValueError(f"got {frames.shape[1]} channels; expected 1 to {MAX_CHANNELS}")
            self._resampler = Resampler(self._turns.rate)
            self._mixer = ChannelMixer(frames.shape[1], self._turns.rate)
        return self._resampler.push(self._mixer.push(frames))


class _Turns:
    """The decoder in its thread, and the file that it reads, whose `read` hands the turn back when all that
    came is used. What stands here is touched by whoever has the turn, and by no one else.
    """

    label = "the stream"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.waiting = bytearray()
        """What came and was not read yet."""
        self.found: list[Floats] = []
        """Samples ``(n, n_channels)`` that were decoded."""
        self.rate = 0
        """Hz, once there are samples."""
        self.is_over = False
        """Nothing more will come."""
        self.is_done = False
        """The decoder needs more bytes than came, or has ended."""
        self._has_ended = self._is_let_go = False
        self._mine, self._its = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------ for the one that pushes

    def give(self) -> None:
        """Let the decoder work, until it is done or has found a piece of sound."""
        if self._has_ended:
            return
        self.is_done = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._decode, name="emovox-media", daemon=True)
            self._thread.start()
        else:
            self._its.release()
        self._mine.acquire()

    def let_go(self) -> None:
        """The decoder sees the end of its file, and its thread ends."""
        self.is_over = self._is_let_go = True
        self.waiting.clear()
        self._its.release()

    # ------------------------------------------------------------------ for the decoder

    def read(self, count: int = -1) -> bytes:
        """Up to ``count`` bytes, as soon as there are some; none at the end."""
        while not self.waiting and not self.is_over:
            self.is_done = True
            self._hand_back()
        data = bytes(self.waiting[:count] if count >= 0 else self.waiting)
        del self.waiting[: len(data)]
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """It is read onwards only, and decoders begin where it stands."""
        return 0

    def seekable(self) -> bool:
        """No."""
        return False

    def _decode(self) -> None:
        try:
            decoder = MediaDecoder(self, "webm")
            try:
                self._keep(decoder)
            finally:
                decoder.close()
        except Exception as error:  # whoever pushes raises it
            self.error = error
        self._has_ended = self.is_done = True
        self._mine.release()

    def _keep(self, decoder: MediaDecoder) -> None:
        self.rate = decoder.sample_rate
        n_found = 0
        for frames in decoder.frames():
            self.found.append(frames)
            n_found += len(frames)
            if n_found >= PIECE_S * self.rate and not self._is_let_go:
                n_found = 0
                self._hand_back()
            if self._is_let_go:
                return

    def _hand_back(self) -> None:
        self._mine.release()
        self._its.acquire()
