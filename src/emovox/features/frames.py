"""Frame settings, the shared short-time transform, and the entry of a family of features.

Frames are laid over the samples in one of two ways:

- *centred* (librosa's): frame ``t`` has its middle at sample ``t * hop``, the samples are padded with zeros
  at both ends, and there are ``1 + n // hop`` frames;
- *not centred* (`emovox.audio.stft.frames`, python_speech_features): frame ``t`` begins at ``t * hop``; the
  last one is padded with zeros.

Every family returns the same number of frames for the same settings, so that their columns can be joined.
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

__all__ = [
    "DEFAULT",
    "Family",
    "FrameSettings",
    "ShortTime",
    "fixed_columns",
    "number_columns",
    "numbered_columns",
    "safe_divisors",
]

# Values that are transformed at a time, so few that they stay in the processor's cache.
_BLOCK_VALUES = 1 << 14
Taper = Literal["hann", "hamming", "boxcar"]


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """How samples are split into frames; lengths in samples. The defaults are 25 ms every 10 ms at 16 kHz.

    Raises:
        ConfigError: a length or the pre-emphasis is out of range.
    """

    window: int = 400
    hop: int = 160
    n_fft: int = 512
    """Length of the transform, even; a shorter window is padded with zeros."""
    centred: bool = True
    taper: Taper = "hann"
    """Periodic, as usual in spectral analysis."""
    preemphasis: float = 0.0
    """``y[n] = x[n] - preemphasis * x[n - 1]`` before anything else; 0 for none."""

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
        """Return the number of frames of that many samples."""
        if self.centred:
            return 1 + n_samples // self.hop
        return 1 + max(0, -(-(n_samples - self.window) // self.hop))

    def taper_weights(self) -> Doubles:
        """Return the window ``(window,)``."""
        cosine = np.cos(2 * np.pi * np.arange(self.window) / self.window)
        a = {"hann": 0.5, "hamming": 0.54, "boxcar": 1.0}[self.taper]
        weights: Doubles = a - (1 - a) * cosine
        return weights


DEFAULT = FrameSettings()


class ShortTime:
    """The short-time transform of one recording; everything derived from it is computed once.

    Pass the same instance to several families (``FEATURES["mfcc"](x, rate, shared=short)``) to share the
    transform, and whatever else they store with `cached`.

    Args:
        x: samples, ``(n,)``, not empty.
        sample_rate: in Hz.
        settings: the frames.

    Raises:
        AudioValueError: ``x`` is empty, not one-dimensional or not finite, or the rate is below 1.
    """

    def __init__(self, x: ArrayLike, sample_rate: int, settings: FrameSettings = DEFAULT) -> None:
        samples = np.asarray(x, dtype=np.float32)
        if samples.ndim != 1 or not samples.size:
            raise AudioValueError(f"x has the shape {samples.shape}; expected a non-empty (n,)")
        if not np.isfinite(samples).all():
            raise AudioValueError("x contains NaN or infinity; expected finite samples")
        if sample_rate < 1:
            raise AudioValueError(f"the sample rate is {sample_rate!r}; expected 1 Hz or more")
        self.x: Floats = samples
        self.sample_rate = sample_rate
        self.settings = settings
        self._cached: dict[Hashable, Any] = {}

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        sample_rate: int,
        *,
        settings: FrameSettings | None = None,
        shared: ShortTime | None = None,
    ) -> ShortTime:
        """Return the transform that a family works on: ``shared`` if given, else a new one.

        Without ``settings`` those of ``shared`` apply, or `DEFAULT`.

        Raises:
            ConfigError: ``shared`` was made of samples of another length or rate.
        """
        if shared is None:
            return cls(x, sample_rate, settings or DEFAULT)
        if shared.x.shape != np.shape(x) or shared.sample_rate != sample_rate:
            raise ConfigError(
                f"the shared transform is of {shared.x.size} samples at {shared.sample_rate} Hz, x has the "
                f"shape {np.shape(x)} at {sample_rate} Hz; pass the transform of these samples"
            )
        return shared if settings is None else shared.with_settings(settings)

    def with_settings(self, settings: FrameSettings) -> ShortTime:
        """Return the transform of the same samples with other settings, itself computed once."""
        if settings == self.settings:
            return self
        key = ("settings", settings)
        other: ShortTime = self.cached(key, lambda: ShortTime(self.x, self.sample_rate, settings))
        return other

    def cached(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return ``compute()``, stored under ``key``; callers must not write into it."""
        if key not in self._cached:
            self._cached[key] = compute()
        return self._cached[key]

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.settings.n_frames(self.x.size)

    @cached_property
    def emphasised(self) -> Floats:
        """The samples after pre-emphasis, ``(n,)``."""
        if not self.settings.preemphasis:
            return self.x
        return np.append(self.x[:1], self.x[1:] - np.float32(self.settings.preemphasis) * self.x[:-1])

    def frames(self, *, length: int | None = None, before: int | None = None) -> Floats:
        """Return the frames without taper, ``(n_frames, length)``, a view; zeros at both ends.

        ``length`` is the window unless given; sample ``t * hop`` of centred frames is at index ``before``,
        the middle unless given.
        """
        size = self.settings.window if length is None else length
        left = (size // 2 if before is None else before) if self.settings.centred else 0
        n_frames, hop = self.n_frames, self.settings.hop
        right = max(0, (n_frames - 1) * hop + size - left - self.emphasised.size)
        return stft.frames(np.pad(self.emphasised, (left, right)), size, hop)[:n_frames]

    @cached_property
    def power(self) -> Floats:
        """Power spectrum ``(n_frames, n_fft // 2 + 1)``: the squared magnitude, without scaling."""
        s = self.settings
        # A short window is in the middle of the transform's frame, to the sample where librosa puts it.
        cut = self.frames(length=s.window, before=s.n_fft // 2 - (s.n_fft - s.window) // 2)
        weights = s.taper_weights()
        power = np.empty((len(cut), s.n_fft // 2 + 1), dtype=np.float32)
        # In double precision, which costs no more: in single, valleys far below a frame's peak are lost. A
        # few frames at a time stay in the processor's cache, and are three times as fast as all at once.
        n_rows = max(1, _BLOCK_VALUES // s.n_fft)
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
    """An entry of `emovox.features.FEATURES`; call it with samples to get its frames.

    ``function(short, **parameters)`` takes a `ShortTime` and returns ``(t, d)`` float32;
    ``columns(**parameters)`` returns the ``d`` names.
    """

    name: str
    function: Callable[..., Floats]
    columns: Callable[..., tuple[str, ...]]
    unit: str
    source: str

    def __call__(
        self,
        x: ArrayLike,
        sample_rate: int,
        *,
        settings: FrameSettings | None = None,
        shared: ShortTime | None = None,
        **parameters: Any,
    ) -> Floats:
        """Compute the frames of a recording.

        Args:
            x: samples, ``(n,)``.
            sample_rate: in Hz.
            settings: the frames; those of ``shared`` or `DEFAULT` unless given.
            shared: transform of the same samples, which families share.
            **parameters: of the family.

        Returns:
            ``(t, d)`` float32.

        Raises:
            AudioValueError: ``x`` is empty, not one-dimensional or not finite.
            ConfigError: a parameter is out of range, or ``shared`` is of other samples.
        """
        short = ShortTime.of(x, sample_rate, settings=settings, shared=shared)
        return self.function(short, **parameters)


def fixed_columns(*names: str) -> Callable[..., tuple[str, ...]]:
    """Return the ``columns`` function of a family whose columns do not depend on parameters."""
    return lambda **_: names


def numbered_columns(stem: str, parameter: str, default: int) -> Callable[..., tuple[str, ...]]:
    """Return the ``columns`` function of a family with as many columns as ``parameter`` says."""
    return lambda **given: number_columns(stem, given.get(parameter, default))


def number_columns(stem: str, n: int) -> tuple[str, ...]:
    """Return ``('mel_01', 'mel_02', ...)``: from 1, with the digits of the last one, at least two."""
    digits = max(2, len(str(n)))
    return tuple(f"{stem}_{i:0{digits}d}" for i in range(1, n + 1))


def safe_divisors(sums: Floats) -> Floats:
    """Replace sums too small to divide by with 1: a share of nothing is 0."""
    return np.where(sums < np.finfo(np.float32).tiny, np.float32(1), sums)
