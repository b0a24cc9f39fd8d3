"""Decoders: the bytes of any container -> native samples, a little at a time.

A decoder has ``sample_rate``, ``n_channels``, ``format`` and ``duration_s`` (as the header claims, ``None``
if it says nothing), ``frames()``, ``warnings`` and ``close()``. Nothing is allocated by what a header claims.

Samples are at the times at which a player plays them: gaps between the time stamps of a container, and what
precedes a late start, are silence. A damaged recording is decoded as far as possible, with a warning; one
without any samples is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.audio.containers import is_truncated, mp3_continues, ogg_needs_timestamps, repair_header
from emovox.audio.source import ForwardReader, Reader
from emovox.audio.validation import MAX_CHANNELS, frames_first, to_array, to_float32, validate_rate
from emovox.errors import AudioDecodeError, AudioError, AudioValueError, MissingExtraError

__all__ = ["ArrayDecoder", "Decoder", "MediaDecoder", "SoundfileDecoder", "open_decoder"]

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

# Consecutive damaged packets after which a recording counts as ended (about 4 s of AAC).
_MAX_BAD_PACKETS = 200
# Differences between time stamps and samples up to this are jitter or rounding: Matroska counts milliseconds.
_MAX_JITTER_S = 0.06
# A gap longer than this, or one beyond the duration that the container states, is a damaged time stamp.
_MAX_GAP_S = 3600.0
# Less than this missing at the end, compared with the header, is the rounding of an encoder's frames.
_MAX_MISSING_S = 0.1
# Raw streams: nothing in them says how long they are.
_WITHOUT_LENGTH = ("aac", "ac3", "amr", "amrnb", "amrwb", "eac3", "mp3")
# Frame types of AMR that carry no speech: comfort noise (SID), lost or no data.
_AMR_PAUSES = {"amrnb": range(8, 16), "amr_nb": range(8, 16), "amrwb": range(9, 16), "amr_wb": range(9, 16)}


class Decoder(Protocol):
    """What every decoder has."""

    sample_rate: int
    n_channels: int
    format: str
    duration_s: float | None
    warnings: set[str]
    """Among ``damaged``, ``truncated`` and ``time_stamps``, known after the last frame."""

    def frames(self) -> Iterator[Floats]:
        """Samples ``(n, n_channels)`` float32 at ``sample_rate``, validated, n at least 1."""

    def close(self) -> None:
        """Release what is open."""


class ArrayDecoder:
    """An array of samples."""

    format = "array"

    def __init__(self, x: Any, sample_rate: object) -> None:
        self.sample_rate = validate_rate(sample_rate)
        self._frames = frames_first(to_array(x))
        if not len(self._frames):
            raise AudioValueError("the array is empty; expected at least one sample")
        self.n_channels = self._frames.shape[1]
        self.duration_s: float | None = len(self._frames) / self.sample_rate
        self.warnings: set[str] = set()

    def frames(self) -> Iterator[Floats]:
        """Samples ``(n, n_channels)``."""
        for start in range(0, len(self._frames), _CHUNK_FRAMES):
            yield to_float32(self._frames[start : start + _CHUNK_FRAMES], self.sample_rate, start)

    def close(self) -> None:
        """Nothing is open."""


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A SoundFile that is only read onwards.

    A seekable one seeks to its own position after each read. In an mp3 that empties the decoder's bit
    reservoir: frames go missing at every border of two reads (measured at 8 to 24 kHz: errors of 0.2 to 0.8).
    """

    def seekable(self) -> bool:
        """Return False, although it could seek."""
        return False


class SoundfileDecoder:
    """libsndfile."""

    def __init__(self, reader: Reader) -> None:
        """Raises soundfile.LibsndfileError when libsndfile does not know the bytes."""
        self._reader = reader
        self.warnings: set[str] = set()
        reader.seek(0)
        self._file = _Forward(reader)
        if self._file.format not in _SOUNDFILE_FORMATS:
            self._file.close()
            raise soundfile.LibsndfileError(1)
        self.sample_rate, self.n_channels = self._file.samplerate, self._file.channels
        self.format = f"{self._file.format}/{self._file.subtype}".lower()
        # libsndfile has 2**63 - 1 for an unknown length, as of FLAC from a pipe.
        is_known = self.sample_rate > 0 and 0 < self._file.frames < 1 << 62
        self.duration_s = self._file.frames / self.sample_rate if is_known else None

    def frames(self) -> Iterator[Floats]:
        """Samples ``(n, n_channels)``, to the end or to the damage."""
        done = 0
        while True:
            try:
                x = self._file.read(_CHUNK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                if not done:
                    raise _undecodable(self._reader, str(error)) from error
                self.warnings.add("damaged")
                yield from self._read_behind(done)
                return
            if not len(x):
                if self.duration_s is not None and done / self.sample_rate < self.duration_s - _MAX_MISSING_S:
                    self.warnings.add("truncated")
                return
            yield to_float32(x, self.sample_rate, done)
            done += len(x)

    def _read_behind(self, done: int) -> Iterator[Floats]:
        """What PyAV, where it is installed, decodes behind the first ``done`` samples and the damage."""
        with suppress(AudioDecodeError, MissingExtraError):
            whole = MediaDecoder(self._reader)
            with closing(whole):
                if (whole.sample_rate, whole.n_channels) != (self.sample_rate, self.n_channels):
                    return
                n = 0
                for x in whole.frames():
                    yield from [x[done - n :]] if done < n + len(x) else []
                    n += len(x)
                    done = max(done, n)
                is_whole = self.duration_s is not None and n == round(self.duration_s * self.sample_rate)
                if is_whole and not whole.n_filled and not whole.warnings:
                    self.warnings.discard("damaged")  # what libsndfile cannot read is a tag behind the sound

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MediaDecoder:
    """PyAV, which is FFmpeg: the default sound track of any container, else the first."""

    def __init__(self, reader: ForwardReader, kind: str = "this kind of") -> None:
        """Raises AudioDecodeError without a readable sound track, MissingExtraError without PyAV."""
        try:
            import av
        except ImportError:
            raise MissingExtraError(f"reading {kind} files", "media") from None
        self._error: type[Exception] = av.error.FFmpegError  # what damage raises
        self._reader = reader
        self.n_filled = 0  # samples of silence in gaps
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
        self._track = next((track for track in tracks if _is_default(track)), tracks[0])
        if self._track.codec_context is None:
            raise _undecodable(self._reader, "the coding of its sound track is not known")
        self.warnings: set[str] = set()
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            raise _undecodable(self._reader, "its sound track holds no samples")
        # The frames decide: the header of HE-AAC names half the rate and one channel too few.
        self.sample_rate, self.n_channels = self._first.sample_rate, self._first.layout.nb_channels
        codec = self._track.codec_context.name
        self.format = f"{self._container.format.name.split(',')[0]}/{codec}"
        self._is_own_length = True
        self.duration_s = self._header_duration_s()

    def _header_duration_s(self) -> float | None:
        """Time from the origin of a player's clock to the end of the track, as the container states it."""
        if self._container.format.name in _WITHOUT_LENGTH:  # FFmpeg guesses by the bit rate
            return None
        start_s = 0.0
        if self._track.start_time is not None and self._track.time_base:
            start_s = float(self._track.start_time * self._track.time_base) - self._origin_s()
        if self._track.duration and self._track.time_base:
            return start_s + float(self._track.duration * self._track.time_base)
        if not self._container.duration:
            return None
        if len(self._container.streams) > 1:
            self._is_own_length = False  # a video may be longer than its sound
        # Matroska's duration ends there, others' are from the first time stamp on.
        is_matroska = self._container.format.name.startswith("matroska")
        first_s = 0.0 if is_matroska else (self._container.start_time or 0) / 1e6
        return max(0.0, first_s + self._container.duration / 1e6 - self._origin_s()) or None

    def _decode(self) -> Iterator[Any]:
        """Audio frames, stepping over damaged packets; a gap in their time stamps remains."""
        codec = self._track.codec_context.name
        n_bad = 0  # in a row
        self._undecoded_s: float | None = None  # end of the packets since the last frame
        packets = self._container.demux(self._track)
        while n_bad < _MAX_BAD_PACKETS:
            try:
                packet = next(packets, None)
            except self._error:  # the container itself breaks off here
                self.warnings.add("truncated")
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except self._error:
                if packet.pts is not None and packet.duration:
                    self._undecoded_s = float((packet.pts + packet.duration) * packet.time_base)
                head = bytes(packet)[:1]
                is_pause = codec in _AMR_PAUSES and head and head[0] >> 3 & 15 in _AMR_PAUSES[codec]
                if not is_pause:
                    self.warnings.add("damaged")
                    n_bad += 1
                continue
            for frame in frames:
                if frame.samples > 0:
                    n_bad, self._undecoded_s = 0, None
                    yield frame
        self.warnings.add("truncated")

    def frames(self) -> Iterator[Floats]:
        """Samples ``(n, n_channels)`` at the times of their time stamps, to the end or to the damage."""
        done, frame = 0, self._first
        self._first = None
        rate, origin_s = self.sample_rate, self._origin_s()
        while frame is not None:
            if (frame.sample_rate, frame.layout.nb_channels) != (rate, self.n_channels):
                raise AudioDecodeError(
                    f"{self._reader.label}: its rate or channels change at {done / rate:.1f} s; "
                    "convert it to wav first"
                )
            if frame.pts is not None and frame.time_base:
                gap_s = float(frame.pts * frame.time_base) - origin_s - done / rate
                if gap_s > _MAX_JITTER_S and self._is_possible(gap_s, done / rate):
                    for silence in self._silence(round(gap_s * rate)):
                        yield silence
                        done += len(silence)
                elif abs(gap_s) > _MAX_JITTER_S:
                    # Another clock, as in chained or joined recordings, or a damaged time stamp.
                    if done:
                        self.warnings.add("time_stamps")
                    origin_s += gap_s
            x = self._samples(frame)
            yield to_float32(x, rate, done)
            done += len(x)
            frame = next(self._decoded, None)
        rest_s = 0.0 if self._undecoded_s is None else self._undecoded_s - origin_s - done / rate
        if rest_s > _MAX_JITTER_S and self._is_possible(rest_s, done / rate):  # a pause at the end
            for silence in self._silence(round(rest_s * rate)):
                yield silence
                done += len(silence)
        stated_s = self.duration_s if self._is_own_length else None
        if stated_s is not None and done / rate < stated_s - _MAX_MISSING_S:
            self.warnings.add("truncated")

    def _origin_s(self) -> float:
        """The time stamp at which a player's clock begins.

        MP4 and Matroska count from 0; in other containers (transport streams, a cut of an Ogg stream) the
        first stamp is arbitrary, and a player shows the time since the first packet of any track.
        """
        start_s = (self._container.start_time or 0) / 1e6
        counts_from_zero = self._container.format.name.split(",")[0] in ("mov", "matroska")
        return 0.0 if counts_from_zero and 0 <= start_s <= _MAX_GAP_S else start_s

    def _is_possible(self, gap_s: float, done_s: float) -> bool:
        """Whether a gap can be believed; damaged time stamps may be anywhere."""
        if self.duration_s is None:
            return gap_s <= _MAX_GAP_S
        return done_s + gap_s <= self.duration_s + 1.0

    def _silence(self, n: int) -> Iterator[Floats]:
        self.n_filled += n
        for start in range(0, n, _CHUNK_FRAMES):
            yield np.zeros((min(_CHUNK_FRAMES, n - start), self.n_channels), np.float32)

    def _samples(self, frame: Any) -> NDArray[Any]:
        """``(n, n_channels)``."""
        try:
            x: NDArray[Any] = frame.to_ndarray()  # (n_channels, n) when planar, else (1, n * n_channels)
            return frames_first(x.T if frame.format.is_planar else x.reshape(-1, self.n_channels))
        except ValueError as error:  # a sample format without a numpy type, such as 64-bit integers
            raise _undecodable(self._reader, str(error)) from error

    def close(self) -> None:
        """Close the container."""
        self._container.close()


def _is_default(track: Any) -> bool:
    return bool(int(getattr(track, "disposition", 0)) & 1)  # AV_DISPOSITION_DEFAULT; PyAV has it since 12


def _undecodable(reader: ForwardReader, reason: str) -> AudioDecodeError:
    return AudioDecodeError(
        f"{reader.label}: not sound that can be read ({reader.error or reason.strip(' .:')}); "
        "expected wav, flac, mp3, ogg, opus, m4a, webm or another recording"
    )


def _media_kind(head: bytes) -> str | None:
    """The format, by its first bytes, of a file that only PyAV reads; ``None`` for others."""
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


def _open_by_content(reader: Reader) -> Decoder:
    repair_header(reader)
    kind = _media_kind(reader.head(256))
    if kind is not None:
        return MediaDecoder(reader, kind)
    # libsndfile leaves out chained and joined parts, and closes gaps.
    has_gaps, has_more = ogg_needs_timestamps(reader), mp3_continues(reader)
    if has_gaps or has_more:
        with suppress(AudioDecodeError, MissingExtraError):
            return MediaDecoder(reader)
    has_more = has_more or is_truncated(reader)
    sound: Decoder
    try:
        sound = SoundfileDecoder(reader)
    except (soundfile.SoundFileError, ValueError, TypeError, OverflowError) as error:
        reason = getattr(error, "error_string", str(error))
        try:
            sound = MediaDecoder(reader)
        except MissingExtraError:
            raise _undecodable(reader, reason) from None
    sound.warnings |= ({"time_stamps"} if has_gaps else set()) | ({"truncated"} if has_more else set())
    return sound


def open_decoder(reader: Reader) -> Decoder:
    """Open the decoder for the content of a file.

    Raises:
        AudioDecodeError: it is not sound, or holds none.
        AudioValueError: an absurd rate or number of channels.
        MissingExtraError: it is a media file and PyAV is not installed.
    """
    try:
        decoder = _open_by_content(reader)
    except (AudioError, MissingExtraError):
        raise
    except (OSError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        # What decoders raise for broken files. A TypeError is our fault, or that of a changed library.
        raise _undecodable(reader, str(error)) from error
    try:
        validate_rate(decoder.sample_rate)
        if not 1 <= decoder.n_channels <= MAX_CHANNELS:
            raise AudioValueError(f"got {decoder.n_channels} channels; expected 1 to {MAX_CHANNELS}")
    except AudioValueError as error:
        decoder.close()
        raise AudioValueError(f"{reader.label}: {error}") from None
    return decoder
