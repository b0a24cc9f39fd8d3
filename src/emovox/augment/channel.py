"""Recording conditions: level, clipping, room, microphone and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import soxr

from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import (
    Amount,
    Rng,
    Transform,
    apply_response,
    draw_amount,
    fit_length,
    limit_peak,
    match_level,
    response_hz,
)

__all__ = [
    "BandPass",
    "Clipping",
    "Compressor",
    "Gain",
    "MicrophoneResponse",
    "PacketLoss",
    "Room",
    "TelephoneBand",
    "Tilt",
    "impulse_response",
    "resample_through_8_khz",
]

_DIRECT_GAP_S = 0.002
"""Between the direct sound and the first echo: the nearest wall is some way off."""


@dataclass(frozen=True)
class Gain(Transform):
    """Change the level by ``gain_db``; samples beyond [-1, 1] are clipped, as by a recorder."""

    gain_db: Amount = (-12.0, 12.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"gain_db": (-80.0, 80.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        return x * np.float32(10 ** (draw_amount(self.gain_db, rng) / 20))


@dataclass(frozen=True)
class Clipping(Transform):
    """Clip the loudest ``percent`` of the samples, as an overdriven input does."""

    percent: Amount = (0.1, 5.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"percent": (0.0, 90.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        limit = np.quantile(np.abs(x), 1 - draw_amount(self.percent, rng) / 100)
        return np.clip(x, -limit, limit) if limit > 0 else x


@dataclass(frozen=True)
class Room(Transform):
    """Add reverberation: decaying noise after the direct sound, at the level of the input.

    ``rt60_s`` is the time in which the echoes fall by 60 dB, ``direct_db`` the power of the direct sound
    over that of all echoes: the nearer the microphone, the higher.
    """

    rt60_s: Amount = (0.1, 0.8)
    direct_db: Amount = (0.0, 12.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"rt60_s": (0.02, 10.0), "direct_db": (-40.0, 60.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        response = impulse_response(draw_amount(self.rt60_s, rng), draw_amount(self.direct_db, rng), rng)
        size = 1 << (len(x) + len(response) - 1).bit_length()
        wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(response, size), size)[: len(x)]
        return limit_peak(match_level(wet, x).astype(np.float32))


def impulse_response(rt60_s: float, direct_db: float, rng: Rng) -> Doubles:
    """Draw a room's impulse response ``(n,)``: 1, a gap of 2 ms, then noise that decays for 80 dB."""
    t = np.arange(round((_DIRECT_GAP_S + rt60_s * 80 / 60) * SAMPLE_RATE) + 1) / SAMPLE_RATE
    response = rng.standard_normal(len(t)) * 10 ** (-3 * t / rt60_s)
    response[t < _DIRECT_GAP_S] = 0
    response *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1
    return response


@dataclass(frozen=True)
class MicrophoneResponse(Transform):
    """Apply a smooth random frequency response at the level of the input: a tilt and three broad bumps."""

    depth_db: Amount = 6.0

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"depth_db": (0.0, 24.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        depth_db = draw_amount(self.depth_db, rng)
        octave = np.log2(np.maximum(response_hz(len(x)), 50.0) / 1000.0)
        response_db = rng.uniform(-depth_db, depth_db) / 3 * octave
        for _ in range(3):
            centre, width = rng.uniform(-4, 3), rng.uniform(0.5, 1.5)
            bump = np.exp(-0.5 * ((octave - centre) / width) ** 2)
            response_db += rng.uniform(-depth_db, depth_db) * bump
        y = apply_response(x, 10 ** (response_db / 20))
        return limit_peak(match_level(y, x).astype(np.float32))


@dataclass(frozen=True)
class Tilt(Transform):
    """Raise (below 0: lower) the spectrum by ``db_per_octave`` around 1 kHz, at the level of the input."""

    db_per_octave: Amount = (-3.0, 3.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"db_per_octave": (-12.0, 12.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        octave = np.log2(np.maximum(response_hz(len(x)), 50.0) / 1000.0)
        y = apply_response(x, 10 ** (draw_amount(self.db_per_octave, rng) * octave / 20))
        return limit_peak(match_level(y, x).astype(np.float32))


_BLOCK = 16
"""Samples, 1 ms, over which a compressor takes the level."""


@dataclass(frozen=True)
class Compressor(Transform):
    """Compress the dynamic range: above ``threshold_dbfs`` a level rises by ``slope`` dB for each dB.

    The level of blocks of 1 ms is followed with one time constant when it rises, ``attack_s``, and another
    when it falls, ``release_s``. The result has the level of the input.
    """

    threshold_dbfs: Amount = -20.0
    slope: Amount = 0.25
    attack_s: float = 0.01
    release_s: float = 0.02

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {
        "threshold_dbfs": (-80.0, 0.0),
        "slope": (0.0, 1.0),
        "attack_s": (0.0005, 1.0),
        "release_s": (0.0005, 5.0),
    }

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        threshold, slope = draw_amount(self.threshold_dbfs, rng), draw_amount(self.slope, rng)
        blocks = fit_length(np.abs(x), -(-len(x) // _BLOCK) * _BLOCK).reshape(-1, _BLOCK).max(axis=1)
        above = np.maximum(20 * np.log10(blocks + 1e-9) - threshold, 0.0)
        seconds = _BLOCK / SAMPLE_RATE
        rise, fall = (1 - np.exp(-seconds / s) for s in (self.attack_s, self.release_s))
        level, gains_db = 0.0, np.empty(len(above))
        for k, one in enumerate(above):
            level += (rise if one > level else fall) * (one - level)
            gains_db[k] = (slope - 1) * level
        centres = (np.arange(len(above)) + 0.5) * _BLOCK
        y = x * 10 ** (np.interp(np.arange(len(x)), centres, gains_db) / 20)
        return limit_peak(match_level(y, x).astype(np.float32))


@dataclass(frozen=True)
class PacketLoss(Transform):
    """Lose ``percent`` of the packets of ``packet_ms``; each is replaced by the one before, 6 dB lower."""

    percent: Amount = (1.0, 10.0)
    packet_ms: float = 20.0

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"percent": (0.0, 100.0), "packet_ms": (1.0, 200.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        size = round(self.packet_ms / 1000 * SAMPLE_RATE)
        packets = fit_length(x, -(-len(x) // size) * size).reshape(-1, size).copy()
        percent = draw_amount(self.percent, rng)
        n_lost = max(1 if percent else 0, round(percent / 100 * len(packets)))
        for k in sorted(rng.choice(len(packets), n_lost, replace=False)):
            packets[k] = 0.5 * packets[k - 1] if k else 0.0
        return packets.reshape(-1)[: len(x)]


@dataclass(frozen=True)
class BandPass(Transform):
    """Keep the band between two frequencies (-3 dB); it falls by 36 dB an octave below and 72 above."""

    low_hz: Amount = (20.0, 250.0)
    high_hz: Amount = (3400.0, 7500.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {
        "low_hz": (1.0, 2000.0),
        "high_hz": (300.0, 8000.0),
    }

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        low, high = draw_amount(self.low_hz, rng), draw_amount(self.high_hz, rng)
        hz = np.maximum(response_hz(len(x)), 1.0)
        rise, fall = 1 / (1 + (low / hz) ** 12), 1 / (1 + (hz / high) ** 24)
        return apply_response(x, np.sqrt(rise * fall))


@dataclass(frozen=True)
class TelephoneBand(Transform):
    """Keep the telephone band, 300 to 3400 Hz, at 8 kHz; ``g711`` adds the coding of the line."""

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        return resample_through_8_khz(BandPass(300.0, 3400.0)(x, rng))


def resample_through_8_khz(x: Floats) -> Floats:
    """Resample ``x`` to 8 kHz and back to 16 kHz, ``(n,)``: nothing above 4 kHz remains."""
    low = soxr.resample(x, SAMPLE_RATE, 8000, quality="HQ")
    return fit_length(soxr.resample(low, 8000, SAMPLE_RATE, quality="HQ"), len(x)).astype(np.float32)
