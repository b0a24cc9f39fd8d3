"""Voice quality: how much consecutive periods differ in length and height, and how much noise is in them.

Jitter and shimmer compare four periods next to each other about the middle of a frame. The mark of a period
is its strongest excursion; where the next period begins is where the 3 ms about the mark fit best again.
HNR is Boersma's: the normalised autocorrelation ``r`` at the period is the share of power that repeats,
``r / (1 - r)`` harmonics over noise.

What carries no voice is nan, and so is a frame at an end of the sound that has not all its periods.

Sources: P. Boersma (1993), Proc. Institute of Phonetic Sciences 17, 97-110; P. Boersma (2009), "Should
jitter be measured by peak picking or by waveform matching?", Folia Phoniatrica et Logopaedica 61, 305-308.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats, Ints
from emovox.features.frames import Family, FrameSettings, ShortTime, fixed
from emovox.features.voiced import Voiced

__all__ = ["FAMILIES", "Periods", "hnr", "hnr_db", "jitter", "periods", "shimmer"]


_TEMPLATE_S = 0.0015
"""Reach of what is compared about a mark, to either side."""
_LEEWAY = 0.15
"""How far a period may be from that of the F0, as a share of it."""
_MATCH = 0.5
"""Periods whose marks correlate less than this are none."""
_MOST_DB = 60.0
"""HNR is cut at plus and minus this: beyond lies the precision of the transform."""


def jitter(
    x: ArrayLike,
    sample_rate: int,
    *,
    settings: FrameSettings | None = None,
    shared: ShortTime | None = None,
    pitch_hz: ArrayLike | None = None,
) -> Floats:
    """Local jitter: mean difference of consecutive periods over their mean, ``(t, 1)``, 0.01 for 1 %.

    Args:
        x: sound, ``(n,)``.
        sample_rate: in Hz.
        settings: the middles of the frames; `DEFAULT` unless given.
        shared: of the same sound.
        pitch_hz: F0 of the frames, ``(t,)``, nan where there is no voice; `f0` finds it unless given.

    Raises:
        AudioValueError: the sound is empty, not one-dimensional or not finite.
        ConfigError: ``pitch_hz`` does not fit.
    """
    short = ShortTime.of(x, sample_rate, settings=settings, shared=shared)
    voiced = Voiced.of(short, pitch_hz)
    return voiced.spread(periods(voiced).jitter)


def shimmer(
    x: ArrayLike,
    sample_rate: int,
    *,
    settings: FrameSettings | None = None,
    shared: ShortTime | None = None,
    pitch_hz: ArrayLike | None = None,
) -> Floats:
    """Local shimmer in dB: mean ratio of the peak-to-peak heights of consecutive periods, ``(t, 1)``.

    Arguments and errors as in `jitter`.
    """
    short = ShortTime.of(x, sample_rate, settings=settings, shared=shared)
    voiced = Voiced.of(short, pitch_hz)
    return voiced.spread(periods(voiced).shimmer_db)


def hnr(
    x: ArrayLike,
    sample_rate: int,
    *,
    settings: FrameSettings | None = None,
    shared: ShortTime | None = None,
    pitch_hz: ArrayLike | None = None,
) -> Floats:
    """Harmonics-to-noise ratio in dB, ``(t, 1)``. Arguments and errors as in `jitter`."""
    short = ShortTime.of(x, sample_rate, settings=settings, shared=shared)
    voiced = Voiced.of(short, pitch_hz)
    return voiced.spread(hnr_db(voiced))


@dataclass(frozen=True, eq=False)
class Periods:
    """Consecutive periods about the middle of each voiced frame; nan where one could not be found."""

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


def periods(voiced: Voiced) -> Periods:
    """Three periods about the middle of each voiced frame, and the heights at their four marks."""
    period = voiced.sample_rate / voiced.hz
    if not len(voiced):
        return Periods(np.empty((0, 3)), np.empty((0, 4)))
    n = voiced.x.size
    template = max(2, round(_TEMPLATE_S * voiced.sample_rate))
    # From the middle: half a period to the first mark, two periods on, and what is read about a mark there.
    reach = int(np.ceil(period.max() * (2.5 + 2 * _LEEWAY + 0.8))) + template + 2
    behind = max(0, int(voiced.middle.max()) + 1 - n)
    sound = np.pad(voiced.x, (reach, reach + behind))
    first = _strongest(sound, voiced.middle + reach, period)
    before, length_0, fits_0 = _next(sound, first, -period, template)
    second, length_1, fits_1 = _next(sound, first, period, template)
    third, length_2, fits_2 = _next(sound, second, period, template)
    marks = np.stack([before, first, second, third], axis=1)
    lengths = np.stack([-length_0, length_1, length_2], axis=1)
    inside = (marks[:, 0] - reach >= template) & (marks[:, -1] - reach < n - template)
    whole = (inside & (np.minimum(np.minimum(fits_0, fits_1), fits_2) >= _MATCH))[:, None]
    height = _heights(sound, marks, period)
    return Periods(np.where(whole, lengths, np.nan), np.where(whole & (height > 0), height, np.nan))


def _strongest(sound: Floats, middle: Ints, period: Doubles) -> Ints:
    """The strongest excursion within half a period of each middle, ``(v,)``."""
    reach = int(np.ceil(period.max() / 2))
    steps = np.arange(-reach, reach + 1)
    cut = np.abs(sound[middle[:, None] + steps])
    cut[np.abs(steps) > period[:, None] / 2] = -1
    found: Ints = middle + steps[cut.argmax(1)]
    return found


def _next(sound: Floats, mark: Ints, step: Doubles, template: int) -> tuple[Ints, Doubles, Doubles]:
    """Where the sound about each mark comes again: the mark there, the exact step, how well it fits."""
    leeway = int(np.ceil(_LEEWAY * np.abs(step).max())) + 1
    shifts = np.arange(-leeway, leeway + 1)
    expected = np.rint(step).astype(np.intp)
    own = sound[mark[:, None] + np.arange(-template, template + 1)]
    far = np.arange(-template - leeway, template + leeway + 1)
    there = np.lib.stride_tricks.sliding_window_view(
        sound[(mark + expected)[:, None] + far], 2 * template + 1, axis=1
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


def _heights(sound: Floats, marks: Ints, period: Doubles) -> Doubles:
    """Peak to peak from 0.2 periods before each mark to 0.8 behind it, ``(v, 4)``."""
    steps = np.arange(-int(0.2 * period.max()), int(0.8 * period.max()) + 1)
    cut = sound[marks[:, :, None] + steps]
    inside = ((steps >= -0.2 * period[:, None]) & (steps <= 0.8 * period[:, None]))[:, None]
    highest, lowest = np.where(inside, cut, -np.inf).max(2), np.where(inside, cut, np.inf).min(2)
    height: Doubles = (highest - lowest).astype(np.float64)
    return height


def hnr_db(voiced: Voiced) -> Doubles:
    """Harmonics-to-noise ratio of each voiced frame, ``(v,)``, from -60 to 60 dB."""
    lag = voiced.sample_rate / voiced.hz
    turn = 2 * np.pi * np.arange(voiced.power.shape[1]) / voiced.n_fft
    angle = (lag[:, None] * turn).astype(np.float32)
    power = voiced.power.copy()
    power[:, 1:-1] *= 2
    wave = power * np.cos(angle)
    r, bend = wave.sum(1), -(wave @ (turn**2).astype(np.float32))
    tilt = -np.einsum("vk,vk,k->v", power, np.sin(angle), turn.astype(np.float32))
    # One step of Newton's to the top of the autocorrelation, of which F0 knows the place to about 1 %.
    step = np.where(bend < 0, np.clip(-tilt / np.where(bend < 0, bend, -1), -0.02 * lag, 0.02 * lag), 0)
    top = r + step * tilt / 2
    energy = power.sum(1)
    taper = voiced.taper
    own = np.fft.irfft(np.abs(np.fft.rfft(taper, voiced.n_fft)) ** 2, voiced.n_fft)
    share = top / np.where(energy > 0, energy * np.interp(lag, np.arange(len(own)), own / own[0]), np.nan)
    share = np.clip(share, 1 / (1 + 10 ** (_MOST_DB / 10)), 1 / (1 + 10 ** (-_MOST_DB / 10)))
    ratio: Doubles = 10 * np.log10(share / (1 - share))
    return ratio


_BOERSMA = "Boersma (1993), Proc. Institute of Phonetic Sciences 17"
FAMILIES = (
    Family("jitter", jitter, fixed("jitter"), "share of the period", "Boersma (2009), waveform matching"),
    Family("shimmer", shimmer, fixed("shimmer_db"), "dB", "peak-to-peak heights of neighbouring periods"),
    Family("hnr", hnr, fixed("hnr_db"), "dB", _BOERSMA),
)
