"""Spectral features: mel bands, cepstra, contrast and the shape of the spectrum.

Definitions are those of librosa 0.11 (McFee et al., 2015) and, for the subband centroids, of
python_speech_features 0.6, so that values can be compared with those of published scripts. By
default levels are not limited relative to the loudest frame (``top_db``): that depends on the whole
recording, so that a block of it would differ from the whole.

Digital silence gives what librosa gives: 0 for centroid, bandwidth and roll-off, 1 for
flatness, the floor for levels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import factorial
from typing import Any, Literal

import numpy as np

from emovox._arrays import Floats
from emovox.audio import stft
from emovox.errors import ConfigError
from emovox.features.frames import (
    Family,
    ShortTime,
    fixed_columns,
    number_columns,
    numbered_columns,
    safe_divisors,
)

__all__ = [
    "FAMILIES",
    "bandwidth",
    "centroid",
    "contrast",
    "delta",
    "flatness",
    "log_mel",
    "mel",
    "mfcc",
    "rolloff",
    "ssc",
]

Scale = Literal["slaney", "htk"]
# Power is at least this before a logarithm.
_SMALLEST = 1e-10
# Mel bands that are multiplied at a time.
_N_TOGETHER = 16


# --- mel bands and cepstra ---------------------------------------------------------------------------


def mel(
    short: ShortTime,
    *,
    n_mels: int = 64,
    low_hz: float = 0.0,
    high_hz: float | None = None,
    scale: Scale = "slaney",
) -> Floats:
    """Compute the power in mel bands, ``(t, n_mels)``: ``librosa.feature.melspectrogram``.

    ``high_hz`` is half the rate unless given; ``scale="htk"`` takes the HTK formula for the edges. Triangles
    have unit area either way.

    Raises:
        ValueError: the edges do not rise from 0 to at most half the rate, or ``n_mels`` is below 1.
    """
    top = short.sample_rate / 2 if high_hz is None else high_hz
    bank = (short.sample_rate, short.settings.n_fft, n_mels, low_hz, top, scale)
    bands: Floats = short.cached(("mel", bank), lambda: _in_bands(short.power, bank))
    return bands


def log_mel(
    short: ShortTime,
    *,
    top_db: float | None = None,
    **bands: Any,
) -> Floats:
    """Compute the power in mel bands in dB, ``(t, n_mels)``: ``librosa.power_to_db`` of ``mel(**bands)``.

    ``top_db`` raises values further than that below the loudest one of the recording (librosa: 80).
    """
    return _decibels(mel(short, **bands), top_db)


def mfcc(
    short: ShortTime,
    *,
    n_mfcc: int = 13,
    deltas: int = 0,
    delta_width: int = 9,
    lifter: float = 0.0,
    **levels: Any,
) -> Floats:
    """Compute mel-frequency cepstral coefficients, ``(t, n_mfcc * (1 + deltas))``: ``librosa.feature.mfcc``.

    The orthonormal cosine transform (type II) of ``log_mel(**levels)``. ``deltas`` is the number of
    derivatives after the coefficients, 0 to 2, each by `delta`.

    Raises:
        ConfigError: more coefficients than bands, or ``deltas`` or ``lifter`` out of range.
    """
    level = log_mel(short, **levels)
    if not 1 <= n_mfcc <= level.shape[1] or deltas not in (0, 1, 2) or lifter < 0:
        raise ConfigError(
            f"n_mfcc {n_mfcc!r} of {level.shape[1]} bands, deltas {deltas!r}, lifter {lifter!r}; expected 1 "
            "to as many coefficients as bands, 0, 1 or 2 deltas, and a lifter of 0 or more"
        )
    cepstra = level @ _cosines(level.shape[1], n_mfcc, float(lifter))
    return np.hstack([cepstra, *(delta(cepstra, width=delta_width, order=k + 1) for k in range(deltas))])


def delta(values: Floats, *, width: int = 9, order: int = 1) -> Floats:
    """Compute the local slope (order 1) or curvature (order 2) of ``(t, d)`` over ``width`` frames.

    The derivative of the polynomial of that order that fits best (Savitzky and Golay), as in
    ``librosa.feature.delta``: the outermost frames take the value of the outermost full width. A recording
    shorter than ``width`` uses the widest odd width it has; fewer than three frames give NaN.

    Raises:
        ConfigError: ``width`` is not odd and 3 or more, or ``order`` not 1 or 2.
    """
    if width < 3 or width % 2 == 0 or order not in (1, 2):
        raise ConfigError(f"width {width!r}, order {order!r}; expected an odd width from 3, and order 1 or 2")
    n_frames = values.shape[0]
    width = min(width, n_frames - 1 + n_frames % 2)
    if width < 3:
        return np.full_like(values, np.nan)
    half = width // 2
    steps = np.vander(np.arange(-half, half + 1), order + 1, increasing=True)
    weights = (factorial(order) * np.linalg.pinv(steps)[order]).astype(np.float32)
    inside = np.lib.stride_tricks.sliding_window_view(values, width, axis=0) @ weights
    return np.pad(inside, ((half, half), (0, 0)), mode="edge")


def _decibels(power: Floats, top_db: float | None) -> Floats:
    level = np.float32(10) * np.log10(np.maximum(power, np.float32(_SMALLEST)))
    return level if top_db is None else np.maximum(level, level.max() - np.float32(top_db))


def _in_bands(power: Floats, bank: tuple[int, int, int, float, float, Scale]) -> Floats:
    """``(t, n_bins)`` -> ``(t, n_mels)``."""
    bands = np.empty((len(power), bank[2]), dtype=np.float32)
    for band, first, weights in _mel_bank(*bank):
        n_bins, n_bands = weights.shape
        np.matmul(power[:, first : first + n_bins], weights, out=bands[:, band : band + n_bands])
    return bands


@lru_cache(maxsize=32)
def _mel_bank(
    rate: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float, scale: Scale
) -> tuple[tuple[int, int, Floats], ...]:
    """Neighbouring bands together: the first band, the first bin, and weights ``(n_bins, n_bands)``.

    Nearly all weights of the whole matrix are 0; a few bands at a time, most of these are left out.
    """
    whole = stft.mel_filters(rate, n_fft, n_mels, low_hz, high_hz, scale=scale, unit_area=True)
    groups = []
    for band in range(0, n_mels, _N_TOGETHER):
        some = whole[band : band + _N_TOGETHER]
        used = np.flatnonzero(some.any(axis=0))
        first, end = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 1)
        groups.append((band, first, np.ascontiguousarray(some[:, first:end].T)))
    return tuple(groups)


@lru_cache(maxsize=32)
def _cosines(n_bands: int, n_mfcc: int, lifter: float) -> Floats:
    """The cosine transform as a matrix, ``(n_bands, n_mfcc)``, its columns weighted by the lifter."""
    k = np.arange(n_mfcc)
    table = np.cos(np.pi * k * (np.arange(n_bands)[:, None] + 0.5) / n_bands) * np.sqrt(2 / n_bands)
    table[:, 0] *= np.sqrt(0.5)
    if lifter:
        table *= 1 + lifter / 2 * np.sin(np.pi * (k + 1) / lifter)
    matrix: Floats = table.astype(np.float32)
    return matrix


# --- the shape of the spectrum -----------------------------------------------------------------------


def contrast(
    short: ShortTime,
    *,
    n_bands: int = 6,
    low_hz: float = 200.0,
    quantile: float = 0.02,
    top_db: float | None = None,
) -> Floats:
    """Compute peaks over valleys of the magnitude, in octave bands, in dB (10 log10), ``(t, n_bands + 1)``.

    ``librosa.feature.spectral_contrast`` (Jiang et al., 2002): the first band ends at ``low_hz``, the last
    takes what is left. ``top_db`` raises peaks and valleys far below the loudest ones (librosa: 80).

    Raises:
        ConfigError: a band begins above half the rate, holds too few bins, or an option is out of range.
    """
    if n_bands < 1 or low_hz <= 0 or not 0 < quantile < 1:
        raise ConfigError(
            f"n_bands {n_bands!r}, low_hz {low_hz!r}, quantile {quantile!r}; expected one band or more, an "
            "edge above 0 Hz and a quantile between 0 and 1"
        )
    power = short.power
    peak, valley = np.empty((2, len(power), n_bands + 1), dtype=np.float32)
    for band, (first, end, n_marked) in enumerate(
        _octaves(short.sample_rate, short.settings.n_fft, n_bands, low_hz)
    ):
        n_extreme = min(max(1, int(np.rint(quantile * n_marked))), end - first)
        valley[:, band], peak[:, band] = _extremes(power[:, first:end], n_extreme)
    return _decibels(peak, top_db) - _decibels(valley, top_db)


def _extremes(power: Floats, n: int) -> tuple[Floats, Floats]:
    """Mean magnitude of each row's ``n`` least and of its ``n`` largest, ``(t,)`` each."""
    if n == 1:  # most bands: no sorting, and faster over many frames than along a short row
        by_bin = np.ascontiguousarray(power.T)
        return np.sqrt(by_bin.min(axis=0)), np.sqrt(by_bin.max(axis=0))
    ordered = np.sort(power, axis=1)
    return np.sqrt(ordered[:, :n]).mean(axis=1), np.sqrt(ordered[:, -n:]).mean(axis=1)


@lru_cache(maxsize=32)
def _octaves(sample_rate: int, n_fft: int, n_bands: int, low_hz: float) -> tuple[tuple[int, int, int], ...]:
    """First bin, end, and number of bins for the quantile, of each band, as in librosa.

    A band overlaps the one below by a bin; all but the last lose their topmost bin after the counting.
    """
    edges = np.append(0.0, low_hz * 2.0 ** np.arange(n_bands + 1))
    if edges[-2] >= sample_rate / 2:
        raise ConfigError(
            f"{n_bands} octaves from {low_hz} Hz reach {edges[-2]:g} Hz, beyond half the rate {sample_rate}; "
            "take fewer bands or a lower low_hz"
        )
    hz = np.fft.rfftfreq(
        n_fft, 1 / sample_rate
    )  # as librosa to the last bit: an edge may be exactly at a bin
    found = []
    for band in range(n_bands + 1):
        first = int(np.searchsorted(hz, edges[band], side="left")) - (band > 0)
        end = int(np.searchsorted(hz, edges[band + 1], side="right")) if band < n_bands else hz.size
        kept = end - (band < n_bands)
        if kept <= first:
            raise ConfigError(
                f"the band from {edges[band]:g} to {edges[band + 1]:g} Hz holds too few bins; "
                "take a larger n_fft"
            )
        found.append((first, kept, end - first))
    return tuple(found)


def centroid(
    short: ShortTime,
) -> Floats:
    """Compute the mean frequency weighted by magnitude, in Hz, ``(t, 1)``.

    ``librosa.feature.spectral_centroid``.
    """
    hz = short.hz.astype(np.float32)[:, None]
    middle: Floats = short.cached("centroid", lambda: _magnitude_share(short) @ hz)
    return middle


def bandwidth(
    short: ShortTime,
) -> Floats:
    """Compute the deviation of the frequency around the centroid, weighted by magnitude, in Hz, ``(t, 1)``.

    ``librosa.feature.spectral_bandwidth`` with its power 2.
    """
    away = short.hz.astype(np.float32) - centroid(short)
    spread: Floats = np.sqrt(np.sum(_magnitude_share(short) * away * away, axis=1, keepdims=True))
    return spread


def rolloff(
    short: ShortTime,
    *,
    share: float = 0.85,
) -> Floats:
    """Find the first bin below which ``share`` of the magnitude is, in Hz, ``(t, 1)``.

    ``librosa.feature.spectral_rolloff``.

    Raises:
        ConfigError: ``share`` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share is {share!r}; expected a number between 0 and 1")
    below = np.cumsum(short.magnitude, axis=1)
    first = np.argmax(below >= np.float32(share) * below[:, -1:], axis=1)
    edge: Floats = short.hz[first].astype(np.float32)[:, None]
    return edge


def flatness(
    short: ShortTime,
) -> Floats:
    """Compute the geometric over the arithmetic mean of the power, from 0 (tone) to 1 (noise), ``(t, 1)``.

    ``librosa.feature.spectral_flatness``.
    """
    power = np.maximum(short.power, np.float32(_SMALLEST))
    geometric = np.exp(np.log(power).mean(axis=1, keepdims=True))
    ratio: Floats = geometric / power.mean(axis=1, keepdims=True)
    return ratio


def ssc(
    short: ShortTime,
    *,
    n_bands: int = 26,
    low_hz: float = 0.0,
    high_hz: float | None = None,
    preemphasis: float = 0.97,
    taper: Literal["hann", "hamming", "boxcar"] = "boxcar",
) -> Floats:
    """Compute spectral subband centroids in Hz, ``(t, n_bands)`` (Paliwal, 1998), NaN in bands without a bin.

    Equals ``python_speech_features.ssc`` for frames that are not centred. Its own taper and pre-emphasis
    replace those of the settings.

    Raises:
        ConfigError: the edges do not rise from 0 to at most half the rate, or there is no band.
    """
    top = short.sample_rate / 2 if high_hz is None else high_hz
    if n_bands < 1 or not 0 <= low_hz < top <= short.sample_rate / 2:
        raise ConfigError(
            f"{n_bands!r} bands from {low_hz!r} to {top!r} Hz at {short.sample_rate!r} Hz; expected one band "
            "or more, and edges that rise from 0 to at most half the rate"
        )
    short = short.with_settings(replace(short.settings, preemphasis=preemphasis, taper=taper))
    n_fft = short.settings.n_fft
    # Bins without power have equal small weights, so that silence gives the middle of each band.
    power = np.where(short.power == 0, np.float32(np.finfo(np.float64).eps * n_fft), short.power)
    bank = _subbands(short.sample_rate, n_fft, n_bands, low_hz, top).T
    # The frequency axis of python_speech_features begins at 1 Hz, not 0.
    hz = np.linspace(1, short.sample_rate / 2, n_fft // 2 + 1)[:, None]
    weight = power @ bank
    moment = power @ (hz * bank).astype(np.float32)
    middle: Floats = np.divide(moment, weight, out=np.full_like(weight, np.nan), where=weight > 0)
    return middle


@lru_cache(maxsize=32)
def _subbands(rate: int, n_fft: int, n_bands: int, low_hz: float, high_hz: float) -> Floats:
    """Triangles ``(n_bands, n_fft // 2 + 1)`` with edges rounded down to whole bins, after HTK's formula."""
    low, high = stft.hz_to_mel(np.array([low_hz, high_hz]))
    edges_hz = stft.mel_to_hz(np.linspace(low, high, n_bands + 2))
    edges = np.floor((n_fft + 1) * edges_hz / rate)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(n_fft // 2 + 1)
    rise = (bins - left) / np.maximum(middle - left, 1)
    fall = (right - bins) / np.maximum(right - middle, 1)
    rising, falling = (left <= bins) & (bins < middle), (middle <= bins) & (bins < right)
    return np.where(rising, rise, np.where(falling, fall, 0)).astype(np.float32)


def _magnitude_share(short: ShortTime) -> Floats:
    """Magnitude of each bin over the sum of its frame; 0 in silent frames."""

    def compute() -> Floats:
        return short.magnitude / safe_divisors(short.magnitude.sum(axis=1, keepdims=True))

    share: Floats = short.cached("share", compute)
    return share


def _mfcc_columns(n_mfcc: int = 13, deltas: int = 0, **_: Any) -> tuple[str, ...]:
    names = number_columns("mfcc", n_mfcc)
    endings = ("", "_delta", "_delta2")[: deltas + 1]
    return tuple(f"{name}{ending}" for ending in endings for name in names)


FAMILIES = (
    Family("mel", mel, numbered_columns("mel", "n_mels", 64), "power", "librosa.feature.melspectrogram"),
    Family("log_mel", log_mel, numbered_columns("log_mel", "n_mels", 64), "dB", "librosa.power_to_db of mel"),
    Family("mfcc", mfcc, _mfcc_columns, "dB", "librosa.feature.mfcc, librosa.feature.delta"),
    Family(
        "contrast",
        contrast,
        lambda n_bands=6, **_: number_columns("contrast", n_bands + 1),
        "dB",
        "librosa.feature.spectral_contrast",
    ),
    Family("centroid", centroid, fixed_columns("centroid_hz"), "Hz", "librosa.feature.spectral_centroid"),
    Family("bandwidth", bandwidth, fixed_columns("bandwidth_hz"), "Hz", "librosa.feature.spectral_bandwidth"),
    Family("rolloff", rolloff, fixed_columns("rolloff_hz"), "Hz", "librosa.feature.spectral_rolloff"),
    Family("flatness", flatness, fixed_columns("flatness"), "ratio", "librosa.feature.spectral_flatness"),
    Family("ssc", ssc, numbered_columns("ssc", "n_bands", 26), "Hz", "python_speech_features.ssc"),
)
