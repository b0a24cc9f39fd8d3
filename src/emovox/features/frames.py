"""What every family of features stands on: frame settings, the shared transform, the family's own entry.

Two ways to lay frames over a sound:

- *centred* (librosa's): frame ``t`` has its middle at sample ``t * hop``, zeros stand beyond both ends, and
  there are ``1 + n // hop`` frames;
- *not centred* (``spectrum.frames``, python_speech_features): frame ``t`` begins at ``t * hop``; zeros
  fill the last one.

Every family gives the same number of frames for the same settings, so that their columns stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats
from emovox.audio import stft
from emovox.errors import AudioValueError, ConfigError

__all__ = ["DEFAULT", "Family", "FrameSettings", "ShortTime", "columns_of", "divisors", "fixed", "numbered"]

_CACHED_VALUES = 1 << 14
Taper = Literal["hann", "hamming", "boxcar"]


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """How a sound is cut into frames; lengths in samples. The defaults are 25 ms every 10 ms at 16 kHz.

    Raises:
        ConfigError: a length or the pre-emphasis is out of range.
    """

    window: int = 400
    hop: int = 160
    n_fft: int = 512
    """Length of the transform, even; a window shorter than it is filled with zeros."""
    centred: bool = True
    taper: Taper = "hann"
    """Periodic, as spectral analysis wants it."""
    preemphasis: float = 0.0
    """``y[n] = x[n] - preemphasis * x[n - 1]`` before anything else; 0 is none."""

    def __post_init__(self) -> None:
        lengths = (self.window, self.hop, self.n_fft)
        if any(isinstance(n, bool) or not isinstance(n, int | np.integer) for n in lengths):
            raise ConfigError(
                f"window {self.window!r}, hop {self.hop!r}, n_fft {self.n_fft!r}; expected whole samples"
            )
        if not (1 <= self.window <= self.n_fft and self.hop >= 1) or self.n_fft % 2:
            raise ConfigError(
                f"window {self.window!r}, hop {self.hop!r}, n_fft {self.n_fft!r}; expected a hop of 1 or "
                "more, a window from 1 to n_fft samples, and an even n_fft"
            )
        if self.taper not in ("hann", "hamming", "boxcar"):
            raise ConfigError(f"taper is {self.taper!r}; expected 'hann', 'hamming' or 'boxcar'")
        if not 0 <= self.preemphasis < 1:
            raise ConfigError(f"preemphasis is {self.preemphasis!r}; expected 0 or more and below 1")

    def n_frames(self, n_samples: int) -> int:
        """How many frames a sound of that length has."""
        if self.centred:
            return 1 + n_samples // self.hop
        return 1 + max(0, -(-(n_samples - self.window) // self.hop))

    def taper_weights(self) -> Doubles:
        """The window's weights, ``(window,)``."""
        cosine = np.cos(2 * np.pi * np.arange(self.window) / self.window)
        a = {"hann": 0.5, "hamming": 0.54, "boxcar": 1.0}[self.taper]
        weights: Doubles = a - (1 - a) * cosine
        return weights


DEFAULT = FrameSettings()


class ShortTime:
    """One sound under one setting of frames; whatever is derived from it is computed once.

    Hand the same instance to several families (``mfcc(x, rate, shared=short)``) and they share the
    transform, and whatever else they keep with `once`.

    Args:
        x: sound, ``(n,)``, not empty.
        sample_rate: in Hz.
        settings: the frames.

    Raises:
        AudioValueError: ``x`` is empty, not one-dimensional or not finite, or the rate is below 1.
    """

    def __init__(self, x: ArrayLike, sample_rate: int, settings: FrameSettings = DEFAULT) -> None:
        sound = np.asarray(x, dtype=np.float32)
        if sound.ndim != 1 or not sound.size:
            raise AudioValueError(f"x has the shape {sound.shape}; expected a non-empty (n,)")
        if not np.isfinite(sound).all():
            raise AudioValueError("x holds NaN or infinity; expected finite samples")
        if sample_rate < 1:
            raise AudioValueError(f"the sample rate is {sample_rate!r}; expected 1 Hz or more")
        self.x: Floats = sound
        self.sample_rate = sample_rate
        self.settings = settings
        self._kept: dict[Hashable, Any] = {}

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        sample_rate: int,
        *,
        settings: FrameSettings | None = None,
        shared: ShortTime | None = None,
    ) -> ShortTime:
        """What a family starts with: ``shared`` if it was handed in, else a transform of its own.

        Without ``settings`` those of ``shared`` hold, or `DEFAULT`.

        Raises:
            ConfigError: ``shared`` was made of a sound of another length or rate.
        """
        if shared is None:
            return cls(x, sample_rate, settings or DEFAULT)
        if shared.x.shape != np.shape(x) or shared.sample_rate != sample_rate:
            raise ConfigError(
                f"the shared transform is of {shared.x.size} samples at {shared.sample_rate} Hz, the sound "
                f"has the shape {np.shape(x)} at {sample_rate} Hz; hand in the transform of this sound"
            )
        return shared if settings is None else shared.under(settings)

    def under(self, settings: FrameSettings) -> ShortTime:
        """The same sound under other settings; asked twice, it is the same instance."""
        if settings == self.settings:
            return self
        key = ("under", settings)
        other: ShortTime = self.once(key, lambda: ShortTime(self.x, self.sample_rate, settings))
        return other

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """``compute()``, kept under ``key`` for whoever asks next; nobody may write into it."""
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    @property
    def n_frames(self) -> int:
        return self.settings.n_frames(self.x.size)

    @cached_property
    def emphasised(self) -> Floats:
        """The sound after pre-emphasis, ``(n,)``."""
        if not self.settings.preemphasis:
            return self.x
        return np.append(self.x[:1], self.x[1:] - np.float32(self.settings.preemphasis) * self.x[:-1])

    def stretches(self, *, length: int | None = None, edge: Literal["zeros", "repeat"] = "zeros") -> Floats:
        """Frames without taper, ``(n_frames, length)``, a view; ``length`` is the window unless given.

        Centred ones have sample ``t * hop`` at their index ``length // 2``. ``edge`` is what stands before
        the first sample and behind the last.
        """
        size = self.settings.window if length is None else length
        return self._cut(size, size // 2, edge)

    def _cut(self, length: int, before: int, edge: Literal["zeros", "repeat"]) -> Floats:
        sound, n_frames, hop = self.emphasised, self.n_frames, self.settings.hop
        left = before if self.settings.centred else 0
        right = max(0, (n_frames - 1) * hop + length - left - sound.size)
        padded = np.pad(sound, (left, right), mode="edge" if edge == "repeat" else "constant")
        return stft.frames(padded, length, hop)[:n_frames]

    @cached_property
    def power(self) -> Floats:
        """Power spectrum ``(n_frames, n_fft // 2 + 1)``: the squared magnitude, not divided by anything."""
        s = self.settings
        # A short window stands in the middle of the transform's stretch, to the sample where librosa puts it.
        cut = self._cut(s.window, s.n_fft // 2 - (s.n_fft - s.window) // 2, "zeros")
        weights = s.taper_weights()
        power = np.empty((len(cut), s.n_fft // 2 + 1), dtype=np.float32)
        # In double precision, which costs no more: in single, valleys far below a frame's peak are lost. A
        # few frames at a time stay in the processor's cache, and are three times as fast as all at once.
        n_rows = max(1, _CACHED_VALUES // s.n_fft)
        for first in range(0, len(cut), n_rows):
            spectra = np.fft.rfft(cut[first : first + n_rows] * weights, n=s.n_fft, axis=1)
            parts = spectra.view(np.float64)
            np.multiply(parts, parts, out=parts)
            np.add(parts[:, ::2], parts[:, 1::2], out=power[first : first + n_rows], casting="same_kind")
        return power

    @cached_property
    def magnitude(self) -> Floats:
        """Square root of `power`, same shape."""
        return np.sqrt(self.power)

    @cached_property
    def hz(self) -> Doubles:
        """Frequency of each bin, ``(n_fft // 2 + 1,)``."""
        bins = np.arange(self.settings.n_fft // 2 + 1, dtype=np.float64)
        return bins * self.sample_rate / self.settings.n_fft


@dataclass(frozen=True)
class Family:
    """A readable entry of `emovox.features.FEATURES`.

    ``function(x (n,), sample_rate, *, settings=None, shared=None, **parameters)`` gives ``(t, d)`` float32;
    ``columns(**parameters)`` names the ``d``.
    """

    name: str
    function: Callable[..., Floats]
    columns: Callable[..., tuple[str, ...]]
    unit: str
    source: str

    def __call__(self, x: ArrayLike, sample_rate: int, **options: Any) -> Floats:
        return self.function(x, sample_rate, **options)


def fixed(*names: str) -> Callable[..., tuple[str, ...]]:
    """Columns that depend on no parameter."""
    return lambda **_: names


def numbered(stem: str, parameter: str, default: int) -> Callable[..., tuple[str, ...]]:
    """Columns ``stem_01 ...``, as many as the parameter of that name says."""
    return lambda **given: columns_of(stem, given.get(parameter, default))


def columns_of(stem: str, n: int) -> tuple[str, ...]:
    """``('mel_01', 'mel_02', ...)``: from 1, with as many digits as the last one has, at least two."""
    digits = max(2, len(str(n)))
    return tuple(f"{stem}_{i:0{digits}d}" for i in range(1, n + 1))


def divisors(sums: Floats) -> Floats:
    """Sums to divide by, where those too small for it are 1: a share of nothing is 0."""
    return np.where(sums < np.finfo(np.float32).tiny, np.float32(1), sums)
