"""Lossy codecs: G.711 in numpy, MP3 (LAME) and Opus through libsndfile, AMR-NB through PyAV."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import Amount, Rng, Transform, draw_amount, fit_length
from emovox.errors import AudioDecodeError, ConfigError, MissingExtraError

__all__ = [
    "G711",
    "AmrNb",
    "Mp3",
    "Opus",
    "code_amr_nb",
    "decode_a_law",
    "decode_mu_law",
    "encode_a_law",
    "encode_mp3",
    "encode_mu_law",
    "encode_opus",
]

Pcm: TypeAlias = npt.NDArray[np.int16]
Codes: TypeAlias = npt.NDArray[np.uint8]

# --- G.711 (ITU-T): codes as on the line, samples of 16 bits -----------------------------------------

# Added to a mu-law magnitude, so that every segment is twice as long as the one below.
_BIAS = 132
# The largest magnitude that mu-law can express.
_MU_LAW_MAX = 32_635


@dataclass(frozen=True)
class G711(Transform):
    """Send the sound over a telephone line: 8 kHz and back, in the eight bits of ``mu`` law or ``a`` law."""

    law: str = "mu"

    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"law": ("mu", "a")}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        encode, decode = _LAWS[self.law]
        low = soxr.resample(x, SAMPLE_RATE, 8000, quality="HQ")
        pcm = np.clip(np.rint(low * 32_768), -32_768, 32_767).astype(np.int16)
        decoded = decode(encode(pcm)).astype(np.float32) / np.float32(32_768)
        return fit_length(soxr.resample(decoded, 8000, SAMPLE_RATE, quality="HQ"), len(x))


def encode_mu_law(pcm: Pcm) -> Codes:
    """Encode samples ``(n,)`` as mu-law; all bits are inverted, as on the line."""
    sign = np.where(pcm < 0, 0x80, 0)
    biased = np.minimum(np.abs(pcm.astype(np.int32)), _MU_LAW_MAX) + _BIAS
    segment = _segment(biased >> 7)
    return np.asarray(~(sign | segment << 4 | (biased >> (segment + 3)) & 15), np.int32).astype(np.uint8)


def decode_mu_law(codes: Codes) -> Pcm:
    """Decode mu-law codes ``(n,)``."""
    inverted = ~codes.astype(np.int32)
    segment, step = inverted >> 4 & 7, inverted & 15
    size = ((step << 3) + _BIAS << segment) - _BIAS
    return np.where(inverted & 0x80, -size, size).astype(np.int16)


def encode_a_law(pcm: Pcm) -> Codes:
    """Encode samples ``(n,)`` as A-law; every other bit is inverted, as on the line."""
    wide = pcm.astype(np.int32)
    size = np.where(wide < 0, -1 - wide, wide) >> 4  # 0 to 2047: A-law is symmetric about -1/2
    segment = _segment(size >> 3)
    step = np.where(segment > 0, size >> np.maximum(segment, 1) - 1, size) & 15
    return np.asarray((np.where(wide < 0, 0, 0x80) | segment << 4 | step) ^ 0x55, np.uint8)


def decode_a_law(codes: Codes) -> Pcm:
    """Decode A-law codes ``(n,)``."""
    plain = codes.astype(np.int32) ^ 0x55
    segment, step = plain >> 4 & 7, plain & 15
    size = np.where(segment > 0, (step << 4) + 264 << np.maximum(segment, 1) - 1, (step << 4) + 8)
    return np.where(plain & 0x80, size, -size).astype(np.int16)


def _segment(size: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Bits that ``size`` (0 to 255) needs beyond its first: 0 for 0 and 1, 7 for 128 and more."""
    return np.searchsorted(2 ** np.arange(1, 8), size, side="right").astype(np.int32)


_LAWS: Mapping[str, tuple[Callable[[Pcm], Codes], Callable[[Codes], Pcm]]] = MappingProxyType(
    {"mu": (encode_mu_law, decode_mu_law), "a": (encode_a_law, decode_a_law)}
)

# --- AMR-NB (3GPP TS 26.071) ---------------------------------------------------------------------------

_AMR_KBPS = (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)
_AMR_FRAME = 160
# Samples at 8 kHz by which the codec delays the sound.
_AMR_DELAY = 40


@dataclass(frozen=True)
class AmrNb(Transform):
    """Send the sound over a mobile line: 8 kHz and back, AMR narrow band at the nearest rate of the codec.

    Raises:
        MissingExtraError: at construction, if PyAV is not installed.
        ConfigError: at construction, if its FFmpeg cannot encode AMR.
    """

    kbps: Amount = (4.75, 12.2)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"kbps": (4.75, 12.2)}

    def __post_init__(self) -> None:
        super().__post_init__()
        _open_amr(12.2)

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        low = soxr.resample(x, SAMPLE_RATE, 8000, quality="HQ")
        coded = code_amr_nb(low, draw_amount(self.kbps, rng))
        return fit_length(soxr.resample(coded, 8000, SAMPLE_RATE, quality="HQ"), len(x))


def code_amr_nb(x: Floats, kbps: float) -> Floats:
    """Encode and decode ``x`` ``(n,)`` at 8 kHz; the codec's delay is taken away."""
    import av

    encoder, decoder = _open_amr(kbps)
    padded = fit_length(x, (-(-(len(x) + _AMR_DELAY) // _AMR_FRAME) + 1) * _AMR_FRAME)
    pcm = np.clip(np.rint(padded * 32_768), -32_768, 32_767).astype(np.int16)
    parts = []
    for start in range(0, len(pcm), _AMR_FRAME):
        frame = av.AudioFrame.from_ndarray(pcm[None, start : start + _AMR_FRAME], format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in encoder.encode(frame):
            parts += [one.to_ndarray().ravel() for one in decoder.decode(packet)]
    decoded = np.concatenate(parts).astype(np.float32)
    return np.asarray(fit_length(decoded[_AMR_DELAY:], len(x)), np.float32)


def _open_amr(kbps: float) -> tuple[Any, Any]:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("coding AMR", "media") from error
    try:
        encoder: Any = av.CodecContext.create("libopencore_amrnb", "w")
        decoder: Any = av.CodecContext.create("amrnb", "r")
    except ValueError as error:  # PyAV's errors of unknown codecs are ValueErrors
        raise ConfigError(
            f"PyAV {av.__version__} cannot code AMR: {error}; install PyAV's own wheel"
        ) from None
    for context in (encoder, decoder):
        context.sample_rate, context.layout = 8000, "mono"
    encoder.format = "s16"
    encoder.bit_rate = round(1000 * min(_AMR_KBPS, key=lambda rate: abs(rate - kbps)))
    return encoder, decoder


# --- MP3 and Opus ------------------------------------------------------------------------------------

# The rates of MPEG-2 layer III at 16 kHz.
_MP3_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
# Floats by which LAME (576) and any decoder (529) delay the sound.
_MP3_DELAY = 1105


@dataclass(frozen=True)
class Mp3(Transform):
    """Encode as MP3 at the nearest constant bit rate of the format, and decode."""

    kbps: Amount = (8.0, 32.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"kbps": (8.0, 160.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        y = _decode(encode_mp3(x, draw_amount(self.kbps, rng)))
        # At most rates libsndfile writes no delay into the file and returns it as sound.
        return fit_length(y[_MP3_DELAY:] if len(y) > len(x) else y, len(x))


@dataclass(frozen=True)
class Opus(Transform):
    """Encode as Opus at a variable bit rate of about ``kbps``, and decode."""

    kbps: Amount = (8.0, 24.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"kbps": (6.0, 256.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        return fit_length(_decode(encode_opus(x, draw_amount(self.kbps, rng))), len(x))


def encode_mp3(x: Floats, kbps: float) -> bytes:
    """Encode ``x`` ``(n,)`` at 16 kHz as an MP3 file."""
    nearest = min(_MP3_KBPS, key=lambda rate: abs(rate - kbps))
    # libsndfile counts from 0, the highest rate, to 1; its MP3 encoder refuses 1 itself.
    level = min((_MP3_KBPS[-1] - nearest) / (_MP3_KBPS[-1] - _MP3_KBPS[0]), 0.999)
    return _encode(x, "MP3", "MPEG_LAYER_III", compression_level=level, bitrate_mode="CONSTANT")


def encode_opus(x: Floats, kbps: float) -> bytes:
    """Encode ``x`` ``(n,)`` at 16 kHz as an Ogg Opus file."""
    return _encode(x, "OGG", "OPUS", compression_level=min(max(1 - (kbps - 6) / 250, 0.0), 1.0))


def _encode(x: Floats, container: str, subtype: str, **options: Any) -> bytes:
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(
            file, "w", SAMPLE_RATE, 1, format=container, subtype=subtype, **options
        ) as sink:
            sink.write(x)
    except (TypeError, ValueError, soundfile.LibsndfileError) as error:
        installed = f"soundfile {soundfile.__version__} with libsndfile {soundfile.__libsndfile_version__}"
        raise ConfigError(
            f"{installed} cannot write {subtype} at a rate: {error}; expected soundfile 0.13 or newer"
        ) from None
    return file.getvalue()


def _decode(data: bytes) -> npt.NDArray[Any]:
    y, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    if rate != SAMPLE_RATE:  # libsndfile returns the rate it was given, for Opus too
        raise AudioDecodeError(f"the codec returned {rate} Hz; expected {SAMPLE_RATE}")
    return np.asarray(y)
