"""Voice quality: jitter, shimmer and the harmonics-to-noise ratio.

Jitter and shimmer compare four consecutive periods about the middle of a frame. The mark of a period is its
strongest excursion; the next period begins where the 3 ms about the mark fit best again.
HNR is Boersma's: the normalised autocorrelation ``r`` at the period is the share of power that repeats,
``r / (1 - r)`` harmonics over noise.

Unvoiced frames are nan, and so are frames at the ends of the recording that lack a period.

Sources: P. Boersma (1993), Proc. Institute of Phonetic Sciences 17, 97-110; P. Boersma (2009), "Should
jitter be measured by peak picking or by waveform matching?", Folia Phoniatrica et Logopaedica 61, 305-308.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats, Ints
from emovox.features.frames import Family, ShortTime, fixed_columns
from emovox.features.pitch import VoicedFrames

__all__ = ["FAMILIES", "Periods", "find_periods", "hnr", "hnr_db", "jitter", "shimmer"]


# How far around a mark the waveform is compared, to either side.
_TEMPLATE_S = 0.0015
# How far a period may deviate from that of the F0, as a share of it.
_LEEWAY = 0.15
# Marks that correlate less than this are not one period apart.
_MIN_CORRELATION = 0.5
# HNR is limited to plus and minus this, the precision of the transform.
_MAX_HNR_DB = 60.0


def jitter(
    short: ShortTime,
    *,
    pitch_hz: ArrayLike | None = None,
) -> Floats:
    """Compute local jitter: mean difference of consecutive periods over their mean, ``(t, 1)``, 0.01 for 1 %.

    Args:
        short: transform of the recording.
        pitch_hz: F0 of the frames, ``(t,)``, nan in unvoiced frames; by default that of `f0`.

    Raises:
        ConfigError: ``pitch_hz`` does not fit.
    """
    voiced = VoicedFrames.of(short, pitch_hz)
    return voiced.fill_frames(find_periods(voiced).jitter)


def shimmer(
    short: ShortTime,
    *,
    pitch_hz: ArrayLike | None = None,
) -> Floats:
    """Compute local shimmer in dB: mean ratio of the peak-to-peak heights of consecutive periods, ``(t, 1)``.

    Arguments and errors as in `jitter`.
    """
    voiced = VoicedFrames.of(short, pitch_hz)
    return voiced.fill_frames(find_periods(voiced).shimmer_db)


def hnr(
    short: ShortTime,
    *,
    pitch_hz: ArrayLike | None = None,
) -> Floats:
    """Compute the harmonics-to-noise ratio in dB, ``(t, 1)``. Arguments and errors as in `jitter`."""
    voiced = VoicedFrames.of(short, pitch_hz)
    return voiced.fill_frames(hnr_db(voiced))


@dataclass(frozen=True, eq=False)
class Periods:
    """Consecutive periods about the middle of each voiced frame; nan where one was not found."""

    length: Doubles
    """In samples, ``(v, 3)``."""
    height: Doubles
    """Peak to peak, ``(v, 4)``: of the periods that begin at the marks."""

    @property
    def jitter(self) -> Doubles:
        """Mean difference of neighbours over the mean, ``(v,)``."""
        change = np.abs(np.diff(self.length, axis=1)).mean(1)
        share: Doubles = change / self.length.mean(1)
        return share

    @property
    def shimmer_db(self) -> Doubles:
        """Mean ratio of neighbours, in dB, ``(v,)``."""
        decibels = 20 * np.log10(self.height)
        change: Doubles = np.abs(np.diff(decibels, axis=1)).mean(1)
        return change


def find_periods(voiced: VoicedFrames) -> Periods:
    """Find three periods about the middle of each voiced frame, and the heights at their four marks."""
    period = voiced.sample_rate / voiced.hz
    if not len(voiced):
        return Periods(np.empty((0, 3)), np.empty((0, 4)))
    n = voiced.x.size
    template = max(2, round(_TEMPLATE_S * voiced.sample_rate))
    # From the middle: half a period to the first mark, two more periods, and the comparison about a mark.
    reach = int(np.ceil(period.max() * (2.5 + 2 * _LEEWAY + 0.8))) + template + 2
    behind = max(0, int(voiced.middle.max()) + 1 - n)
    samples = np.pad(voiced.x, (reach, reach + behind))
    first = _strongest(samples, voiced.middle + reach, period)
    before, length_0, fits_0 = _next_period(samples, first, -period, template)
    second, length_1, fits_1 = _next_period(samples, first, period, template)
    third, length_2, fits_2 = _next_period(samples, second, period, template)
    marks = np.stack([before, first, second, third], axis=1)
    lengths = np.stack([-length_0, length_1, length_2], axis=1)
    inside = (marks[:, 0] - reach >= template) & (marks[:, -1] - reach < n - template)
    whole = (inside & (np.minimum(np.minimum(fits_0, fits_1), fits_2) >= _MIN_CORRELATION))[:, None]
    height = _heights(samples, marks, period)
    return Periods(np.where(whole, lengths, np.nan), np.where(whole & (height > 0), height, np.nan))


def _strongest(samples: Floats, middle: Ints, period: Doubles) -> Ints:
    """The strongest excursion within half a period of each middle, ``(v,)``."""
    reach = int(np.ceil(period.max() / 2))
    steps = np.arange(-reach, reach + 1)
    cut = np.abs(samples[middle[:, None] + steps])
    cut[np.abs(steps) > period[:, None] / 2] = -1
    marks: Ints = middle + steps[cut.argmax(1)]
    return marks


def _next_period(samples: Floats, mark: Ints, step: Doubles, template: int) -> tuple[Ints, Doubles, Doubles]:
    """Find where the waveform about each mark repeats: the mark there, the exact step, the correlation."""
    leeway = int(np.ceil(_LEEWAY * np.abs(step).max())) + 1
    shifts = np.arange(-leeway, leeway + 1)
    expected = np.rint(step).astype(np.intp)
    own = samples[mark[:, None] + np.arange(-template, template + 1)]
    far = np.arange(-template - leeway, template + leeway + 1)
    there = np.lib.stride_tricks.sliding_window_view(
        samples[(mark + expected)[:, None] + far], 2 * template + 1, axis=1
    )
    dot = np.einsum("vlj,vj->vl", there, own, optimize=False)
    norm = np.sqrt(np.einsum("vlj,vlj->vl", there, there) * np.einsum("vj,vj->v", own, own)[:, None])
    fit = np.where(norm > 0, dot / np.where(norm > 0, norm, 1), -1).astype(np.float64)
    allowed = np.abs(shifts) <= np.maximum(_LEEWAY * np.abs(step[:, None]), 1)
    best = np.clip(np.where(allowed, fit, -2).argmax(1), 1, len(shifts) - 2)
    a, b, c = (np.take_along_axis(fit, best[:, None] + k, 1)[:, 0] for k in (-1, 0, 1))
    bend = a - 2 * b + c
    vertex = np.where(bend < 0, np.clip(0.5 * (a - c) / np.where(bend < 0, bend, 1), -0.5, 0.5), 0)
    moved = expected + shifts[best]
    return mark + moved, moved + vertex, b


def _heights(samples: Floats, marks: Ints, period: Doubles) -> Doubles:
    """Peak to peak from 0.2 periods before each mark to 0.8 after it, ``(v, 4)``."""
    steps = np.arange(-int(0.2 * period.max()), int(0.8 * period.max()) + 1)
    cut = samples[marks[:, :, None] + steps]
    inside = ((steps >= -0.2 * period[:, None]) & (steps <= 0.8 * period[:, None]))[:, None]
    highest, lowest = np.where(inside, cut, -np.inf).max(2), np.where(inside, cut, np.inf).min(2)
    height: Doubles = (highest - lowest).astype(np.float64)
    return height


def hnr_db(voiced: VoicedFrames) -> Doubles:
    """Compute the harmonics-to-noise ratio of each voiced frame, ``(v,)``, from -60 to 60 dB."""
    lag = voiced.sample_rate / voiced.hz
    turn = 2 * np.pi * np.arange(voiced.power.shape[1]) / voiced.n_fft
    angle = (lag[:, None] * turn).astype(np.float32)
    power = voiced.power.copy()
    power[:, 1:-1] *= 2
    wave = power * np.cos(angle)
    r, bend = wave.sum(1), -(wave @ (turn**2).astype(np.float32))
    tilt = -np.einsum("vk,vk,k->v", power, np.sin(angle), turn.astype(np.float32))
    # One Newton step to the peak of the autocorrelation, whose position F0 gives to about 1 %.
    step = np.where(bend < 0, np.clip(-tilt / np.where(bend < 0, bend, -1), -0.02 * lag, 0.02 * lag), 0)
    top = r + step * tilt / 2
    energy = power.sum(1)
    taper = voiced.taper
    own = np.fft.irfft(np.abs(np.fft.rfft(taper, voiced.n_fft)) ** 2, voiced.n_fft)
    share = top / np.where(energy > 0, energy * np.interp(lag, np.arange(len(own)), own / own[0]), np.nan)
    share = np.clip(share, 1 / (1 + 10 ** (_MAX_HNR_DB / 10)), 1 / (1 + 10 ** (-_MAX_HNR_DB / 10)))
    ratio: Doubles = 10 * np.log10(share / (1 - share))
    return ratio


_BOERSMA = "Boersma (1993), Proc. Institute of Phonetic Sciences 17"
FAMILIES = (
    Family(
        "jitter", jitter, fixed_columns("jitter"), "share of the period", "Boersma (2009), waveform matching"
    ),
    Family(
        "shimmer", shimmer, fixed_columns("shimmer_db"), "dB", "peak-to-peak heights of neighbouring periods"
    ),
    Family("hnr", hnr, fixed_columns("hnr_db"), "dB", _BOERSMA),
)
