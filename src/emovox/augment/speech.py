"""Time, tempo, pitch and vocal tract of the speaker.

Tempo is changed by WSOLA (Verhelst & Roelands, ICASSP 1993): the sound is cut into overlapping frames, and
each next frame is taken near its position at the new tempo where it best continues the previous one. On
speech this leaves neither the smear of a phase vocoder nor a wrong pitch.
"""

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
    draw_amount,
    find_loudest,
    fit_length,
    limit_peak,
    match_level,
)

__all__ = [
    "Crop",
    "Length",
    "Pitch",
    "Shift",
    "Silence",
    "Speed",
    "Stretch",
    "Trim",
    "VocalTract",
    "change_tempo",
]


# --- position ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shift(Transform):
    """Delay by ``shift_s`` (below 0: advance); the gap holds silence, or what fell off with ``wrap``."""

    shift_s: Amount = (-0.2, 0.2)
    wrap: bool = False

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"shift_s": (-3600.0, 3600.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        n = round(draw_amount(self.shift_s, rng) * SAMPLE_RATE)
        if self.wrap:
            return np.roll(x, n)
        y = np.zeros_like(x)
        if abs(n) < len(x):
            y[max(n, 0) : len(x) + min(n, 0)] = x[max(-n, 0) : len(x) - max(n, 0)]
        return y


@dataclass(frozen=True)
class Crop(Transform):
    """Keep a random stretch of at least ``shortest_s`` seconds and ``least_percent`` of the whole."""

    shortest_s: float = 1.2
    least_percent: float = 50.0

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {
        "shortest_s": (0.01, 3600.0),
        "least_percent": (0.0, 100.0),
    }

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        low = max(round(self.shortest_s * SAMPLE_RATE), int(self.least_percent / 100 * len(x)))
        if low >= len(x):
            return x
        n = int(rng.integers(low, len(x) + 1))
        start = int(rng.integers(0, len(x) - n + 1))
        return x[start : start + n]


@dataclass(frozen=True)
class Trim(Transform):
    """Remove ``start_s`` from the beginning and ``end_s`` from the end; a shorter sound stays as it is."""

    start_s: Amount = (0.0, 0.05)
    end_s: Amount = (0.0, 0.05)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"start_s": (0.0, 3600.0), "end_s": (0.0, 3600.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        start, end = (round(draw_amount(s, rng) * SAMPLE_RATE) for s in (self.start_s, self.end_s))
        return x[start : len(x) - end] if start + end < len(x) else x


@dataclass(frozen=True)
class Silence(Transform):
    """Add zeros before and after the sound."""

    before_s: Amount = (0.0, 0.1)
    after_s: Amount = (0.0, 0.1)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"before_s": (0.0, 60.0), "after_s": (0.0, 60.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        before, after = (round(draw_amount(s, rng) * SAMPLE_RATE) for s in (self.before_s, self.after_s))
        return np.pad(x, (before, after))


@dataclass(frozen=True)
class Length(Transform):
    """Keep the stretch of ``length_s`` with the most energy; a shorter sound is repeated to this length."""

    length_s: Amount = (1.0, 4.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"length_s": (0.01, 3600.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        n = max(1, round(draw_amount(self.length_s, rng) * SAMPLE_RATE))
        start = find_loudest(x, n)
        return x[start : start + n] if n < len(x) else np.resize(x, n)


# --- tempo and pitch ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speed(Transform):
    """Play ``factor`` times as fast: tempo, pitch and formants move together (Ko et al., 2015).

    The length is divided by ``factor``.
    """

    factor: Amount = (0.9, 1.1)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": (0.25, 4.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        factor = draw_amount(self.factor, rng)
        y = np.asarray(soxr.resample(x, SAMPLE_RATE * factor, SAMPLE_RATE, quality="HQ"), np.float32)
        return y if len(y) else x  # of a sample or two nothing would remain


@dataclass(frozen=True)
class Stretch(Transform):
    """Change the tempo at the same pitch; the length is divided by ``tempo``."""

    tempo: Amount = (0.8, 1.25)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"tempo": (0.25, 4.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        return change_tempo(x, draw_amount(self.tempo, rng))


@dataclass(frozen=True)
class Pitch(Transform):
    """Raise the pitch by ``semitones`` (below 0: lower it) in the same time; formants move along."""

    semitones: Amount = (-3.0, 3.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"semitones": (-24.0, 24.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        ratio = 2 ** (draw_amount(self.semitones, rng) / 12)
        longer = change_tempo(x, 1 / ratio)
        return fit_length(soxr.resample(longer, SAMPLE_RATE * ratio, SAMPLE_RATE, quality="HQ"), len(x))


# 40 ms: two periods of the deepest voice.
_WSOLA_FRAME = 640
_WSOLA_HOP = _WSOLA_FRAME // 2
# How far from its position a frame may be taken: 10 ms to either side hold a period of the deepest voice.
_WSOLA_REACH = 160
# What a frame at the end of the reach loses, as a share of the best likeness. Without it the frame that
# continues the last one always wins, as long as it is within reach, and the sound lags behind its tempo.
_WSOLA_DISTANCE_COST = 0.2


def change_tempo(x: Floats, tempo: float) -> Floats:
    """Change the tempo of ``x`` ``(n,)`` and keep its pitch: ``(round(n / tempo),)``, at least one sample."""
    frame, hop, reach = _WSOLA_FRAME, _WSOLA_HOP, _WSOLA_REACH
    n = max(1, round(len(x) / tempo))
    padded = np.pad(x, (hop + reach, 2 * frame + reach))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)  # overlapped by half it sums to 1
    y = np.zeros(n + 2 * frame)
    start = reach  # of the last frame taken, in `padded`
    for k in range(n // hop + 2):
        wanted = min(reach + round(k * hop * tempo), len(padded) - frame - reach)
        start = wanted if k == 0 else wanted + _best_offset(padded, wanted, start + hop)
        y[k * hop : k * hop + frame] += window * padded[start : start + frame]
    return y[hop : hop + n].astype(np.float32)


def _best_offset(x: Floats, wanted: int, follows: int) -> int:
    """Offset from ``wanted`` of the frame whose overlap is most like the natural continuation at ``follows``.

    Only the overlap counts: where the pitch glides, a match over the whole frame is out of phase there.
    """
    hop, reach = _WSOLA_HOP, _WSOLA_REACH
    follows = min(follows, len(x) - _WSOLA_FRAME)
    continuation = x[follows : follows + hop].astype(np.float64)
    near = x[wanted - reach : wanted + reach + hop].astype(np.float64)
    powers = np.concatenate([[0.0], np.cumsum(near**2)])
    energy = (powers[hop:] - powers[:-hop]) * np.sum(continuation**2)
    likeness = np.correlate(near, continuation, "valid") / np.sqrt(np.maximum(energy, 1e-20))
    if likeness.max() <= 0:
        return 0
    distance = np.abs(np.arange(-reach, reach + 1)) / reach
    return int((likeness - _WSOLA_DISTANCE_COST * distance).argmax()) - reach


# --- vocal tract -------------------------------------------------------------------------------------

# 32 ms at 16 kHz.
_FRAME = 512
_HOP = 128
# Quefrencies of the envelope: up to 2.5 ms, the period of a voice of 400 Hz; the upper half fades out.
_N_ENVELOPE = 40
# Largest change of an envelope at one frequency: 20 dB, in nepers.
_MAX_CHANGE = 2.3


@dataclass(frozen=True)
class VocalTract(Transform):
    """Multiply the formants by ``factor`` at the same pitch: above 1 a shorter vocal tract, below a longer.

    The warp of Jaitly & Hinton (ICML workshop 2013), applied to the sound: each frame's spectral envelope, a
    smoothed cepstrum, is stretched along the frequency, and the harmonics stay in place.
    """

    factor: Amount = (0.88, 1.14)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": (0.5, 2.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        factor = draw_amount(self.factor, rng)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)
        padded = np.pad(x.astype(np.float64), (_FRAME, 2 * _FRAME))  # each sample is in as many frames
        frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
        spectra = np.fft.rfft(frames * window, axis=1)
        spectra = spectra * np.exp(_envelope_change(np.log(np.abs(spectra) + 1e-7), factor))
        y = np.zeros((len(frames) - 1) * _HOP + _FRAME)
        for k, frame in enumerate(np.fft.irfft(spectra, _FRAME, axis=1) * window):
            y[k * _HOP : k * _HOP + _FRAME] += frame
        y = fit_length((y / 1.5)[_FRAME:], len(x))  # the squared windows sum to 1.5
        return limit_peak(match_level(y, x).astype(np.float32))


def _envelope_change(log_magnitude: Doubles, factor: float) -> Doubles:
    """What stretches the envelopes of log spectra ``(n_frames, n_bins)`` when it is added to them."""
    quefrency = np.minimum(np.arange(_FRAME), _FRAME - np.arange(_FRAME))
    fade = np.clip(2 * quefrency / _N_ENVELOPE - 1, 0, 1)
    weights = 0.5 + 0.5 * np.cos(np.pi * fade)
    envelopes = np.fft.rfft(np.fft.irfft(log_magnitude, axis=1) * weights, axis=1).real
    bins = np.arange(envelopes.shape[1])
    position = np.minimum(bins / factor, bins[-1])
    low = np.minimum(position.astype(int), bins[-1] - 1)
    share = position - low
    stretched = (1 - share) * envelopes[:, low] + share * envelopes[:, low + 1]
    return np.asarray(np.clip(stretched - envelopes, -_MAX_CHANGE, _MAX_CHANGE))
