"""``emovox-core``: a recording's voice in one row of named numbers, in numpy, under our licence.

It asks of a voice what the Geneva minimalistic set (eGeMAPS) asks, with definitions of our own: pitch,
loudness, voice quality, formants, the balance of the spectrum, cepstra, rhythm. `COLUMNS` begins with its 88.
What follows was added because it helped on validation speakers: how pitch moves from frame to frame, the
cepstra of unvoiced speech, how long speech lasts, and the modulation of the bands, that is which share of
the changes of a band's level is slow (words), which is syllables, and which is faster.

- Frames are 25 ms every 10 ms. What tells of the voice (F0, jitter, shimmer, HNR, harmonics, formants) is
  asked every 20 ms, and what tells of periods of the sound at half the rate, up to 4 kHz: each halves the
  time.
- ``_cv`` is the deviation over the mean, for what is never negative; ``_std`` the deviation, for the rest.
- ``_voiced`` and ``_unvoiced`` are of the frames with and without F0; pauses count as unvoiced, but not for
  ``_heard``: frames at most 40 dB below the loudest one.
- A number that has nothing to stand on is nan: all of the voice's, for a recording without one.
- `LEVEL_COLUMNS` move with the gain of the recording; no other does.

Source: F. Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for voice research and
affective computing", IEEE Trans. Affective Computing 7 (2016), 190-202. Loudness is Hermansky's (1990, J.
Acoust. Soc. Am. 87, 1738-1752): bands weighed like the ear, their cube roots added.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Bools, Doubles, Floats
from emovox.audio import SAMPLE_RATE, stft
from emovox.features.formants import resonances
from emovox.features.frames import DEFAULT, FrameSettings, ShortTime, columns_of
from emovox.features.functionals import columns, functionals
from emovox.features.pitch import f0
from emovox.features.spectral import log_mel, mfcc
from emovox.features.temporal import rms
from emovox.features.voice_quality import hnr_db, periods
from emovox.features.voiced import Voiced

__all__ = ["COLUMNS", "LEVEL_COLUMNS", "VERSION", "core"]


VERSION = 1
_HOP_S = DEFAULT.hop / SAMPLE_RATE
_STRIDE = 2
"""Frames from one that is asked for its voice to the next."""
_HALF = FrameSettings(window=DEFAULT.window // 2, hop=_STRIDE * DEFAULT.hop // 2, n_fft=DEFAULT.n_fft // 2)
"""The frames of the sound at half the rate: the middles of every second one."""
_TINY_POWER = 1e-10
_HEARD = 0.03
"""RMS of a frame that can carry a voice, as a share of the loudest frame's: -30 dB, Praat's silence."""
_AUDIBLE = 0.01
"""The same for what counts as heard: -40 dB."""
_LOWEST_PITCH_HZ = 27.5
_RATES_HZ = (0.5, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Edges of the bands of modulation."""
_N_BANDS = 26
_SMALLEST_SHARE = 1e-4
_N_CEPSTRA = 12

# --- the columns -------------------------------------------------------------------------------------

_CONTOUR = ("mean", "cv", "p20", "p50", "p80", "range_20_80")
_CHANGE = ("mean", "std", "p10", "p90")
_RUNS = ("rising_mean", "rising_std", "falling_mean", "falling_std")
_POSITIVE_VOICE = (
    "jitter",
    "shimmer_db",
    *(f"f{k}_{what}" for k in (1, 2, 3) for what in ("hz", "bandwidth_hz")),
)
_SIGNED_VOICE = ("hnr_db", "h1_h2_db", "h1_a3_db", "f1_level_db", "f2_level_db", "f3_level_db")
_BALANCE = ("alpha_ratio_db", "hammarberg_db", "slope_0_500", "slope_500_1500")
_CEPSTRA = columns_of("mfcc", _N_CEPSTRA)
_SEGMENTS = ("voiced_length_mean_s", "voiced_length_std_s", "unvoiced_length_mean_s", "unvoiced_length_std_s")


def _with(names: tuple[str, ...], ending: str) -> tuple[str, ...]:
    return tuple(f"{name}_{ending}" for name in names)


COLUMNS: tuple[str, ...] = (
    *(f"{name}_{what}" for name in ("f0_semitone", "loudness") for what in (*_CONTOUR, *_RUNS)),
    *columns(_POSITIVE_VOICE, ("mean",)),
    *_with(_POSITIVE_VOICE, "cv"),
    *columns(_SIGNED_VOICE, ("mean", "std")),
    "flux_mean",
    "flux_cv",
    *columns(_CEPSTRA[:4], ("mean", "std")),
    *columns(_with((*_BALANCE, "flux", *_CEPSTRA[:4]), "voiced"), ("mean", "std")),
    *columns(_with((*_BALANCE, "flux"), "unvoiced"), ("mean",)),
    "loudness_peaks_per_s",
    "voiced_segments_per_s",
    *_SEGMENTS,
    "level_db",
    *columns(("f0_change_semitone",), _CHANGE),
    *columns(_with(_CEPSTRA, "unvoiced_heard"), ("mean", "std")),
    "heard_s",
    "voiced_share",
    "voiced_share_of_heard",
    *(
        f"modulation_{low:g}_{high:g}_hz_{band}"
        for low, high in pairwise(_RATES_HZ)
        for band in columns_of("band", _N_BANDS // 2)
    ),
)
LEVEL_COLUMNS: tuple[str, ...] = (
    *(f"loudness_{what}" for what in ("mean", "p20", "p50", "p80", "range_20_80", *_RUNS)),
    "flux_mean",
    "flux_voiced_mean",
    "flux_voiced_std",
    "flux_unvoiced_mean",
    "level_db",
)
"""Those that a gain changes."""


def core(x: Floats, sample_rate: int) -> Floats:
    """The row of `COLUMNS` for a sound ``(n,)`` at 16 kHz, nan where a number has nothing to stand on."""
    short = ShortTime(x, sample_rate)
    half = ShortTime(_half(short.x), sample_rate // 2, _HALF)
    loud = rms(short.x, sample_rate, shared=short)[:, 0]
    heard = loud > _AUDIBLE * loud.max()
    pitch = f0(half.x, half.sample_rate, shared=half)[:, 0]
    # Hum and echoes far below are no voice.
    pitch = np.where(loud[::_STRIDE] > _HEARD * loud.max(), pitch, np.float32(np.nan))
    there = np.repeat(~np.isnan(pitch), _STRIDE)[: short.n_frames]
    cepstra = mfcc(short.x, sample_rate, shared=short, n_mfcc=_N_CEPSTRA + 1, **_BANDS)[:, 1:]
    bands = log_mel(short.x, sample_rate, shared=short, **_BANDS)
    semitone = 12 * np.log2(pitch.astype(np.float64) / _LOWEST_PITCH_HZ)
    row = [
        *_eightyeight(short, Voiced.of(half, pitch), there, semitone, cepstra),
        _statistics(np.diff(semitone, append=np.nan)[:, None], *_CHANGE),
        _moments(cepstra[heard & ~there]),
        np.array([heard.sum() * _HOP_S, there.mean(), there[heard].mean() if heard.any() else np.nan]),
        _modulation(bands[heard]),
    ]
    return np.concatenate(row).astype(np.float32)


def _eightyeight(
    short: ShortTime, voiced: Voiced, there: Bools, semitone: Doubles, cepstra: Floats
) -> list[Doubles]:
    """What eGeMAPS asks, in the order of `COLUMNS`; ``there`` are the voiced ones of all frames."""
    loudness, flux = _loudness(short), _flux(short)
    positive, signed = _voice(voiced, short)
    frames = np.column_stack([_balance(short), flux, cepstra[:, :4]])
    power = np.mean(np.square(short.x, dtype=np.float64))
    return [
        _contour(semitone, _STRIDE * _HOP_S),
        _contour(_smoothed(loudness), _HOP_S),
        _positive(positive),
        _moments(signed),
        _positive(flux[:, None]),
        _moments(cepstra[:, :4]),
        _moments(frames[there]),
        _moments(frames[~there, :5])[:5],
        _rhythm(loudness, there),
        np.array([10 * np.log10(power) if power > 0 else np.nan]),
    ]


# --- what is heard in frames -------------------------------------------------------------------------

_BANDS: dict[str, Any] = {"n_mels": _N_BANDS, "low_hz": 20.0, "scale": "htk"}


def _half(x: Floats) -> Floats:
    """The sound at half its rate, ``(n,) -> (max(1, n // 2),)``, by a half-band filter: 4 kHz is halfway."""
    n = max(1, x.size // 2)
    bands = _half_bands()
    n_rows = -(-n // _N_BESIDE)
    # Every second tap of such a filter is 0: the other samples are the odd ones, beside each even one.
    odd = np.zeros(n_rows * _N_BESIDE + _N_TAPS, np.float32)
    odd[_N_TAPS // 2 :][: x.size // 2] = x[1::2]
    beside = np.lib.stride_tricks.sliding_window_view(odd, len(bands))[::_N_BESIDE] @ bands
    half: Floats = np.float32(0.5) * x[: 2 * n : 2] + beside.ravel()[:n]
    return half


_N_TAPS, _N_BESIDE = 16, 64
"""Taps beside the middle one; samples that one row of the filter's matrix gives."""


@lru_cache(maxsize=1)
def _half_bands() -> Floats:
    """Every second tap of a windowed sinc, as a band in each column, ``(79, 64)``.

    A product of matrices takes a fifth of the time of a convolution.
    """
    places = np.arange(1 - _N_TAPS, _N_TAPS, 2)
    taps = np.sin(np.pi * places / 2) / (np.pi * places) * np.hanning(35)[places + 17]
    bands = np.zeros((_N_BESIDE + _N_TAPS - 1, _N_BESIDE), np.float32)
    for column in range(_N_BESIDE):
        bands[column : column + _N_TAPS, column] = 0.5 * taps / taps.sum()
    return bands


def _loudness(short: ShortTime) -> Doubles:
    bank, ear = _hearing(short.sample_rate, short.settings.n_fft)
    power = short.power @ bank / np.float32(short.settings.taper_weights().sum() ** 2)
    loud: Doubles = np.cbrt(power * ear).sum(1).astype(np.float64)
    return loud


@lru_cache(maxsize=4)
def _hearing(sample_rate: int, n_fft: int) -> tuple[Floats, Floats]:
    """26 mel bands ``(n_bins, 26)`` and the weight of each in the ear ``(26,)``."""
    bank = stft.mel_filters(sample_rate, n_fft, 26, 20.0, sample_rate / 2)
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    low = 2595 * np.log10(1 + 20 / 700)
    middle_hz = 700 * (10 ** (np.linspace(low, top, 28)[1:-1] / 2595) - 1)
    w = (2 * np.pi * middle_hz) ** 2
    ear = (w + 56.8e6) * w**2 / ((w + 6.3e6) ** 2 * (w + 0.38e9))
    return bank.T.copy(), ear.astype(np.float32)


def _levels(short: ShortTime) -> Floats:
    """Power of each bin up to 5 kHz in dB, ``(t, n_bins)``."""
    end = int(5000 / short.sample_rate * short.settings.n_fft) + 1
    levels: Floats = short.once(
        "levels", lambda: 10 * np.log10(short.power[:, :end] + np.float32(_TINY_POWER))
    )
    return levels


def _flux(short: ShortTime) -> Doubles:
    """RMS change of the magnitudes up to 5 kHz from frame to frame, ``(t,)``; 0 for the first."""
    end = _levels(short).shape[1]
    magnitude = np.sqrt(short.power[:, :end]) / np.float32(short.settings.taper_weights().sum())
    change = np.sqrt(np.square(np.diff(magnitude, axis=0)).mean(1))
    return np.append(0.0, change)


def _balance(short: ShortTime) -> Doubles:
    """Where the power of each frame lies, ``(t, 4)``, as `_BALANCE` names it."""
    levels, power = _levels(short), short.power
    step_hz = short.sample_rate / short.settings.n_fft
    a, b, c, d = (round(hz / step_hz) for hz in (50, 1000, 2000, 5000))
    low, high = power[:, a:b].sum(1), power[:, b:d].sum(1)
    alpha = 10 * np.log10((high + _TINY_POWER) / (low + _TINY_POWER))
    hammarberg = levels[:, :c].max(1) - levels[:, c:].max(1)
    slopes = levels @ _slopes(levels.shape[1], step_hz)
    return np.column_stack([alpha, hammarberg, slopes]).astype(np.float64)


@lru_cache(maxsize=4)
def _slopes(n_bins: int, step_hz: float) -> Floats:
    """From levels in dB to the least-squares slope in two bands, dB a Hz, ``(n_bins, 2)``."""
    hz = np.arange(n_bins) * step_hz
    weights = np.zeros((n_bins, 2))
    for column, (low, high) in enumerate(((0, 500), (500, 1500))):
        inside = (hz >= low) & (hz <= high)
        away = hz[inside] - hz[inside].mean()
        weights[inside, column] = away / (away**2).sum()
    return weights.astype(np.float32)


def _voice(voiced: Voiced, short: ShortTime) -> tuple[Doubles, Doubles]:
    """Of every voiced frame: what is never negative and what may be, ``(v, 8)`` and ``(v, 6)``."""
    cycles = periods(voiced)
    hz, width = resonances(short, replace(voiced, index=_STRIDE * voiced.index))
    formant = np.stack([hz, width], axis=2).reshape(len(voiced), 6)
    positive = np.column_stack([cycles.jitter, cycles.shimmer_db, formant])
    first, second, *levels = voiced.level_db(np.column_stack([voiced.hz, 2 * voiced.hz, hz])).T
    above = [first - second, first - levels[2]]
    return positive, np.column_stack([hnr_db(voiced), *above, *(level - first for level in levels)])


# --- and how a recording sums it up ------------------------------------------------------------------


def _statistics(values: ArrayLike, *names: str) -> Doubles:
    return functionals(values, statistics=names).astype(np.float64)


def _moments(values: ArrayLike) -> Doubles:
    """Mean and deviation of each column of ``(t, d)``, nan left out: ``(2 * d,)``, nan for nothing."""
    given = np.asarray(values, dtype=np.float64)
    there = ~np.isnan(given)
    n = there.sum(0).astype(np.float64)
    n[n == 0] = np.nan
    mean = np.where(there, given, 0.0).sum(0) / n
    away = np.where(there, given - mean, 0.0)
    return np.concatenate([mean, np.sqrt(np.einsum("td,td->d", away, away) / n)])


def _positive(values: Doubles) -> Doubles:
    """Mean and coefficient of variation of each column."""
    mean, std = _moments(values).reshape(2, -1)
    return np.concatenate([mean, std / np.where(mean > 0, mean, np.nan)])


def _smoothed(values: Doubles) -> Doubles:
    """The mean over three frames, ``(t,)``; the outermost are repeated."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    smooth: Doubles = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return smooth


def _contour(values: Doubles, hop_s: float) -> Doubles:
    """`_CONTOUR` and `_RUNS` of one contour ``(t,)``, nan where it is interrupted."""
    mean, std = _moments(values[:, None])
    p20, p50, p80 = _statistics(values[:, None], "p20", "p50", "p80")
    level = np.array([mean, std / mean if mean > 0 else np.nan, p20, p50, p80, p80 - p20])
    return np.concatenate([level, _runs(values, hop_s)])


def _runs(values: Doubles, hop_s: float) -> Doubles:
    """Mean and deviation of the slopes, a second, of stretches that rise and of those that fall."""
    change = np.diff(values)
    direction = np.where(np.isnan(change), 0, np.sign(change))
    starts = np.flatnonzero(np.diff(direction, prepend=np.nan) != 0)
    if not len(starts):
        return np.full(4, np.nan)
    lengths = np.diff(np.append(starts, len(change)))
    slopes = np.abs(np.add.reduceat(np.nan_to_num(change), starts)) / lengths / hop_s
    found = []
    for sign in (1, -1):
        of_sign = slopes[direction[starts] == sign]
        found += [of_sign.mean(), of_sign.std()] if len(of_sign) else [np.nan, np.nan]
    return np.array(found)


def _rhythm(loudness: Doubles, there: Bools) -> Doubles:
    """Peaks of loudness and voiced stretches a second, lengths of voiced and unvoiced stretches."""
    duration_s = len(there) * _HOP_S
    edges = np.flatnonzero(np.diff(there)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [len(there)]])) * _HOP_S
    voiced, unvoiced = (lengths[int(there[0] != kind) :: 2] for kind in (True, False))
    means = [f(part) if len(part) else np.nan for part in (voiced, unvoiced) for f in (np.mean, np.std)]
    return np.array([_n_peaks(loudness) / duration_s, len(voiced) / duration_s, *means])


def _n_peaks(loudness: Doubles) -> int:
    smooth = _smoothed(_smoothed(loudness))
    peak = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:]) & (smooth[1:-1] > smooth.mean())
    return int(peak.sum())


def _modulation(bands: Floats) -> Doubles:
    """Which share of the changes of each band's level is how fast: ``ln`` of it, rates by pairs of bands.

    Of levels in dB ``(t, _N_BANDS)``; nan without two frames.
    """
    if len(bands) < 2:
        return np.full((len(_RATES_HZ) - 1) * _N_BANDS // 2, np.nan)
    # A fixed length or more, so that every band of modulation holds several bins; a power of two is fast.
    n_fft = max(512, 1 << (len(bands) - 1).bit_length())
    spectra = np.fft.rfft((bands - bands.mean(0)).T, n_fft, axis=1)
    edges = np.rint(np.array(_RATES_HZ) * n_fft * _HOP_S).astype(np.intp)
    power = np.square(spectra.real) + np.square(spectra.imag)
    fast = np.stack([power[:, a:b].sum(1) for a, b in pairwise(edges)])
    pairs = fast.reshape(len(fast), -1, 2).sum(2, dtype=np.float64)
    total = pairs.sum(0)
    share: Doubles = pairs / np.where(total > 0, total, np.nan)
    return np.log(share + _SMALLEST_SHARE).ravel()
