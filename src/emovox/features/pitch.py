"""Fundamental frequency, voiced frames and syllable rate.

The pitch tracker is Boersma's (1993). The autocorrelation of a frame, divided by that of its window, is 1 at
the period of a periodic signal, whatever the window; its peaks are the candidates. What repeats after one
period repeats after two, so each octave down has a small cost. The best path through the candidates of all
frames, one of which is "unvoiced", pays for jumps in pitch and for every change between voiced and unvoiced.

Frames have the middles that `FrameSettings` gives them, but a window of their own: three of the longest
periods. Pre-emphasis and taper are not used. Voicing depends on the periodicity of a frame and not on its
level, so that a gain changes nothing, down to frames below -120 dBFS, which are silent.

Syllable nuclei are de Jong's and Wempe's: peaks of intensity within ``threshold_db`` of the loudest part, in
voiced frames, separated from the previous nucleus by a dip of at least ``dip_db``.

Sources: P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
ratio of a sampled sound", Proc. Institute of Phonetic Sciences 17 (1993), 97-110; here, frequencies above
``top_hz`` fade out before the autocorrelation, where jitter blurs the harmonics and noise outweighs them.
N. de Jong and T. Wempe, "Praat script to detect syllable nuclei and measure speech rate automatically",
Behavior Research Methods 41 (2009), 385-390.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Bools, Doubles, Floats, Ints
from emovox.errors import ConfigError
from emovox.features.frames import Family, ShortTime, fixed_columns

__all__ = ["FAMILIES", "VoicedFrames", "f0", "find_nuclei", "syllable_rate"]


# Mean power of a frame below this is silence.
_SILENT_POWER = 1e-12
_N_CANDIDATES = 6
# Frames that are transformed at a time, so few that they stay in the processor's cache: half the time.
_N_PER_BLOCK = 32

# --- fundamental frequency ---------------------------------------------------------------------------


def f0(
    short: ShortTime,
    *,
    low_hz: float = 60.0,
    high_hz: float = 500.0,
    top_hz: float = 1500.0,
    voicing: float = 0.5,
    octave_cost: float = 0.04,
    jump_cost: float = 0.35,
    switch_cost: float = 0.14,
) -> Floats:
    """Track the fundamental frequency: ``(t, 3)``.

    Columns: ``f0_hz``, nan in unvoiced frames; ``f0_voiced``, 1 or 0; ``f0_periodicity`` from 0 to 1, the
    normalised autocorrelation at the chosen period, or at the best one in unvoiced frames.

    Args:
        short: transform of the recording.
        low_hz: lowest pitch.
        high_hz: highest pitch.
        top_hz: where the fading of high frequencies is halfway.
        voicing: periodicity of a voiced frame in the middle of the range.
        octave_cost: how much more is required for each octave down.
        jump_cost: for each octave between neighbours 10 ms apart; in proportion for other hops.
        switch_cost: for each change between voiced and unvoiced, likewise.

    Raises:
        ConfigError: a parameter is out of range.
    """
    costs = (octave_cost, jump_cost, switch_cost)
    if not (
        0 < low_hz < high_hz <= short.sample_rate / 4 and top_hz > 0 and 0 < voicing < 1 and min(costs) >= 0
    ):
        raise ConfigError(
            f"F0 from {low_hz!r} to {high_hz!r} Hz at {short.sample_rate!r} Hz, top {top_hz!r} Hz, voicing "
            f"{voicing!r}, costs {costs!r}; expected 0 < low < high <= a quarter of the rate, a top above 0, "
            "a voicing between 0 and 1, and costs of 0 or more"
        )
    tables = _make_tables(short.sample_rate, low_hz, high_hz, top_hz)
    key = ("f0", low_hz, high_hz, top_hz, voicing, *costs)
    track: Floats = short.cached(key, lambda: _track_pitch(short, tables, voicing, costs))
    return track


@dataclass(frozen=True)
class _PitchTables:
    """What depends on the rate and the range alone; lags in samples."""

    taper: Floats
    fade: Floats
    """Weights of the power spectrum, ``(n_fft // 2 + 1,)``."""
    taper_correlation: Floats
    """Normalised autocorrelation of the taper at lags from 0, ``(n_lags,)``."""
    n_fft: int
    shortest: float
    longest: float


@lru_cache(maxsize=16)
def _make_tables(sample_rate: int, low_hz: float, high_hz: float, top_hz: float) -> _PitchTables:
    longest = sample_rate / low_hz
    window = 2 * round(1.5 * longest)
    n_lags = int(np.ceil(longest)) + 2
    # Long enough that the lags in use are free of what wraps around.
    n_fft = _fast_length(window + n_lags)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(window) + 0.5) / window)
    own = np.fft.irfft(np.abs(np.fft.rfft(taper, n_fft)) ** 2, n_fft)[:n_lags]
    beyond = np.clip(np.fft.rfftfreq(n_fft, 1 / sample_rate) / top_hz - 0.5, 0, 1)
    fade = 0.5 + 0.5 * np.cos(np.pi * beyond)
    return _PitchTables(
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


def _track_pitch(
    short: ShortTime, tables: _PitchTables, voicing: float, costs: tuple[float, float, float]
) -> Floats:
    """Compute what `f0` returns, ``(t, 3)``."""
    octave_cost, jump_cost, switch_cost = costs
    rate = short.sample_rate
    frames = _pitch_frames(short, len(tables.taper))
    found = [
        _find_candidates(_correlate(frames[i : i + _N_PER_BLOCK], tables), tables, octave_cost)
        for i in range(0, len(frames), _N_PER_BLOCK)
    ]
    lag = np.concatenate([lag for lag, _ in found])
    periodicity = np.concatenate([r for _, r in found])
    hz = rate / lag
    middle_hz = rate / np.sqrt(tables.shortest * tables.longest)
    score = periodicity + octave_cost * np.log2(hz / middle_hz)
    tens_ms = 100 * short.settings.hop / rate
    path = _best_path(np.log2(hz), score, voicing, jump_cost / tens_ms, switch_cost / tens_ms)

    voiced = path < _N_CANDIDATES
    chosen = np.where(voiced, path, periodicity.argmax(1))[:, None]
    pitch = np.where(voiced, np.take_along_axis(hz, chosen, 1)[:, 0], np.nan)
    clarity = np.clip(np.take_along_axis(periodicity, chosen, 1)[:, 0], 0, 1)
    return np.stack([pitch, voiced, clarity], axis=1).astype(np.float32)


def _pitch_frames(short: ShortTime, window: int) -> Floats:
    """Frames ``(n_frames, window)`` about the middles that the settings give, zeros at the ends."""
    s = short.settings
    first = (0 if s.centred else s.window // 2) - window // 2
    stop = first + (short.n_frames - 1) * s.hop + window
    samples = short.x[max(0, first) : max(0, stop)]
    before = max(0, -first)
    padded = np.pad(samples, (before, max(0, stop - first - before - samples.size)))
    return np.lib.stride_tricks.sliding_window_view(padded, window)[:: s.hop]


def _correlate(frames: Floats, tables: _PitchTables) -> Floats:
    """Autocorrelation over that of the taper: ``(t, n_lags)``, 1 at lag 0; zeros for silent frames."""
    centred = (frames - frames.mean(1, keepdims=True)) * tables.taper
    spectra = np.fft.rfft(centred, tables.n_fft, axis=1)
    power = (spectra.real**2 + spectra.imag**2) * tables.fade
    r = np.fft.irfft(power, tables.n_fft, axis=1)[:, : len(tables.taper_correlation)]
    energy = r[:, :1]
    not_silent = energy > _SILENT_POWER * len(tables.taper)
    return (r / (np.where(not_silent, energy, np.inf) * tables.taper_correlation)).astype(
        np.float32, copy=False
    )


def _find_candidates(r: Floats, tables: _PitchTables, octave_cost: float) -> tuple[Doubles, Doubles]:
    """Lags of the best peaks and their heights, ``(t, _N_CANDIDATES)`` each; no peak: height -inf."""
    first, last = int(np.floor(tables.shortest)), int(np.ceil(tables.longest))
    here, left, right = r[:, first : last + 1], r[:, first - 1 : last], r[:, first + 1 : last + 2]
    cost = octave_cost * np.log2(np.arange(first, last + 1) / tables.shortest)
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
    return np.clip(first + best + shift, tables.shortest, tables.longest), height


def _best_path(
    octave: Doubles, score: Doubles, unvoiced: float, jump_cost: float, switch_cost: float
) -> Ints:
    """Best path (Viterbi), ``(t,)``: the index of a candidate in each frame, or their number for unvoiced."""
    t, k = score.shape
    gain = np.column_stack([score, np.full(t, unvoiced)])
    price = np.full((t, k + 1, k + 1), switch_cost)  # of coming to [i, j] from [i - 1, l]
    price[1:, :k, :k] = jump_cost * np.abs(octave[1:, :, None] - octave[:-1, None, :])
    price[:, k, k] = 0.0
    came_from = np.zeros((t, k + 1), dtype=np.intp)
    total, reach = gain[0].copy(), np.empty((k + 1, k + 1))
    # In place: for matrices this small, allocation takes longer than the arithmetic.
    for i in range(1, t):
        np.subtract(total, price[i], out=reach)
        reach.argmax(1, out=came_from[i])
        np.maximum.reduce(reach, axis=1, out=total)
        total += gain[i]
    path = [int(total.argmax())]
    for row in came_from[:0:-1].tolist():
        path.append(row[path[-1]])
    return np.array(path[::-1], dtype=np.intp)


# --- voiced frames -----------------------------------------------------------------------------------

# Three periods of 60 Hz, the lowest pitch that `f0` looks for.
_LONG_WINDOW_S = 0.05
_N_LONG_PER_BLOCK = 16


@dataclass(frozen=True, eq=False)
class VoicedFrames:
    """The ``v`` voiced frames of a recording, their F0, long spectra and levels of harmonics.

    Voice quality and formants are computed of these frames alone. A family on them takes ``pitch_hz``, the
    F0 of its frames, or has `f0` track it, once for all families that share a transform.
    """

    x: Floats
    """Floats, ``(n,)``."""
    sample_rate: int
    n_frames: int
    index: Ints
    """Their positions among all frames, ``(v,)``."""
    middle: Ints
    """The sample in the middle of each, ``(v,)``."""
    hz: Doubles
    """F0 of each, ``(v,)``."""

    @classmethod
    def of(cls, short: ShortTime, pitch_hz: ArrayLike | None = None) -> VoicedFrames:
        """Find the voiced frames of ``short``: where ``pitch_hz (t,)``, by default that of `f0`, is not nan.

        Raises:
            ConfigError: ``pitch_hz`` does not have one value a frame, or has one that is neither nan nor
                above 0 Hz and at most a quarter of the rate.
        """
        if pitch_hz is None:
            found: VoicedFrames = short.cached("voiced", lambda: cls.of(short, f0(short)[:, 0]))
            return found
        hz = np.asarray(pitch_hz, dtype=np.float64)
        if hz.shape != (short.n_frames,):
            raise ConfigError(
                f"pitch_hz has the shape {hz.shape}; expected one value a frame, ({short.n_frames},)"
            )
        index = np.flatnonzero(~np.isnan(hz))
        hz = hz[index]
        if hz.size and not (hz.min() > 0 and hz.max() <= short.sample_rate / 4):
            raise ConfigError(
                f"pitch_hz goes from {hz.min():g} to {hz.max():g} Hz; expected nan in unvoiced frames, "
                f"else above 0 and at most {short.sample_rate / 4:g}, a quarter of the rate"
            )
        s = short.settings
        middle = index * s.hop + (0 if s.centred else s.window // 2)
        return cls(short.x, short.sample_rate, short.n_frames, index, middle, hz)

    def __len__(self) -> int:
        return len(self.index)

    def fill_frames(self, values: ArrayLike) -> Floats:
        """Expand ``(v,)`` or ``(v, d)`` of the voiced frames to ``(t, 1)`` or ``(t, d)``, nan elsewhere."""
        given = np.asarray(values, dtype=np.float32)
        given = given[:, None] if given.ndim == 1 else given
        every = np.full((self.n_frames, given.shape[1]), np.nan, dtype=np.float32)
        every[self.index] = given
        return every

    def around(self, reach: int) -> Floats:
        """Return the samples within ``reach`` of each middle, ``(v, 2 * reach + 1)``, zeros at the ends."""
        behind = max(0, int(self.middle.max(initial=0)) + 1 - self.x.size)
        padded = np.pad(self.x, (reach, reach + behind))
        return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)[self.middle]

    @cached_property
    def taper(self) -> Doubles:
        """Hann weights of the long frames, 50 ms, ``(window,)``; their number is odd."""
        reach = round(self.sample_rate * _LONG_WINDOW_S / 2)
        steps = np.arange(-reach, reach + 1)
        weights: Doubles = 0.5 + 0.5 * np.cos(np.pi * steps / (reach + 1))
        return weights

    @cached_property
    def n_fft(self) -> int:
        """Length of the long frames' transform: twice the window, so that no used lag wraps around."""
        return 2 * (len(self.taper) - 1)

    @cached_property
    def power(self) -> Floats:
        """Power spectra of the long frames, without their mean, ``(v, n_fft // 2 + 1)``."""
        frames = self.around(len(self.taper) // 2)
        weights = self.taper.astype(np.float32)
        power = np.empty((len(self), self.n_fft // 2 + 1), dtype=np.float32)
        for first in range(0, len(self), _N_LONG_PER_BLOCK):
            cut = frames[first : first + _N_LONG_PER_BLOCK]
            spectra = np.fft.rfft((cut - cut.mean(1, keepdims=True)) * weights, n=self.n_fft, axis=1)
            np.add(spectra.real**2, spectra.imag**2, out=power[first : first + _N_LONG_PER_BLOCK])
        return power

    def level_db(self, hz: ArrayLike) -> Doubles:
        """Return the level of the strongest harmonic within half an F0 of ``hz``, in dB.

        ``(v,)`` or, for several frequencies in each frame, ``(v, k)`` -> the same shape; nan for nan, and
        where all power is 0.
        """
        wanted = np.asarray(hz, dtype=np.float64)
        step_hz = self.sample_rate / self.n_fft
        reach = int(np.ceil(self.hz.max(initial=step_hz) / 2 / step_hz))
        steps = np.arange(-reach, reach + 1)
        each = np.arange(len(self)).reshape(-1, *([1] * wanted.ndim))
        bins = np.rint(np.nan_to_num(wanted) / step_hz).astype(np.intp)[..., None] + steps
        near = (np.abs(steps) * step_hz <= self.hz[each] / 2) & (bins >= 0) & (bins < self.power.shape[1])
        powers = self.power[each, np.clip(bins, 0, self.power.shape[1] - 1)]
        highest = np.where(near, powers, 0).max(-1, initial=0).astype(np.float64)
        valid = (highest > 0) & ~np.isnan(wanted)
        return np.where(valid, 10 * np.log10(np.where(valid, highest, 1.0)), np.nan)


# --- syllable rate -----------------------------------------------------------------------------------

# Of the intensity: long enough that the periods of the voice are smoothed away.
_INTENSITY_WINDOW_S = 0.064
# Percentile of the intensity that counts as loudest: a click is not taken for speech.
_LOUDEST_PERCENT = 99.0


def syllable_rate(
    short: ShortTime,
    *,
    pitch_hz: ArrayLike | None = None,
    threshold_db: float = 25.0,
    dip_db: float = 2.0,
    span_s: float = 1.0,
) -> Floats:
    """Find syllable nuclei and count them per second around each frame: ``(t, 2)``.

    Columns: ``syllable_nucleus``, 1 in the frame of a nucleus and 0 elsewhere, so that its mean over the hop
    in seconds is the rate of the recording; ``syllable_rate``, per second, within ``span_s`` about the
    frame, or the part of it inside the recording. The threshold depends on the whole recording.

    Args:
        short: transform of the recording.
        pitch_hz: F0 of the frames, ``(t,)``, nan in unvoiced frames; by default that of `f0`.
        threshold_db: how far below the loudest part a nucleus may be.
        dip_db: how far the intensity must fall between two nuclei.
        span_s: span of the running rate.

    Raises:
        ConfigError: ``pitch_hz`` does not fit, or an option is not above 0.
    """
    if min(threshold_db, dip_db, span_s) <= 0:
        raise ConfigError(
            f"threshold_db {threshold_db!r}, dip_db {dip_db!r}, span_s {span_s!r}; expected each above 0"
        )
    voiced = np.zeros(short.n_frames, dtype=bool)
    voiced[VoicedFrames.of(short, pitch_hz).index] = True
    nucleus = np.zeros(short.n_frames)
    nucleus[find_nuclei(_intensity_db(short), voiced, threshold_db=threshold_db, dip_db=dip_db)] = 1
    n_before = np.concatenate([[0.0], np.cumsum(nucleus)])
    hop_s = short.settings.hop / short.sample_rate
    reach = max(1, round(span_s / 2 / hop_s))
    first = np.clip(np.arange(short.n_frames) - reach, 0, None)
    end = np.clip(np.arange(short.n_frames) + reach + 1, None, short.n_frames)
    rate = (n_before[end] - n_before[first]) / ((end - first) * hop_s)
    return np.column_stack([nucleus, rate]).astype(np.float32)


def find_nuclei(
    intensity_db: Doubles, voiced: Bools, *, threshold_db: float = 25.0, dip_db: float = 2.0
) -> Ints:
    """Return the frames with a nucleus, in order, of an intensity ``(t,)`` and its voicing ``(t,)``."""
    padded = np.pad(intensity_db, 1, constant_values=-np.inf)
    peak = (padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:])
    loud = intensity_db > np.percentile(intensity_db, _LOUDEST_PERCENT) - threshold_db
    kept: list[int] = []
    for position in np.flatnonzero(peak & loud & np.isfinite(intensity_db)):
        if kept:
            dip = intensity_db[kept[-1] : position].min()
            lower = min(intensity_db[kept[-1]], intensity_db[position])
            if lower - dip < dip_db:
                # No dip between them: one syllable, whose nucleus is the louder peak.
                if intensity_db[position] > intensity_db[kept[-1]]:
                    kept[-1] = int(position)
                continue
        kept.append(int(position))
    return np.array([position for position in kept if voiced[position]], dtype=np.intp)


def _intensity_db(short: ShortTime) -> Doubles:
    """Power about the middle of each frame in dB, ``(t,)``, weighted by a triangle of 128 ms."""
    s = short.settings
    reach = max(1, round(_INTENSITY_WINDOW_S / 2 * short.sample_rate))
    samples = np.pad(short.x.astype(np.float64), (2 * reach, 2 * reach + s.window))
    running = np.concatenate([[0.0], np.cumsum(np.square(samples))])
    box = (running[2 * reach :] - running[: -2 * reach]) / (2 * reach)
    again = np.concatenate([[0.0], np.cumsum(box)])
    smooth = (again[2 * reach :] - again[: -2 * reach]) / (2 * reach)
    middle = np.arange(short.n_frames) * s.hop + (0 if s.centred else s.window // 2)
    power: Doubles = np.maximum(smooth[np.minimum(middle, len(smooth) - 1)], 0)
    return 10 * np.log10(power + _SILENT_POWER)


FAMILIES = (
    Family(
        "f0",
        f0,
        fixed_columns("f0_hz", "f0_voiced", "f0_periodicity"),
        "Hz, 1 or 0, 0 to 1",
        "Boersma (1993), Proc. Institute of Phonetic Sciences 17",
    ),
    Family(
        "syllable_rate",
        syllable_rate,
        fixed_columns("syllable_nucleus", "syllable_rate"),
        "1 or 0, nuclei a second",
        "de Jong and Wempe (2009), Behavior Research Methods 41",
    ),
)
