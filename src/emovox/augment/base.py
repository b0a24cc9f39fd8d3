"""What all transforms share: how one is set, what goes in and out, noise at a ratio, filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import AudioValueError, ConfigError

__all__ = [
    "Amount",
    "Rng",
    "Transform",
    "bins_hz",
    "drawn",
    "filtered",
    "fitted",
    "level_matched",
    "turned_down",
    "with_noise",
]

Rng: TypeAlias = np.random.Generator
Amount: TypeAlias = float | tuple[float, float]
"""A number, or ``(low, high)`` between which one is drawn evenly at each call."""


@dataclass(frozen=True)
class Transform:
    """A change to a sound that leaves its expressed emotion alone, with its strength.

    Call it with a sound ``(n,)`` in [-1, 1] at 16 kHz and a numpy ``Generator``, the only source of chance:
    the same seed gives the same sound. The answer is ``(m,)`` float32 in [-1, 1]; ``m`` is ``n`` unless the
    transform says otherwise. The input is left as it is.

    Raises:
        ConfigError: when made, a setting of the wrong kind or outside of its limits.
        AudioValueError: when called, what comes in is no mono sound.
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Setting -> the least and the most it may be."""
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Setting -> the words it may be."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in self.LIMITS:
                span = self.LIMITS[field.name]
                object.__setattr__(self, field.name, _amount(self, field.name, value, span, field.type))
            elif field.name in self.CHOICES and value not in self.CHOICES[field.name]:
                words = ", ".join(self.CHOICES[field.name])
                raise ConfigError(f"{_of(self, field.name)} is {value!r}; expected one of {words}")
            elif field.type == "bool" and not isinstance(value, bool):
                raise ConfigError(f"{_of(self, field.name)} is {value!r}; expected true or false")

    def __call__(self, x: Floats, rng: Rng) -> Floats:
        """The changed sound."""
        sound = np.asarray(x, np.float32)
        if sound.ndim != 1 or not len(sound) or not np.isfinite(sound).all():
            raise AudioValueError(
                f"got an array {sound.shape}; expected one channel (n,) of finite samples, n at least 1"
            )
        return np.asarray(np.clip(self._changed(sound, rng), -1, 1), np.float32)

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        """``x`` changed, perhaps beyond [-1, 1], where it is cut off as a recorder would."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it changes")


def _of(transform: Transform, setting: str) -> str:
    return f"{setting} of {type(transform).__name__}"


def _amount(transform: Transform, name: str, value: object, span: tuple[float, float], kind: object) -> Any:
    """``value`` as a number or a pair, within ``span``."""
    single = kind != "Amount"
    several = value if isinstance(value, (tuple, list)) and not single else (value,)
    low, high = span
    numbers = [v for v in several if isinstance(v, (int, float)) and not isinstance(v, bool)]
    pair = len(several) == len(numbers) == 2
    fits = len(several) == len(numbers) and all(low <= v <= high for v in numbers)  # nan does not
    if not fits or len(several) not in (1, 2) or (pair and numbers[0] > numbers[1]):
        more = "" if single else ", or two such numbers, the lower first"
        raise ConfigError(f"{_of(transform, name)} is {value!r}; expected {low:g} to {high:g}{more}")
    if kind == "int":
        if numbers[0] != int(numbers[0]):
            raise ConfigError(f"{_of(transform, name)} is {value!r}; expected a whole number")
        return int(numbers[0])
    return (float(numbers[0]), float(numbers[1])) if pair else float(numbers[0])


def drawn(amount: Amount, rng: Rng) -> float:
    """The number, or one between the two; only then is anything drawn."""
    return float(rng.uniform(*amount)) if isinstance(amount, tuple) else amount


# ------------------------------------------------------------------------------------ levels and lengths


def with_noise(x: npt.NDArray[Any], noise: npt.NDArray[Any], snr_db: float) -> Floats:
    """``x + noise``, the noise brought to a ratio of mean powers in dB; silence gets none."""
    signal_power = float(np.mean(x.astype(np.float64) ** 2))
    noise_power = float(np.mean(noise.astype(np.float64) ** 2)) + 1e-20
    scale = (signal_power / noise_power / 10 ** (snr_db / 10)) ** 0.5
    return np.asarray(x + scale * noise, np.float32)


def turned_down(x: Floats) -> Floats:
    """All of ``x`` quieter where it would leave [-1, 1]: cutting would change what was mixed."""
    peak = float(np.abs(x).max())
    return x / np.float32(peak) if peak > 1 else x


def fitted(x: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """The first ``n`` samples; zeros where there are fewer."""
    return np.pad(x, (0, max(0, n - len(x))))[:n]


# ------------------------------------------------------------------------------------ filters


def _fft_size(n: int) -> int:
    # A power of two: a prime length would cost ten times as much.
    return 1 << max(n - 1, 1).bit_length()


def bins_hz(n: int) -> Doubles:
    """Frequencies in Hz that ``filtered`` wants a response for, of a sound of ``n`` samples."""
    return np.asarray(np.fft.rfftfreq(_fft_size(n), 1 / SAMPLE_RATE), np.float64)


def filtered(x: npt.NDArray[Any], response: Doubles) -> Floats:
    """``x`` through a zero-phase ``response``, one value for each of ``bins_hz(len(x))``."""
    size = _fft_size(len(x))
    return np.fft.irfft(np.fft.rfft(x, size) * response, size)[: len(x)].astype(np.float32)


def level_matched(y: npt.NDArray[Any], x: Floats) -> npt.NDArray[Any]:
    """``y`` at the root mean square of ``x``; silence stays as it is."""
    there = (float(np.mean(np.square(y, dtype=np.float64)))) ** 0.5
    wanted = (float(np.mean(np.square(x, dtype=np.float64)))) ** 0.5
    return y * (wanted / there) if there > 0 else y
