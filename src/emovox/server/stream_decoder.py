"""Decode the audio of a live session: the same samples, however the bytes are split into messages.

``pcm16``, ``float32``
    little-endian samples of one channel; a sample may be split between two messages.
``webm``
    as made by a browser's MediaRecorder, with Opus; decoded by PyAV while it arrives (extra ``media``).

Audio that ends in the middle of a sample or a packet is decoded up to there.
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

__all__ = [
    "ENCODINGS",
    "MAX_SILENT_BYTES",
    "PIECE_S",
    "ContainerDecoder",
    "SampleDecoder",
    "StreamDecoder",
    "make_decoder",
]

ENCODINGS = ("pcm16", "float32", "webm")

PIECE_S = 1.0
"""SampleDecoder are yielded in pieces of at most about this length, so that sessions can take turns."""

MAX_SILENT_BYTES = 1 << 22
"""A container without audio in so many bytes is refused: a header takes a few hundred."""

_Sound: TypeAlias = NDArray[Any]
"""float32, or int16 as received."""


class StreamDecoder(Protocol):
    """Decoder of one encoding."""

    rate: int
    """Hz of the decoded samples."""

    def push(self, data: bytes) -> Iterator[_Sound]:
        """Decode bytes; yield the samples ``(n,)`` that they complete. Must be exhausted."""

    def flush(self) -> Iterator[_Sound]:
        """End the audio; yield the rest."""

    def close(self) -> None:
        """Release everything; not during a push."""


def make_decoder(encoding: str, rate: int) -> StreamDecoder:
    """Return a decoder of one of `ENCODINGS`; ``rate`` is the Hz of raw samples.

    Raises:
        MissingExtraError: it is ``webm`` and the extra ``media`` is not installed.
    """
    if encoding == "webm":
        return ContainerDecoder()
    return SampleDecoder(np.dtype("<i2" if encoding == "pcm16" else "<f4"), rate)


class SampleDecoder:
    """Raw samples of the type ``dtype`` at ``rate`` Hz."""

    def __init__(self, dtype: np.dtype[Any], rate: int) -> None:
        self.rate = rate
        self._dtype = dtype
        self._partial = b""

    def push(self, data: bytes) -> Iterator[_Sound]:
        """Decode bytes; yield complete samples ``(n,)``."""
        size = self._dtype.itemsize
        whole = self._partial + data
        used = len(whole) - len(whole) % size
        self._partial = whole[used:]
        samples = np.frombuffer(whole, self._dtype, count=used // size)
        piece = max(1, round(PIECE_S * self.rate))
        return (samples[at : at + piece] for at in range(0, len(samples), piece))

    def flush(self) -> Iterator[_Sound]:
        """Drop an incomplete sample."""
        return iter(())

    def close(self) -> None:
        """Do nothing."""


class ContainerDecoder:
    """A container that is decoded while it arrives, brought to mono at 16 kHz.

    FFmpeg pulls bytes, whereas they are pushed here. So the decoder runs in a thread of its own, in strict
    turns with the caller: at any time one of the two waits. It reads what has arrived, and waits within its
    next read. The result equals that of `audio.read` for the whole file.

    Raises:
        MissingExtraError: PyAV is not installed.
    """

    rate = SAMPLE_RATE

    def __init__(self) -> None:
        try:
            import av  # noqa: F401  # fails at once, not at the first message
        except ImportError:
            raise MissingExtraError("live audio as webm", "media") from None
        self._thread = _DecoderThread()
        self._resampler: Resampler | None = None
        self._mixer = ChannelMixer(1, SAMPLE_RATE)
        self._n_silent = 0
        self._release = weakref.finalize(self, _DecoderThread.release, self._thread)

    def push(self, data: bytes) -> Iterator[_Sound]:
        """Decode bytes; yield mono samples ``(n,)`` at 16 kHz.

        Raises:
            AudioDecodeError: it is not audio that can be decoded while it arrives.
            AudioValueError: an absurd rate or number of channels, or samples that are not finite.
        """
        self._n_silent += len(data)
        self._thread.waiting += data
        yield from self._decode_available()
        if self._n_silent > MAX_SILENT_BYTES:
            raise AudioDecodeError(
                f"{self._n_silent >> 20} MiB received without audio; expected webm with Opus, as made by "
                "MediaRecorder"
            )

    def flush(self) -> Iterator[_Sound]:
        """End the audio; yield the rest. Raises as `push`."""
        self._thread.is_over = True
        yield from self._decode_available()
        if self._resampler is not None:
            mixed = self._resampler.push(self._mixer.flush())
            yield np.concatenate([mixed, self._resampler.flush()])

    def close(self) -> None:
        """End the thread of the decoder."""
        self._release()

    def _decode_available(self) -> Iterator[_Sound]:
        """Let the decoder work until it has used all bytes received."""
        thread = self._thread
        thread.is_done = False
        while not thread.is_done:
            thread.give()
            if thread.found:
                frames, thread.found = np.concatenate(thread.found), []
                self._n_silent = 0
                yield self._to_mono(frames)
        if thread.error is not None:
            raise thread.error

    def _to_mono(self, frames: Floats) -> Floats:
        """``(n, n_channels)`` -> ``(n,)`` at 16 kHz."""
        if self._resampler is None:
            if frames.shape[1] > MAX_CHANNELS:
                raise AudioValueError(f"got {frames.shape[1]} channels; expected 1 to {MAX_CHANNELS}")
            self._resampler = Resampler(self._thread.rate)
            self._mixer = ChannelMixer(frames.shape[1], self._thread.rate)
        return self._resampler.push(self._mixer.push(frames))


class _DecoderThread:
    """The thread of the decoder, and the file that it reads, whose `read` returns control when all bytes
    received are used. Attributes are accessed only by the side that has control.
    """

    label = "the stream"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.waiting = bytearray()
        """Bytes received and not read yet."""
        self.found: list[Floats] = []
        """Decoded samples ``(n, n_channels)``."""
        self.rate = 0
        """Hz, once there are samples."""
        self.is_over = False
        """No more bytes will arrive."""
        self.is_done = False
        """The decoder needs more bytes, or has ended."""
        self._has_ended = self._is_released = False
        self._mine, self._its = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    # --- called by the side that pushes ---

    def give(self) -> None:
        """Let the decoder work until it needs bytes or has decoded a piece."""
        if self._has_ended:
            return
        self.is_done = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._decode, name="emovox-media", daemon=True)
            self._thread.start()
        else:
            self._its.release()
        self._mine.acquire()

    def release(self) -> None:
        """End the file for the decoder, and so its thread."""
        self.is_over = self._is_released = True
        self.waiting.clear()
        self._its.release()

    # --- called by the decoder ---

    def read(self, count: int = -1) -> bytes:
        """Return up to ``count`` bytes, as soon as there are some; none at the end."""
        while not self.waiting and not self.is_over:
            self.is_done = True
            self._yield_control()
        data = bytes(self.waiting[:count] if count >= 0 else self.waiting)
        del self.waiting[: len(data)]
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Do nothing: it is read forwards only."""
        return 0

    def seekable(self) -> bool:
        """Return False."""
        return False

    def _decode(self) -> None:
        try:
            decoder = MediaDecoder(self, "webm")
            try:
                self._collect(decoder)
            finally:
                decoder.close()
        except Exception as error:  # raised by the side that pushes
            self.error = error
        self._has_ended = self.is_done = True
        self._mine.release()

    def _collect(self, decoder: MediaDecoder) -> None:
        self.rate = decoder.sample_rate
        n_found = 0
        for frames in decoder.frames():
            self.found.append(frames)
            n_found += len(frames)
            if n_found >= PIECE_S * self.rate and not self._is_released:
                n_found = 0
                self._yield_control()
            if self._is_released:
                return

    def _yield_control(self) -> None:
        self._mine.release()
        self._its.acquire()
