"""F0 with voicing: does a frame carry a voice, and at which pitch?

The method is Boersma's (1993). The autocorrelation of a frame, over that of its window, is 1 at the period of
a periodic sound, whatever the window; its peaks are the candidates. What repeats after one period repeats
after two, so each octave down costs a little. The best path through the candidates of all frames, one of
which is "no voice", pays for jumps of pitch and for every change between voice and none.

Frames have the middles that `FrameSettings` gives them, but a window of their own: three of the longest
periods. Pre-emphasis and taper are not used. No level is taken from the recording: a frame shows by itself
whether it is periodic, so that a gain changes nothing, down to frames below -120 dBFS, which are silent.

Source: P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
ratio of a sampled sound", Proc. Institute of Phonetic Sciences 17 (1993), 97-110. Ours: frequencies above
``top_hz`` fade out before the autocorrelation, for there jitter blurs harmonics and noise outweighs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats, Ints
from emovox.errors import ConfigError
from emovox.features.frames import Family, FrameSettings, ShortTime, fixed

__all__ = ["FAMILIES", "f0"]


_SILENT_POWER = 1e-12
_N_CANDIDATES = 6
_N_AT_ONCE = 32
"""Frames transformed together: so few stay in the processor's cache, which halves the time."""


def f0(
    x: ArrayLike,
    sample_rate: int,
    *,
    settings: FrameSettings | None = None,
    shared: ShortTime | None = None,
    low_hz: float = 60.0,
    high_hz: float = 500.0,
    top_hz: float = 1500.0,
    voicing: float = 0.5,
    octave_cost: float = 0.04,
    jump_cost: float = 0.35,
    switch_cost: float = 0.14,
) -> Floats:
    """Fundamental frequency, whether there is one, and how periodic the frame is: ``(t, 3)``.

    Columns: ``f0_hz``, nan where there is no voice; ``f0_voiced``, 1 or 0; ``f0_periodicity`` from 0 to 1,
    the normalised autocorrelation at the period chosen, or at the best one where there is no voice.

    Args:
        x: sound, ``(n,)``.
        sample_rate: in Hz, at least four times ``high_hz``.
        settings: the middles of the frames; `DEFAULT` unless given.
        shared: of the same sound; only its samples and settings are used.
        low_hz: lowest pitch looked for.
        high_hz: highest one.
        top_hz: where the fading of high frequencies is halfway.
        voicing: how periodic a frame must be in the middle of the range.
        octave_cost: how much more so, for each octave down.
        jump_cost: for each octave between neighbours 10 ms apart; in proportion for other hops.
        switch_cost: for each change between voice and none, likewise.

    Raises:
        AudioValueError: the sound is empty, not one-dimensional or not finite.
        ConfigError: a parameter is out of range.
    """
    short = ShortTime.of(x, sample_rate, settings=settings, shared=shared)
    costs = (octave_cost, jump_cost, switch_cost)
    if not (0 < low_hz < high_hz <= sample_rate / 4 and top_hz > 0 and 0 < voicing < 1 and min(costs) >= 0):
        raise ConfigError(
            f"F0 from {low_hz!r} to {high_hz!r} Hz at {sample_rate!r} Hz, top {top_hz!r} Hz, voicing "
            f"{voicing!r}, costs {costs!r}; expected 0 < low < high <= a quarter of the rate, a top above 0, "
            "a voicing between 0 and 1, and costs of 0 or more"
        )
    plan = _plan(sample_rate, low_hz, high_hz, top_hz)
    key = ("f0", low_hz, high_hz, top_hz, voicing, *costs)
    track: Floats = short.once(key, lambda: _track(short, plan, voicing, costs))
    return track


@dataclass(frozen=True)
class _Plan:
    """What depends on rate and range alone; lags in samples."""

    taper: Floats
    fade: Floats
    """Weights of the power spectrum, ``(n_fft // 2 + 1,)``."""
    own: Floats
    """Normalised autocorrelation of the taper at lags from 0, ``(n_lags,)``."""
    n_fft: int
    shortest: float
    longest: float


@lru_cache(maxsize=16)
def _plan(sample_rate: int, low_hz: float, high_hz: float, top_hz: float) -> _Plan:
    longest = sample_rate / low_hz
    window = 2 * round(1.5 * longest)
    n_lags = int(np.ceil(longest)) + 2
    # Long enough that the lags in use are free of what wraps around.
    n_fft = _fast_length(window + n_lags)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(window) + 0.5) / window)
    own = np.fft.irfft(np.abs(np.fft.rfft(taper, n_fft)) ** 2, n_fft)[:n_lags]
    beyond = np.clip(np.fft.rfftfreq(n_fft, 1 / sample_rate) / top_hz - 0.5, 0, 1)
    fade = 0.5 + 0.5 * np.cos(np.pi * beyond)
    return _Plan(
        taper.astype(np.float32),
        fade.astype(np.float32),
        (own / own[0]).astype(np.float32),
        n_fft,
        sample_rate / high_hz,
        longest,
    )


def _fast_length(at_least: int) -> int:
    """The next even length without a prime factor above 5."""
    length = at_least + at_least % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2


def _track(short: ShortTime, plan: _Plan, voicing: float, costs: tuple[float, float, float]) -> Floats:
    """What `f0` gives, ``(t, 3)``."""
    octave_cost, jump_cost, switch_cost = costs
    rate = short.sample_rate
    frames = _frames(short, len(plan.taper))
    found = [
        _candidates(_correlation(frames[i : i + _N_AT_ONCE], plan), plan, octave_cost)
        for i in range(0, len(frames), _N_AT_ONCE)
    ]
    lag = np.concatenate([lag for lag, _ in found])
    periodicity = np.concatenate([r for _, r in found])
    hz = rate / lag
    middle_hz = rate / np.sqrt(plan.shortest * plan.longest)
    score = periodicity + octave_cost * np.log2(hz / middle_hz)
    tens_ms = 100 * short.settings.hop / rate
    path = _path(np.log2(hz), score, voicing, jump_cost / tens_ms, switch_cost / tens_ms)

    voiced = path < _N_CANDIDATES
    chosen = np.where(voiced, path, periodicity.argmax(1))[:, None]
    pitch = np.where(voiced, np.take_along_axis(hz, chosen, 1)[:, 0], np.nan)
    clarity = np.clip(np.take_along_axis(periodicity, chosen, 1)[:, 0], 0, 1)
    return np.stack([pitch, voiced, clarity], axis=1).astype(np.float32)


def _frames(short: ShortTime, window: int) -> Floats:
    """``(n_frames, window)`` about the middles that the settings give, zeros beyond the ends."""
    s = short.settings
    first = (0 if s.centred else s.window // 2) - window // 2
    stop = first + (short.n_frames - 1) * s.hop + window
    sound = short.x[max(0, first) : max(0, stop)]
    before = max(0, -first)
    padded = np.pad(sound, (before, max(0, stop - first - before - sound.size)))
    return np.lib.stride_tricks.sliding_window_view(padded, window)[:: s.hop]


def _correlation(frames: Floats, plan: _Plan) -> Floats:
    """Autocorrelation over that of the taper: ``(t, n_lags)``, 1 at lag 0; zeros for silent frames."""
    centred = (frames - frames.mean(1, keepdims=True)) * plan.taper
    spectra = np.fft.rfft(centred, plan.n_fft, axis=1)
    power = (spectra.real**2 + spectra.imag**2) * plan.fade
    r = np.fft.irfft(power, plan.n_fft, axis=1)[:, : len(plan.own)]
    energy = r[:, :1]
    heard = energy > _SILENT_POWER * len(plan.taper)
    return (r / (np.where(heard, energy, np.inf) * plan.own)).astype(np.float32, copy=False)


def _candidates(r: Floats, plan: _Plan, octave_cost: float) -> tuple[Doubles, Doubles]:
    """Lags of the best peaks and their heights, ``(t, _N_CANDIDATES)`` each; no peak: height -inf."""
    first, last = int(np.floor(plan.shortest)), int(np.ceil(plan.longest))
    here, left, right = r[:, first : last + 1], r[:, first - 1 : last], r[:, first + 1 : last + 2]
    cost = octave_cost * np.log2(np.arange(first, last + 1) / plan.shortest)
    peak = (here > left) & (here >= right) & (here > 0)
    worth = np.where(peak, here - cost.astype(np.float32), -np.inf)
    if worth.shape[1] < _N_CANDIDATES:
        worth = np.pad(worth, ((0, 0), (0, _N_CANDIDATES - worth.shape[1])), constant_values=-np.inf)
    best = np.argpartition(worth, -_N_CANDIDATES, axis=1)[:, -_N_CANDIDATES:]
    exists = np.isfinite(np.take_along_axis(worth, best, 1))
    best = np.where(exists, best, 0)
    a, b, c = (np.take_along_axis(side, best, 1).astype(np.float64) for side in (left, here, right))
    # The vertex of the parabola through a peak and its neighbours.
    bend = np.where(exists, a - 2 * b + c, -1.0)
    shift = np.where(exists, 0.5 * (a - c) / bend, 0.0)
    height = np.where(exists, b - 0.25 * (a - c) * shift, -np.inf)
    return np.clip(first + best + shift, plan.shortest, plan.longest), height


def _path(octave: Doubles, score: Doubles, unvoiced: float, jump_cost: float, switch_cost: float) -> Ints:
    """The best path (Viterbi): an index of a candidate a frame, or their number for no voice, ``(t,)``."""
    t, k = score.shape
    gain = np.column_stack([score, np.full(t, unvoiced)])
    price = np.full((t, k + 1, k + 1), switch_cost)  # of coming to [i, j] from [i - 1, l]
    price[1:, :k, :k] = jump_cost * np.abs(octave[1:, :, None] - octave[:-1, None, :])
    price[:, k, k] = 0.0
    came_from = np.zeros((t, k + 1), dtype=np.intp)
    total, reach = gain[0].copy(), np.empty((k + 1, k + 1))
    # In place: for matrices this small, asking for memory takes longer than the arithmetic.
    for i in range(1, t):
        np.subtract(total, price[i], out=reach)
        reach.argmax(1, out=came_from[i])
        np.maximum.reduce(reach, axis=1, out=total)
        total += gain[i]
    path = [int(total.argmax())]
    for row in came_from[:0:-1].tolist():
        path.append(row[path[-1]])
    return np.array(path[::-1], dtype=np.intp)


FAMILIES = (
    Family(
        "f0",
        f0,
        fixed("f0_hz", "f0_voiced", "f0_periodicity"),
        "Hz, 1 or 0, 0 to 1",
        "Boersma (1993), Proc. Institute of Phonetic Sciences 17",
    ),
)
