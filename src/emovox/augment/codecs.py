"""Encoded and decoded by real codecs: the MP3 (LAME) and Opus of libsndfile."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import soundfile

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import Amount, Rng, Transform, drawn, fitted
from emovox.errors import AudioDecodeError, ConfigError

__all__ = ["Mp3", "Opus", "mp3_bytes", "opus_bytes"]

_MP3_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""What MPEG-2 layer III knows at 16 kHz."""

_MP3_DELAY = 1105
"""Samples that LAME, 576, and any decoder, 529, begin later."""


@dataclass(frozen=True)
class Mp3(Transform):
    """MP3 at a constant rate, the nearest that the format knows, and back."""

    kbps: Amount = (8.0, 32.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"kbps": (8.0, 160.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        y = _decoded(mp3_bytes(x, drawn(self.kbps, rng)))
        # At most rates libsndfile writes no word on the encoder's delay, and gives it back as sound.
        return fitted(y[_MP3_DELAY:] if len(y) > len(x) else y, len(x))


@dataclass(frozen=True)
class Opus(Transform):
    """Opus at a variable rate of about so many kbit/s, and back."""

    kbps: Amount = (8.0, 24.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"kbps": (6.0, 256.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        return fitted(_decoded(opus_bytes(x, drawn(self.kbps, rng))), len(x))


def mp3_bytes(x: Floats, kbps: float) -> bytes:
    """A file of ``x`` ``(n,)`` at 16 kHz."""
    nearest = min(_MP3_KBPS, key=lambda rate: abs(rate - kbps))
    # libsndfile counts from 0, the highest rate, to 1; 1 itself its MP3 encoder refuses.
    level = min((_MP3_KBPS[-1] - nearest) / (_MP3_KBPS[-1] - _MP3_KBPS[0]), 0.999)
    return _encoded(x, "MP3", "MPEG_LAYER_III", compression_level=level, bitrate_mode="CONSTANT")


def opus_bytes(x: Floats, kbps: float) -> bytes:
    """A file of ``x`` ``(n,)`` at 16 kHz."""
    return _encoded(x, "OGG", "OPUS", compression_level=min(max(1 - (kbps - 6) / 250, 0.0), 1.0))


def _encoded(x: Floats, form: str, subtype: str, **options: Any) -> bytes:
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, format=form, subtype=subtype, **options) as sink:
            sink.write(x)
    except (TypeError, ValueError, soundfile.LibsndfileError) as error:
        here = f"soundfile {soundfile.__version__} with libsndfile {soundfile.__libsndfile_version__}"
        raise ConfigError(
            f"{here} cannot write {subtype} at a rate: {error}; expected soundfile 0.13 or newer"
        ) from None
    return file.getvalue()


def _decoded(data: bytes) -> npt.NDArray[Any]:
    y, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    if rate != SAMPLE_RATE:  # libsndfile gives back the rate that it was handed, Opus or not
        raise AudioDecodeError(f"the codec answered at {rate} Hz; expected {SAMPLE_RATE}")
    return np.asarray(y)
