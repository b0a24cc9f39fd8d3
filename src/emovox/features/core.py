"""The feature set ``emovox-core``: one row a recording, in numpy, under our licence.

It covers what the Geneva minimalistic set (eGeMAPS) covers, with our own definitions: pitch, loudness, voice
quality, formants, spectral balance, cepstra, rhythm; these are the first 88 of `COLUMNS`. The others were
added because they helped on validation speakers: changes of pitch from frame to frame, the cepstra of
unvoiced speech, the duration of speech, and the modulation of the bands, that is which shares of the changes
in a band's level are slow (words), syllabic, and faster.

- Frames are 25 ms every 10 ms. Properties of voiced frames (F0, jitter, shimmer, HNR, harmonics, formants)
  are computed every 20 ms, and those of periods at half the sample rate, up to 4 kHz: each halves the time.
- ``_cv`` is the deviation over the mean, of values that are never negative; ``_std`` the deviation of others.
- ``_voiced`` and ``_unvoiced`` are of the frames with and without F0; pauses count as unvoiced, but not for
  ``_heard``: frames at most 40 dB below the loudest one.
- An undefined value is nan: all properties of voiced frames, for a recording without any.
- `LEVEL_COLUMNS` change with the gain of the recording; no other does.

Source: F. Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for voice research and
affective computing", IEEE Trans. Affective Computing 7 (2016), 190-202. Loudness is Hermansky's (1990, J.
Acoust. Soc. Am. 87, 1738-1752): bands weighted by the sensitivity of the ear, their cube roots added.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Bools, Doubles, Floats
from emovox.audio import stft
from emovox.features.formants import find_resonances
from emovox.features.frames import DEFAULT, FrameSettings, ShortTime, number_columns
from emovox.features.functionals import functional_names, functionals, moments
from emovox.features.pitch import VoicedFrames, f0
from emovox.features.spectral import log_mel, mfcc
from emovox.features.temporal import rms
from emovox.features.voice_quality import find_periods, hnr_db

__all__ = ["COLUMNS", "LEVEL_COLUMNS", "VERSION", "core"]


VERSION = 1
_HOP_S = DEFAULT.hop / 16_000
# Properties of voiced frames are computed for every second frame.
_STRIDE = 2
# Frames of the samples at half the rate, with the middles of every second frame.
_HALF = FrameSettings(window=DEFAULT.window // 2, hop=_STRIDE * DEFAULT.hop // 2, n_fft=DEFAULT.n_fft // 2)
_TINY_POWER = 1e-10
# RMS of a frame that can be voiced, as a share of the loudest frame's: -30 dB, Praat's silence threshold.
_CAN_BE_VOICED = 0.03
# The same for the frames of the columns ``_heard``: -40 dB.
_AUDIBLE = 0.01
_LOWEST_PITCH_HZ = 27.5
# Edges of the modulation bands.
_RATES_HZ = (0.5, 2.0, 4.0, 8.0, 16.0, 32.0)
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
_CEPSTRA = number_columns("mfcc", _N_CEPSTRA)
_SEGMENTS = ("voiced_length_mean_s", "voiced_length_std_s", "unvoiced_length_mean_s", "unvoiced_length_std_s")


def _append(names: tuple[str, ...], ending: str) -> tuple[str, ...]:
    return tuple(f"{name}_{ending}" for name in names)


COLUMNS: tuple[str, ...] = (
    *(f"{name}_{what}" for name in ("f0_semitone", "loudness") for what in (*_CONTOUR, *_RUNS)),
    *functional_names(_POSITIVE_VOICE, ("mean",)),
    *_append(_POSITIVE_VOICE, "cv"),
    *functional_names(_SIGNED_VOICE, ("mean", "std")),
    "flux_mean",
    "flux_cv",
    *functional_names(_CEPSTRA[:4], ("mean", "std")),
    *functional_names(_append((*_BALANCE, "flux", *_CEPSTRA[:4]), "voiced"), ("mean", "std")),
    *functional_names(_append((*_BALANCE, "flux"), "unvoiced"), ("mean",)),
    "loudness_peaks_per_s",
    "voiced_segments_per_s",
    *_SEGMENTS,
    "level_db",
    *functional_names(("f0_change_semitone",), _CHANGE),
    *functional_names(_append(_CEPSTRA, "unvoiced_heard"), ("mean", "std")),
    "heard_s",
    "voiced_share",
    "voiced_share_of_heard",
    *(
        f"modulation_{low:g}_{high:g}_hz_{band}"
        for low, high in pairwise(_RATES_HZ)
        for band in number_columns("band", _N_BANDS // 2)
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
"""Columns that change with a gain."""


def core(x: Floats, sample_rate: int) -> Floats:
    """Compute `COLUMNS` of samples ``(n,)`` at 16 kHz; undefined values are nan."""
    short = ShortTime(x, sample_rate)
    half = ShortTime(_half(short.x), sample_rate // 2, _HALF)
    loud = rms(short)[:, 0]
    audible = loud > _AUDIBLE * loud.max()
    pitch = f0(half)[:, 0]
    # Hum and echoes far below the loudest frame are not voiced.
    pitch = np.where(loud[::_STRIDE] > _CAN_BE_VOICED * loud.max(), pitch, np.float32(np.nan))
    is_voiced = np.repeat(~np.isnan(pitch), _STRIDE)[: short.n_frames]
    cepstra = mfcc(short, n_mfcc=_N_CEPSTRA + 1, **_BANDS)[:, 1:]
    bands = log_mel(short, **_BANDS)
    semitone = 12 * np.log2(pitch.astype(np.float64) / _LOWEST_PITCH_HZ)
    row = [
        *_gemaps_row(short, VoicedFrames.of(half, pitch), is_voiced, semitone, cepstra),
        _statistics(np.diff(semitone, append=np.nan)[:, None], *_CHANGE),
        moments(cepstra[audible & ~is_voiced]),
        np.array(
            [
                audible.sum() * _HOP_S,
                is_voiced.mean(),
                is_voiced[audible].mean() if audible.any() else np.nan,
            ]
        ),
        _modulation(bands[audible]),
    ]
    return np.concatenate(row).astype(np.float32)


def _gemaps_row(
    short: ShortTime, voiced: VoicedFrames, is_voiced: Bools, semitone: Doubles, cepstra: Floats
) -> list[Doubles]:
    """The first 88 of `COLUMNS`; ``is_voiced (t,)`` is true for the voiced ones of all frames."""
    loudness, flux = _loudness(short), _flux(short)
    positive, signed = _voice_properties(voiced, short)
    frames = np.column_stack([_balance(short), flux, cepstra[:, :4]])
    power = np.mean(np.square(short.x, dtype=np.float64))
    return [
        _contour(semitone, _STRIDE * _HOP_S),
        _contour(_smooth(loudness), _HOP_S),
        _mean_and_cv(positive),
        moments(signed),
        _mean_and_cv(flux[:, None]),
        moments(cepstra[:, :4]),
        moments(frames[is_voiced]),
        moments(frames[~is_voiced, :5])[:5],
        _rhythm(loudness, is_voiced),
        np.array([10 * np.log10(power) if power > 0 else np.nan]),
    ]


# --- properties of frames ----------------------------------------------------------------------------

_BANDS: dict[str, Any] = {"n_mels": _N_BANDS, "low_hz": 20.0, "scale": "htk"}


def _half(x: Floats) -> Floats:
    """Halve the sample rate, ``(n,) -> (max(1, n // 2),)``, by a half-band filter: 4 kHz is at -6 dB."""
    n = max(1, x.size // 2)
    bands = _half_bands()
    n_rows = -(-n // _N_BESIDE)
    # Every second tap of such a filter is 0: the other samples are the odd ones, beside each even one.
    odd = np.zeros(n_rows * _N_BESIDE + _N_TAPS, np.float32)
    odd[_N_TAPS // 2 :][: x.size // 2] = x[1::2]
    beside = np.lib.stride_tricks.sliding_window_view(odd, len(bands))[::_N_BESIDE] @ bands
    half: Floats = np.float32(0.5) * x[: 2 * n : 2] + beside.ravel()[:n]
    return half


# Taps beside the middle one; samples that one row of the filter's matrix gives.
_N_TAPS, _N_BESIDE = 16, 64


@lru_cache(maxsize=1)
def _half_bands() -> Floats:
    """Every second tap of a windowed sinc, as a band in each column, ``(79, 64)``.

    A matrix product takes a fifth of the time of a convolution.
    """
    places = np.arange(1 - _N_TAPS, _N_TAPS, 2)
    taps = np.sin(np.pi * places / 2) / (np.pi * places) * np.hanning(35)[places + 17]
    bands = np.zeros((_N_BESIDE + _N_TAPS - 1, _N_BESIDE), np.float32)
    for column in range(_N_BESIDE):
        bands[column : column + _N_TAPS, column] = 0.5 * taps / taps.sum()
    return bands


def _loudness(short: ShortTime) -> Doubles:
    bank, ear = _loudness_bands(short.sample_rate, short.settings.n_fft)
    power = short.power @ bank / np.float32(short.settings.taper_weights().sum() ** 2)
    loud: Doubles = np.cbrt(power * ear).sum(1).astype(np.float64)
    return loud


@lru_cache(maxsize=4)
def _loudness_bands(sample_rate: int, n_fft: int) -> tuple[Floats, Floats]:
    """26 mel bands ``(n_bins, 26)`` and the equal-loudness weight of each ``(26,)``."""
    bank = stft.mel_filters(sample_rate, n_fft, 26, 20.0, sample_rate / 2)
    low, top = stft.hz_to_mel(np.array([20.0, sample_rate / 2]))
    middle_hz = stft.mel_to_hz(np.linspace(low, top, 28)[1:-1])
    w = (2 * np.pi * middle_hz) ** 2
    ear = (w + 56.8e6) * w**2 / ((w + 6.3e6) ** 2 * (w + 0.38e9))
    return bank.T.copy(), ear.astype(np.float32)


def _levels_db(short: ShortTime) -> Floats:
    """Power of each bin up to 5 kHz in dB, ``(t, n_bins)``."""
    end = int(5000 / short.sample_rate * short.settings.n_fft) + 1
    levels: Floats = short.cached(
        "levels", lambda: 10 * np.log10(short.power[:, :end] + np.float32(_TINY_POWER))
    )
    return levels


def _flux(short: ShortTime) -> Doubles:
    """RMS change of the magnitudes up to 5 kHz from frame to frame, ``(t,)``; 0 for the first."""
    end = _levels_db(short).shape[1]
    magnitude = np.sqrt(short.power[:, :end]) / np.float32(short.settings.taper_weights().sum())
    change = np.sqrt(np.square(np.diff(magnitude, axis=0)).mean(1))
    return np.append(0.0, change)


def _balance(short: ShortTime) -> Doubles:
    """Spectral balance of each frame, ``(t, 4)``, the columns of `_BALANCE`."""
    levels, power = _levels_db(short), short.power
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


def _voice_properties(voiced: VoicedFrames, short: ShortTime) -> tuple[Doubles, Doubles]:
    """Properties of every voiced frame: never negative ones ``(v, 8)``, and signed ones ``(v, 6)``."""
    cycles = find_periods(voiced)
    hz, width = find_resonances(short, replace(voiced, index=_STRIDE * voiced.index))
    formant = np.stack([hz, width], axis=2).reshape(len(voiced), 6)
    positive = np.column_stack([cycles.jitter, cycles.shimmer_db, formant])
    first, second, *levels = voiced.level_db(np.column_stack([voiced.hz, 2 * voiced.hz, hz])).T
    above = [first - second, first - levels[2]]
    return positive, np.column_stack([hnr_db(voiced), *above, *(level - first for level in levels)])


# --- statistics of a recording -----------------------------------------------------------------------


def _statistics(values: ArrayLike, *names: str) -> Doubles:
    return functionals(values, statistics=names).astype(np.float64)


def _mean_and_cv(values: Doubles) -> Doubles:
    """Mean and coefficient of variation of each column."""
    mean, std = moments(values).reshape(2, -1)
    return np.concatenate([mean, std / np.where(mean > 0, mean, np.nan)])


def _smooth(values: Doubles) -> Doubles:
    """The mean over three frames, ``(t,)``; the outermost ones are repeated."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    smooth: Doubles = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return smooth


def _contour(values: Doubles, hop_s: float) -> Doubles:
    """`_CONTOUR` and `_RUNS` of one contour ``(t,)``, nan where it is interrupted."""
    mean, std = moments(values[:, None])
    p20, p50, p80 = _statistics(values[:, None], "p20", "p50", "p80")
    level = np.array([mean, std / mean if mean > 0 else np.nan, p20, p50, p80, p80 - p20])
    return np.concatenate([level, _runs(values, hop_s)])


def _runs(values: Doubles, hop_s: float) -> Doubles:
    """Mean and deviation of the slopes per second of rising, then of falling runs of frames."""
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


def _rhythm(loudness: Doubles, is_voiced: Bools) -> Doubles:
    """Loudness peaks and voiced segments per second, lengths of voiced and unvoiced segments."""
    duration_s = len(is_voiced) * _HOP_S
    edges = np.flatnonzero(np.diff(is_voiced)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [len(is_voiced)]])) * _HOP_S
    voiced, unvoiced = (lengths[int(is_voiced[0] != kind) :: 2] for kind in (True, False))
    means = [f(part) if len(part) else np.nan for part in (voiced, unvoiced) for f in (np.mean, np.std)]
    return np.array([_n_peaks(loudness) / duration_s, len(voiced) / duration_s, *means])


def _n_peaks(loudness: Doubles) -> int:
    smooth = _smooth(_smooth(loudness))
    peak = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:]) & (smooth[1:-1] > smooth.mean())
    return int(peak.sum())


def _modulation(bands: Floats) -> Doubles:
    """Modulation spectrum: ``ln`` of the share of each modulation band, for pairs of mel bands.

    Of levels in dB ``(t, _N_BANDS)``; nan for fewer than two frames.
    """
    if len(bands) < 2:
        return np.full((len(_RATES_HZ) - 1) * _N_BANDS // 2, np.nan)
    # At least 512, so that every modulation band has several bins; a power of two is fast.
    n_fft = max(512, 1 << (len(bands) - 1).bit_length())
    spectra = np.fft.rfft((bands - bands.mean(0)).T, n_fft, axis=1)
    edges = np.rint(np.array(_RATES_HZ) * n_fft * _HOP_S).astype(np.intp)
    power = np.square(spectra.real) + np.square(spectra.imag)
    fast = np.stack([power[:, a:b].sum(1) for a, b in pairwise(edges)])
    pairs = fast.reshape(len(fast), -1, 2).sum(2, dtype=np.float64)
    total = pairs.sum(0)
    share: Doubles = pairs / np.where(total > 0, total, np.nan)
    return np.log(share + _SMALLEST_SHARE).ravel()
