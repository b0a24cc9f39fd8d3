"""The augmentation of the default model: a random chain of functions, each of random strength.

``channel_chain`` applies the same random reverberation, bands, codecs and noises to every corpus, so that a
net cannot tell corpora apart by how they were recorded. The released weights depend on these functions to
the last bit; `emovox.augment` has the transforms for new models. Levels may leave [-1, 1].
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import soundfile
import soxr

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import Rng, apply_response, mix_noise, response_hz

__all__ = [
    "AUGMENTATIONS",
    "ChainConfig",
    "add_noise",
    "band_limit",
    "channel_chain",
    "clip_peaks",
    "crop",
    "encode_decode",
    "equalise",
    "gain",
    "mu_law",
    "reverberate",
    "speed",
]


def gain(x: Floats, rng: Rng, *, low_db: float = -12.0, high_db: float = 12.0) -> Floats:
    """Multiply by a random gain in dB."""
    return (x * 10 ** (rng.uniform(low_db, high_db) / 20)).astype(np.float32)


def speed(x: Floats, rng: Rng, *, low: float = 0.9, high: float = 1.1) -> Floats:
    """Play faster or slower: tempo, pitch and formants move together (Ko et al., 2015)."""
    factor = rng.uniform(low, high)
    return np.asarray(soxr.resample(x, SAMPLE_RATE * factor, SAMPLE_RATE, quality="MQ"), np.float32)


def crop(x: Floats, rng: Rng, *, shortest_s: float = 1.2, least: float = 0.5) -> Floats:
    """Keep a random stretch of at least ``shortest_s`` seconds and ``least`` of the whole."""
    low = max(int(shortest_s * SAMPLE_RATE), int(least * len(x)))
    if low >= len(x):
        return x
    n = int(rng.integers(low, len(x) + 1))
    start = int(rng.integers(0, len(x) - n + 1))
    return x[start : start + n]


def add_noise(x: Floats, rng: Rng, *, low_db: float = 5.0, high_db: float = 40.0) -> Floats:
    """Add noise of a random colour (power ~ 1/f^0..2), sometimes swelling, at a random SNR in dB."""
    slope = rng.uniform(0.0, 2.0)
    colour = np.maximum(response_hz(len(x)), 40.0) ** (-slope / 2)
    noise = apply_response(rng.standard_normal(len(x)), colour)
    if rng.random() < 0.3:
        noise *= 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.2, 4.0) * np.arange(len(x)) / SAMPLE_RATE)
    return mix_noise(x, noise, rng.uniform(low_db, high_db))


def equalise(x: Floats, rng: Rng, *, depth_db: float = 6.0) -> Floats:
    """A smooth random frequency response: a tilt and a few broad bumps, up to about ``depth_db``."""
    hz = response_hz(len(x))
    octave = np.log2(np.maximum(hz, 50.0) / 1000.0)
    response_db = rng.uniform(-depth_db, depth_db) / 3 * octave
    for _ in range(3):
        centre, width = rng.uniform(-4, 3), rng.uniform(0.5, 1.5)
        response_db += rng.uniform(-depth_db, depth_db) * np.exp(-0.5 * ((octave - centre) / width) ** 2)
    return apply_response(x, 10 ** (response_db / 20))


def band_limit(x: Floats, rng: Rng) -> Floats:
    """A telephone (300-3400 Hz) or a random wider band, with edges a third of an octave soft."""
    if rng.random() < 0.3:
        low, high = 300.0, 3400.0
    else:
        low, high = rng.uniform(20.0, 250.0), rng.uniform(3400.0, 8000.0)
    hz = np.maximum(response_hz(len(x)), 1.0)
    rise = 1 / (1 + (low / hz) ** 12)
    fall = 1 / (1 + (hz / high) ** 24)
    return apply_response(x, np.sqrt(rise * fall))


def reverberate(x: Floats, rng: Rng, *, longest_s: float = 0.5) -> Floats:
    """A synthetic room: exponentially decaying noise behind the direct sound, random RT60."""
    rt60_s = rng.uniform(0.1, longest_s)
    n = int(rt60_s * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    tail = rng.standard_normal(n) * 10 ** (-3 * t / rt60_s)
    tail[: int(0.002 * SAMPLE_RATE)] = 0
    tail *= 10 ** (rng.uniform(-12.0, 0.0) / 20) / np.sqrt(np.sum(tail**2) + 1e-12)
    size = 1 << (len(x) + n).bit_length()
    wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)[: len(x)]
    return (x + wet).astype(np.float32)


def clip_peaks(x: Floats, rng: Rng) -> Floats:
    """Cut the loudest 0.1 to 5 % of the samples off, as an overdriven input does."""
    rail = np.quantile(np.abs(x), 1 - rng.uniform(0.001, 0.05))
    return np.clip(x, -rail, rail) if rail > 0 else x


def mu_law(x: Floats, rng: Rng) -> Floats:
    """G.711 mu-law at 8 kHz and back, as on a telephone line."""
    low = np.asarray(soxr.resample(x, SAMPLE_RATE, 8000, quality="MQ"), np.float32)
    peak = max(float(np.abs(low).max()), 1e-6) / rng.uniform(0.1, 0.9)
    return _through_file(low / peak, 8000, "WAV", "ULAW", None, len(x)) * np.float32(peak)


def encode_decode(x: Floats, rng: Rng) -> Floats:
    """MP3 or Opus at a random low rate and back, through the real codecs of libsndfile."""
    peak = max(float(np.abs(x).max()), 1e-6) / rng.uniform(0.3, 0.95)
    if rng.random() < 0.5:
        y = _through_file(x / peak, SAMPLE_RATE, "MP3", "MPEG_LAYER_III", rng.uniform(0.5, 0.99), len(x))
    else:
        y = _through_file(x / peak, SAMPLE_RATE, "OGG", "OPUS", rng.uniform(0.85, 0.98), len(x))
    return y * np.float32(peak)


AUGMENTATIONS: MappingProxyType[str, Callable[[Floats, Rng], Floats]] = MappingProxyType(
    {
        "band": band_limit,
        "clip": clip_peaks,
        "codec": encode_decode,
        "crop": crop,
        "equalise": equalise,
        "gain": gain,
        "mu_law": mu_law,
        "noise": add_noise,
        "reverb": reverberate,
        "speed": speed,
    }
)
"""Name -> transform with its default strength."""


@dataclass(frozen=True)
class ChainConfig:
    """How often each step of ``channel_chain`` is taken, in its order."""

    speed: float = 0.7
    crop: float = 0.5
    reverb: float = 0.25
    equalise: float = 0.6
    noise: float = 0.5
    clip: float = 0.05
    band: float = 0.3
    gain: float = 1.0
    mu_law: float = 0.07
    codec: float = 0.4


def channel_chain(x: Floats, rng: Rng, config: ChainConfig | None = None) -> Floats:
    """A random voice change, then a random room, microphone, noise, line and codec."""
    config = config or ChainConfig()
    for name in config.__dataclass_fields__:
        # Drawn whether or not the step is taken: the chain stays comparable between configs.
        if rng.random() < getattr(config, name):
            x = AUGMENTATIONS[name](x, rng)
    return x


def _through_file(x: Floats, rate: int, form: str, subtype: str, level: float | None, n: int) -> Floats:
    """Encode, decode, resample to 16 kHz, cut or pad to ``n`` samples."""
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate, 1, format=form, subtype=subtype, compression_level=level
    ) as sink:
        sink.write(x)
    file.seek(0)
    y, rate = soundfile.read(file, dtype="float32")
    if rate != SAMPLE_RATE:
        y = np.asarray(soxr.resample(y, rate, SAMPLE_RATE, quality="MQ"), np.float32)
    return np.pad(y, (0, max(0, n - len(y))))[:n].astype(np.float32)
