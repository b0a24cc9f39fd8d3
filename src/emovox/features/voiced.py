"""The frames that carry a voice: their F0, their long spectra and the levels of their harmonics, found once.

Voice quality and formants are asked of these frames alone. A family that stands on them takes ``pitch_hz``,
the F0 of its frames, or lets `prosody.f0` find it, once for all families that share a transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats, Ints
from emovox.errors import ConfigError
from emovox.features.frames import ShortTime
from emovox.features.pitch import f0

__all__ = ["Voiced"]


_WINDOW_S = 0.05
"""Three periods of 60 Hz, the lowest pitch that `f0` looks for."""
_N_AT_ONCE = 16
"""Frames transformed together: so few stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Voiced:
    """The voiced ones among a sound's frames, ``v`` of ``n_frames``."""

    x: Floats
    """The sound, ``(n,)``."""
    sample_rate: int
    n_frames: int
    index: Ints
    """Which frames, ``(v,)``."""
    middle: Ints
    """The sample in the middle of each, ``(v,)``."""
    hz: Doubles
    """F0 of each, ``(v,)``."""

    @classmethod
    def of(cls, short: ShortTime, pitch_hz: ArrayLike | None = None) -> Voiced:
        """The voiced frames of ``short``: those where ``pitch_hz (t,)`` is not nan, or where `f0` says so.

        Raises:
            ConfigError: ``pitch_hz`` has not one value a frame, or one that is neither nan nor above 0 Hz
                and at most a quarter of the rate.
        """
        if pitch_hz is None:
            found: Voiced = short.once(
                "voiced", lambda: cls.of(short, f0(short.x, short.sample_rate, shared=short)[:, 0])
            )
            return found
        hz = np.asarray(pitch_hz, dtype=np.float64)
        if hz.shape != (short.n_frames,):
            raise ConfigError(f"pitch_hz has the shape {hz.shape}; expected one a frame, ({short.n_frames},)")
        index = np.flatnonzero(~np.isnan(hz))
        hz = hz[index]
        if hz.size and not (hz.min() > 0 and hz.max() <= short.sample_rate / 4):
            raise ConfigError(
                f"pitch_hz goes from {hz.min():g} to {hz.max():g} Hz; expected nan where there is no voice, "
                f"else above 0 and at most {short.sample_rate / 4:g}, a quarter of the rate"
            )
        s = short.settings
        middle = index * s.hop + (0 if s.centred else s.window // 2)
        return cls(short.x, short.sample_rate, short.n_frames, index, middle, hz)

    def __len__(self) -> int:
        return len(self.index)

    def spread(self, values: ArrayLike) -> Floats:
        """``(v,)`` or ``(v, d)`` of the voiced frames -> ``(t, 1)`` or ``(t, d)``, nan in the others."""
        given = np.asarray(values, dtype=np.float32)
        given = given[:, None] if given.ndim == 1 else given
        every = np.full((self.n_frames, given.shape[1]), np.nan, dtype=np.float32)
        every[self.index] = given
        return every

    def around(self, reach: int) -> Floats:
        """Samples from ``reach`` before each middle to ``reach`` behind it, ``(v, 2 * reach + 1)``.

        Zeros stand beyond both ends of the sound.
        """
        behind = max(0, int(self.middle.max(initial=0)) + 1 - self.x.size)
        padded = np.pad(self.x, (reach, reach + behind))
        return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)[self.middle]

    @cached_property
    def taper(self) -> Doubles:
        """Hann weights of the long frames, 50 ms, ``(window,)``; their number is odd."""
        reach = round(self.sample_rate * _WINDOW_S / 2)
        steps = np.arange(-reach, reach + 1)
        weights: Doubles = 0.5 + 0.5 * np.cos(np.pi * steps / (reach + 1))
        return weights

    @cached_property
    def n_fft(self) -> int:
        """Length of the long frames' transform: twice the window, so that no lag in use wraps around."""
        return 2 * (len(self.taper) - 1)

    @cached_property
    def power(self) -> Floats:
        """Power spectra of the long frames, freed of their mean, ``(v, n_fft // 2 + 1)``."""
        frames = self.around(len(self.taper) // 2)
        weights = self.taper.astype(np.float32)
        power = np.empty((len(self), self.n_fft // 2 + 1), dtype=np.float32)
        for first in range(0, len(self), _N_AT_ONCE):
            cut = frames[first : first + _N_AT_ONCE]
            spectra = np.fft.rfft((cut - cut.mean(1, keepdims=True)) * weights, n=self.n_fft, axis=1)
            np.add(spectra.real**2, spectra.imag**2, out=power[first : first + _N_AT_ONCE])
        return power

    def level_db(self, hz: ArrayLike) -> Doubles:
        """Level of the strongest harmonic near ``hz``, in dB, within half an F0 of it.

        ``(v,)`` or, for several places in each frame, ``(v, k)`` -> the same shape; nan for nan, and where
        all power is 0.
        """
        wanted = np.asarray(hz, dtype=np.float64)
        step_hz = self.sample_rate / self.n_fft
        reach = int(np.ceil(self.hz.max(initial=step_hz) / 2 / step_hz))
        steps = np.arange(-reach, reach + 1)
        each = np.arange(len(self)).reshape(-1, *([1] * wanted.ndim))
        bins = np.rint(np.nan_to_num(wanted) / step_hz).astype(np.intp)[..., None] + steps
        near = (np.abs(steps) * step_hz <= self.hz[each] / 2) & (bins >= 0) & (bins < self.power.shape[1])
        found = self.power[each, np.clip(bins, 0, self.power.shape[1] - 1)]
        highest = np.where(near, found, 0).max(-1, initial=0).astype(np.float64)
        there = (highest > 0) & ~np.isnan(wanted)
        return np.where(there, 10 * np.log10(np.where(there, highest, 1.0)), np.nan)
