"""Decoders: the bytes of any container -> native samples, a little at a time.

A decoder has ``sample_rate``, ``n_channels``, ``format`` and ``duration_s`` (as the header claims, ``None``
if it says nothing), ``frames()`` and ``close()``. Nothing is ever allocated by what a header claims.

A recording that is damaged somewhere is given up to the damage; only one that gives nothing is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.audio.source import Onward, Reader
from emovox.audio.validation import MAX_CHANNELS, frames_first, scaled, valid_rate
from emovox.errors import AudioDecodeError, AudioError, AudioValueError, MissingExtraError

__all__ = ["ArrayDecoder", "Decoder", "MediaDecoder", "SoundfileDecoder", "decoder"]

_CHUNK_FRAMES = 8192
"""Frames decoded at a time: big enough to be quick, small enough that 32 channels take 1 MiB."""

_SOUNDFILE_FORMATS = frozenset({
    "AIFF", "AU", "CAF", "FLAC", "IRCAM", "MP3", "NIST", "OGG", "RF64", "SVX", "VOC", "W64", "WAV", "WAVEX",
})  # fmt: skip
"""What libsndfile may open. Its other formats are relics whose detection also matches text and noise."""

_MEDIA_FORMATS = (
    "mov,mp4,matroska,webm,aac,amr,asf,avi,flv,mpeg,mpegts,ogg,mp3,wav,flac,aiff,au,ac3,eac3,caf,wv,ape"
)
"""What FFmpeg may open. No playlists: those make it open other files and addresses."""

_MAX_BAD_PACKETS = 200
"""Damaged packets to step over before a recording counts as ended (about 4 s of AAC)."""


class Decoder(Protocol):
    """What every decoder has."""

    sample_rate: int
    n_channels: int
    format: str
    duration_s: float | None

    def frames(self) -> Iterator[Floats]:
        """Samples ``(n, n_channels)`` float32 at ``sample_rate``, checked by the gate, n at least 1."""

    def close(self) -> None:
        """Release what is open."""


class ArrayDecoder:
    """An array that is already there."""

    format = "array"

    def __init__(self, x: Any, sample_rate: object) -> None:
        self.sample_rate = valid_rate(sample_rate)
        self._frames = frames_first(np.asarray(x))
        if not len(self._frames):
            raise AudioValueError("the array is empty; expected at least one sample")
        self.n_channels = self._frames.shape[1]
        self.duration_s: float | None = len(self._frames) / self.sample_rate

    def frames(self) -> Iterator[Floats]:
        """Samples ``(n, n_channels)``."""
        for start in range(0, len(self._frames), _CHUNK_FRAMES):
            yield scaled(self._frames[start : start + _CHUNK_FRAMES], self.sample_rate, start)

    def close(self) -> None:
        """Nothing is open."""


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A SoundFile that is only read onwards.

    A seekable one seeks to where it already stands after each read. In an mp3 that empties the decoder's bit
    reservoir: frames go missing at every border of two reads (measured at 8 to 24 kHz: errors of 0.2 to 0.8).
    """

    def seekable(self) -> bool:
        """No, although it could."""
        return False


class SoundfileDecoder:
    """libsndfile."""

    def __init__(self, reader: Reader) -> None:
        """Raises soundfile.LibsndfileError when libsndfile does not know the bytes."""
        self._reader = reader
        reader.seek(0)
        self._file = _Forward(reader)
        if self._file.format not in _SOUNDFILE_FORMATS:
            self._file.close()
            raise soundfile.LibsndfileError(1)
        self.sample_rate, self.n_channels = self._file.samplerate, self._file.channels
        self.format = f"{self._file.format}/{self._file.subtype}".lower()
        self.duration_s = self._file.frames / self.sample_rate if self.sample_rate > 0 else None

    def frames(self) -> Iterator[Floats]:
        """Samples ``(n, n_channels)``, to the end or to the damage."""
        done = 0
        while True:
            try:
                x = self._file.read(_CHUNK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                if not done:
                    raise _undecodable(self._reader, str(error)) from error
                return
            if not len(x):
                return
            yield scaled(x, self.sample_rate, done)
            done += len(x)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MediaDecoder:
    """PyAV, which is FFmpeg: the first sound track of any container."""

    def __init__(self, reader: Onward, kind: str = "this kind of") -> None:
        """Raises AudioDecodeError without a readable sound track, MissingExtraError without PyAV."""
        try:
            import av
        except ImportError:
            raise MissingExtraError(f"reading {kind} files", "media") from None
        self._reader = reader
        reader.seek(0)
        options = {"format_whitelist": _MEDIA_FORMATS, "protocol_whitelist": "none"}
        # Before version 19, a tag in another encoding than UTF-8 was an error unless it was ignored.
        older: dict[str, Any] = (
            {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
        )
        try:
            self._container = av.open(reader, mode="r", options=options, **older)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise _undecodable(reader, getattr(error, "strerror", None) or str(error)) from error
        try:
            self._describe()
        except BaseException:
            self._container.close()
            raise

    def _describe(self) -> None:
        tracks = self._container.streams.audio
        if not tracks:
            raise AudioDecodeError(
                f"{self._reader.label}: it has no sound track; give a recording with sound"
            )
        self._track = tracks[0]
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            raise _undecodable(self._reader, "its sound track holds no samples")
        # The frames decide: the header of HE-AAC names half the rate and one channel too few.
        self.sample_rate, self.n_channels = self._first.sample_rate, self._first.layout.nb_channels
        codec = self._track.codec_context
        self.format = f"{self._container.format.name.split(',')[0]}/{codec.name if codec else 'unknown'}"
        self.duration_s = self._claimed_s()

    def _claimed_s(self) -> float | None:
        if self._track.duration and self._track.time_base:
            return float(self._track.duration * self._track.time_base)
        return self._container.duration / 1e6 if self._container.duration else None

    def _decode(self) -> Iterator[Any]:
        """Audio frames, stepping over damaged packets."""
        n_bad = 0
        packets = self._container.demux(self._track)
        while n_bad < _MAX_BAD_PACKETS:
            try:
                packet = next(packets, None)
            except Exception:  # the container itself breaks off here
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except Exception:
                n_bad += 1
                continue
            yield from (frame for frame in frames if frame.samples > 0)

    def frames(self) -> Iterator[Floats]:
        """Samples ``(n, n_channels)``, to the end or to the damage."""
        done, frame = 0, self._first
        self._first = None
        while frame is not None:
            if (frame.sample_rate, frame.layout.nb_channels) != (self.sample_rate, self.n_channels):
                raise AudioDecodeError(
                    f"{self._reader.label}: its rate or channels change at {done / self.sample_rate:.1f} s; "
                    "convert it to wav first"
                )
            x = self._samples(frame)
            yield scaled(x, self.sample_rate, done)
            done += len(x)
            frame = next(self._decoded, None)

    def _samples(self, frame: Any) -> NDArray[Any]:
        """``(n, n_channels)``."""
        try:
            x: NDArray[Any] = frame.to_ndarray()  # (n_channels, n) when planar, else (1, n * n_channels)
            return frames_first(x.T if frame.format.is_planar else x.reshape(-1, self.n_channels))
        except Exception as error:  # a sample format without a numpy type, such as 64-bit integers
            raise _undecodable(self._reader, str(error)) from error

    def close(self) -> None:
        """Close the container."""
        self._container.close()


def _undecodable(reader: Onward, reason: str) -> AudioDecodeError:
    return AudioDecodeError(
        f"{reader.label}: not sound that can be read ({reader.error or reason.strip(' .:')}); "
        "expected wav, flac, mp3, ogg, opus, m4a, webm or another recording"
    )


def _media_kind(head: bytes) -> str | None:
    """What a file is whose content only PyAV reads, by its first bytes; ``None`` for all else."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
        return ".m4a and .mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return ".avi"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:  # ADTS: like mp3's, with layer 0
        return ".aac"
    if len(head) > 188 and head[0] == head[188] == 0x47:
        return ".ts"
    for magic, kind in _MEDIA_MAGIC.items():
        if head.startswith(magic):
            return kind
    return None


_MEDIA_MAGIC = {
    b"\x1aE\xdf\xa3": ".webm and .mkv",
    b"#!AMR": ".amr",
    b"0&\xb2u\x8ef\xcf\x11": ".wma and .wmv",
    b"FLV\x01": ".flv",
    b"\x00\x00\x01\xba": ".mpg",
    b"\x0bw": ".ac3",
    b"wvpk": ".wv",
    b"MAC ": ".ape",
}


def _file_decoder(reader: Reader) -> Decoder:
    kind = _media_kind(reader.head(256))
    if kind is not None:
        return MediaDecoder(reader, kind)
    try:
        return SoundfileDecoder(reader)
    except (soundfile.SoundFileError, ValueError, TypeError, OverflowError) as error:
        reason = getattr(error, "error_string", str(error))
    try:
        return MediaDecoder(reader)
    except MissingExtraError:
        raise _undecodable(reader, reason) from None


def decoder(reader: Reader) -> Decoder:
    """Open the decoder that the content asks for.

    Raises:
        AudioDecodeError: it is not sound, or holds none.
        AudioValueError: an absurd rate or number of channels.
        MissingExtraError: it is a media file and PyAV is not installed.
    """
    try:
        opened = _file_decoder(reader)
    except (AudioError, MissingExtraError):
        raise
    except (OSError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        # What decoders raise for broken files. A TypeError is our fault, or that of a changed library.
        raise _undecodable(reader, str(error)) from error
    try:
        valid_rate(opened.sample_rate)
        if not 1 <= opened.n_channels <= MAX_CHANNELS:
            raise AudioValueError(f"got {opened.n_channels} channels; expected 1 to {MAX_CHANNELS}")
    except AudioValueError as error:
        opened.close()
        raise AudioValueError(f"{reader.label}: {error}") from None
    return opened
