"""Read a source as float32 at 16 kHz, whole or in blocks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from emovox._arrays import Floats
from emovox.audio.decoders import ArrayDecoder, Decoder, open_decoder
from emovox.audio.mixing import ChannelMixer
from emovox.audio.resampling import Resampler
from emovox.audio.source import Source, is_array, open_reader
from emovox.audio.validation import SAMPLE_RATE
from emovox.errors import AudioDecodeError, AudioError, AudioTooLongError, AudioValueError

__all__ = [
    "AUDIO_SUFFIXES",
    "Channels",
    "Info",
    "ReadReport",
    "blocks",
    "channel_numbers",
    "parse_channels",
    "probe",
    "read",
    "span_blocks",
]

AUDIO_SUFFIXES: frozenset[str] = frozenset(
    f".{suffix}"
    for suffix in (
        *(
            "wav",
            "wave",
            "w64",
            "rf64",
            "flac",
            "mp3",
            "mp2",
            "ogg",
            "oga",
            "opus",
            "m4a",
            "m4b",
            "aac",
            "wma",
        ),
        *("aif", "aiff", "aifc", "au", "snd", "caf", "sph", "amr", "3gp", "mka", "weba"),
        *("mp4", "m4v", "mov", "mkv", "webm", "avi", "flv"),
    )
)
"""Lower-case suffixes by which a file in a folder is taken for a recording. A file that is named itself is
opened whatever its suffix."""

_MAX_SAMPLES_PER_S = 2 * 192_000
"""Bound of the samples of a recording whose length is bounded: 8 channels at 48 kHz, say."""

# A span may end so much after its recording: durations of tables are rounded, and those of codecs are longer.
_MAX_BEYOND_S = 1.0

Channels: TypeAlias = str | int
"""``"mix"`` = the mean of all channels, ``"each"`` = each on its own, or the number of one, from 0."""


@dataclass(frozen=True, slots=True)
class Info:
    """What the header of a source says."""

    duration_s: float | None
    """``None`` when the header does not say."""
    sample_rate: int
    """Hz, before resampling."""
    n_channels: int
    format: str
    """Container and coding, such as ``wav/pcm_16``; ``array`` for an array."""


@dataclass(slots=True)
class ReadReport:
    """What happened while a recording was read; complete after its last block."""

    warnings: set[str] = field(default_factory=set)
    """Names of what happened, among:

    - ``truncated``: the recording ends before it should,
    - ``damaged``: parts could not be decoded, and are silence,
    - ``time_stamps``: the time stamps of the container contradict each other,
    - ``phase``: channels cancel each other, and the louder one was used.
    """


def read(source: Source, *, sample_rate: int | None = None, channels: Channels = "mix") -> Floats:
    """Read a whole recording.

    Args:
        source: a path, bytes, a binary file object (read from its position, which is restored) or an array.
        sample_rate: Hz, of an array; files have their own.
        channels: ``"mix"`` (the mean of all), ``"each"``, or the number of one, from 0.

    Returns:
        Float32 in [-1, 1] at 16 kHz: ``(n,)``, or ``(n_channels, n)`` for ``"each"``; n is at least 1.

    Raises:
        AudioNotFoundError: there is no such file.
        AudioDecodeError: it is not sound, or holds none.
        AudioValueError: NaN or infinite samples, an absurd rate, no such channel, a wrong argument.
        MissingExtraError: it is a media file and the extra ``media`` is not installed.
    """
    parts = list(blocks(source, sample_rate=sample_rate, channels=channels))
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    return whole if channels == "each" else whole[0]


def blocks(
    source: Source,
    *,
    sample_rate: int | None = None,
    channels: Channels = "mix",
    block_s: float = 10.0,
    max_s: float | None = None,
    report: ReadReport | None = None,
) -> Iterator[Floats]:
    """Read a recording block by block; memory does not grow with its length.

    Arguments and errors are those of ``read``; a wrong argument is refused at once, all else while iterating.
    ``report`` is filled while reading.
    With ``max_s``, a recording of more seconds is an AudioTooLongError: what its header says is not believed,
    it is decoded so far and then given up.

    Yields:
        ``(1, n)`` float32 in [-1, 1] at 16 kHz, or ``(n_channels, n)`` for ``"each"``. All blocks last
        ``block_s`` seconds but the last. One after the other they are what ``read`` returns, exactly.
    """
    wanted = parse_channels(channels)
    if not (isinstance(block_s, (int, float)) and math.isfinite(block_s) and block_s * SAMPLE_RATE >= 1):
        raise AudioValueError(f"block_s is {block_s!r}; expected seconds, at least one sample long")
    if not is_array(source) and sample_rate is not None:
        raise AudioValueError(f"sample_rate={sample_rate} is for arrays; a file knows its own: leave it out")
    if max_s is not None and not max_s > 0:
        raise AudioValueError(f"max_s is {max_s!r}; expected seconds, more than 0, or None")
    return _blocks(source, sample_rate, wanted, round(block_s * SAMPLE_RATE), max_s, report or ReadReport())


def span_blocks(source: Source, start_s: float | None = None, end_s: float | None = None) -> Iterator[Floats]:
    """Read a span of a recording, the mean of its channels; the rest is not kept in memory.

    Args:
        source: as of `read`, but no array.
        start_s: seconds; ``None``: from its beginning.
        end_s: seconds; ``None``: to its end.

    Yields:
        ``(n,)`` float32 in [-1, 1] at 16 kHz.

    Raises:
        AudioError: as `read`; or the span begins, or ends by more than a second, after the recording.
    """
    first = round((start_s or 0.0) * SAMPLE_RATE)
    end = None if end_s is None else round(end_s * SAMPLE_RATE)
    position, n_yielded = 0, 0
    for block in blocks(source):
        part = block[0][max(0, first - position) : None if end is None else max(0, end - position)]
        position += block.shape[1]
        if part.size:
            n_yielded += part.size
            yield part
        if end is not None and position >= end:
            return
    label = source if isinstance(source, (str, os.PathLike)) else "recording"
    until = "its end" if end_s is None else f"{end_s:g} s"
    if not n_yielded:
        raise AudioValueError(
            f"{label}: no sound from {start_s or 0.0:g} s to {until}; it lasts {position / SAMPLE_RATE:g} s"
        )
    if end is not None and end > position + _MAX_BEYOND_S * SAMPLE_RATE:
        raise AudioValueError(
            f"{label}: the span from {start_s or 0.0:g} s to {until} ends after the recording, which lasts "
            f"{position / SAMPLE_RATE:g} s; are its times seconds of this file?"
        )


def probe(source: Source, *, sample_rate: int | None = None) -> Info:
    """Return duration, rate, channels and format of a source, reading little more than its header.

    Raises:
        AudioError: as ``read``, for what the header shows.
    """
    with _decoder(source, sample_rate) as sound:
        return Info(sound.duration_s, sound.sample_rate, sound.n_channels, sound.format)


def parse_channels(channels: Channels) -> Channels:
    """Return ``"mix"``, ``"each"`` or a channel's number, which may be given as text.

    Raises:
        AudioValueError: it is none of these.
    """
    if channels in ("mix", "each"):
        return channels
    if isinstance(channels, str) and channels.isascii() and channels.isdecimal() and len(channels) < 9:
        return int(channels)
    if isinstance(channels, (int, np.integer)) and not isinstance(channels, bool) and channels >= 0:
        return int(channels)
    raise AudioValueError(f"channels is {channels!r}; expected 'mix', 'each' or a channel's number, from 0")


def channel_numbers(channels: Channels, n_channels: int) -> tuple[int | None, ...]:
    """Return the number of each channel that is read, as results name it; ``None`` for the mix.

    >>> channel_numbers("each", 2), channel_numbers("mix", 1), channel_numbers(1, 1)
    ((0, 1), (None,), (1,))
    """
    if channels == "each":
        return tuple(range(n_channels))
    return (None if channels == "mix" else int(channels),)


@contextmanager
def _decoder(source: Source, sample_rate: int | None) -> Iterator[Decoder]:
    if is_array(source):
        yield ArrayDecoder(source, sample_rate)
        return
    reader = open_reader(source)
    try:
        sound = open_decoder(reader)
        try:
            yield sound
            if reader.error is not None:  # not damage: the rest of the recording exists and could not be read
                raise AudioDecodeError(f"reading failed in the middle: {reader.error}")
        except AudioError as error:
            raise _with_label(error, reader.label) from None
        finally:
            sound.close()
    finally:
        reader.close()


def _with_label(error: AudioError, label: str) -> AudioError:
    """The same error with the file in front of the message, once."""
    message = str(error)
    return error if message.startswith(label) else type(error)(f"{label}: {message}")


def _blocks(
    source: Source,
    sample_rate: int | None,
    channels: Channels,
    block: int,
    max_s: float | None,
    report: ReadReport,
) -> Iterator[Floats]:
    with _decoder(source, sample_rate) as sound:
        waiting: list[Floats] = []
        n_waiting = 0
        for part in _resample(sound, channels, max_s, report):
            waiting.append(part)
            n_waiting += part.shape[1]
            if n_waiting >= block:
                whole = np.concatenate(waiting, axis=1)
                full = n_waiting - n_waiting % block
                for start in range(0, full, block):
                    yield np.ascontiguousarray(whole[:, start : start + block])
                waiting, n_waiting = [whole[:, full:]], n_waiting - full
        if n_waiting:
            yield np.concatenate(waiting, axis=1)


def _resample(
    sound: Decoder, channels: Channels, max_s: float | None, report: ReadReport
) -> Iterator[Floats]:
    """Yield the chosen channels ``(c, n)`` at 16 kHz, in portions as the decoder returns them."""
    if isinstance(channels, int) and channels >= sound.n_channels:
        raise AudioValueError(
            f"there is no channel {channels}: the recording has {sound.n_channels}, numbered from 0"
        )
    resampler = Resampler(sound.sample_rate, n_channels=sound.n_channels if channels == "each" else 1)
    mixer = ChannelMixer(sound.n_channels, sound.sample_rate)
    n_in = n_out = 0
    for frames in sound.frames():
        n_in += len(frames)
        if max_s is not None:
            _check_length(n_in, sound, max_s)
        if channels == "each":
            picked = frames.T
        elif channels == "mix":  # here, one way for all files: decoders' own down-mixes differ in gain
            picked = mixer.push(frames)[np.newaxis]
        else:
            picked = frames[:, int(channels)][np.newaxis]
        part = resampler.push(picked)
        n_out += part.shape[1]
        yield part
    if not n_in:
        raise AudioDecodeError("it holds no samples; expected a recording with sound")
    rest = resampler.push(mixer.flush()[np.newaxis]) if channels == "mix" else None
    report.warnings |= sound.warnings | ({"phase"} if mixer.cancels else set())
    rest = resampler.flush() if rest is None else np.concatenate([rest, resampler.flush()], axis=1)
    if not n_out + rest.shape[1]:  # one or two samples at a high rate would be rounded to none
        rest = np.zeros((resampler.n_channels, 1), np.float32)
    yield rest


def _check_length(n_frames: int, sound: Decoder, max_s: float) -> None:
    """A bound in seconds bounds the work as well: silence of 32 channels at 768 kHz packs into a few kB."""
    if n_frames > max_s * sound.sample_rate:
        raise AudioTooLongError(f"it lasts longer than {max_s:g} s, the most that is taken; cut it up")
    if n_frames * sound.n_channels > max_s * _MAX_SAMPLES_PER_S:
        raise AudioTooLongError(
            f"{sound.n_channels} channels at {sound.sample_rate} Hz are more samples than {max_s:g} s may "
            "hold; convert it to fewer, or cut it up"
        )
