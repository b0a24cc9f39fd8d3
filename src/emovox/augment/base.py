"""The `Transform` base class, and the signal operations that the transforms share."""

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
    "apply_response",
    "draw_amount",
    "find_loudest",
    "fit_length",
    "limit_peak",
    "match_level",
    "mix_noise",
    "response_hz",
]

Rng: TypeAlias = np.random.Generator
Amount: TypeAlias = float | tuple[float, float]
"""A number, or ``(low, high)``: a uniform draw between the two at each call."""


@dataclass(frozen=True)
class Transform:
    """A change to a recording that keeps its expressed emotion, with its settings.

    Call it with samples ``(n,)`` float32 in [-1, 1] at 16 kHz and a numpy ``Generator``, the only source of
    randomness: the same seed gives the same samples. The result is ``(m,)`` float32 in [-1, 1]; ``m`` is
    ``n`` unless the transform says otherwise. The input is not modified.

    Raises:
        ConfigError: at construction, if a setting has the wrong type or is outside its limits.
        AudioValueError: when called, if the input is not one channel of finite samples.
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Setting -> smallest and largest value."""
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Setting -> allowed values."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            where = f"{field.name} of {type(self).__name__}"
            if field.name in self.LIMITS:
                value = _check_amount(where, value, self.LIMITS[field.name], field.type)
                object.__setattr__(self, field.name, value)
            elif field.name in self.CHOICES and value not in self.CHOICES[field.name]:
                raise ConfigError(
                    f"{where} is {value!r}; expected one of {', '.join(self.CHOICES[field.name])}"
                )
            elif field.type == "bool" and not isinstance(value, bool):
                raise ConfigError(f"{where} is {value!r}; expected true or false")

    def __call__(self, x: Floats, rng: Rng) -> Floats:
        """Return the transformed samples."""
        samples = np.asarray(x, np.float32)
        if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
            raise AudioValueError(
                f"got an array {samples.shape}; expected one channel (n,) of finite samples, n at least 1"
            )
        return np.asarray(np.clip(self._apply(samples, rng), -1, 1), np.float32)

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        """Transform ``x``; the caller clips what leaves [-1, 1], as a recorder would."""
        raise NotImplementedError(f"{type(self).__name__} has no _apply")


def _check_amount(where: str, value: object, limits: tuple[float, float], kind: object) -> Any:
    """Return ``value`` as a number or a pair of numbers within ``limits``."""
    single = kind != "Amount"
    given = value if isinstance(value, (tuple, list)) and not single else (value,)
    low, high = limits
    numbers = [v for v in given if isinstance(v, (int, float)) and not isinstance(v, bool)]
    pair = len(given) == len(numbers) == 2
    inside = len(given) == len(numbers) and all(low <= v <= high for v in numbers)  # false for nan
    if not inside or len(given) not in (1, 2) or (pair and numbers[0] > numbers[1]):
        more = "" if single else ", or two such numbers, the lower first"
        raise ConfigError(f"{where} is {value!r}; expected {low:g} to {high:g}{more}")
    if kind == "int":
        if numbers[0] != int(numbers[0]):
            raise ConfigError(f"{where} is {value!r}; expected a whole number")
        return int(numbers[0])
    return (float(numbers[0]), float(numbers[1])) if pair else float(numbers[0])


def draw_amount(amount: Amount, rng: Rng) -> float:
    """Return the number, or a uniform draw from the range; a plain number consumes no randomness."""
    return float(rng.uniform(*amount)) if isinstance(amount, tuple) else amount


# --- levels and lengths ------------------------------------------------------------------------------


def mix_noise(x: npt.NDArray[Any], noise: npt.NDArray[Any], snr_db: float) -> Floats:
    """Add ``noise`` to ``x`` at a ratio of mean powers in dB; digital silence stays silent."""
    signal_power = float(np.mean(x.astype(np.float64) ** 2))
    noise_power = float(np.mean(noise.astype(np.float64) ** 2)) + 1e-20
    scale = (signal_power / noise_power / 10 ** (snr_db / 10)) ** 0.5
    return np.asarray(x + scale * noise, np.float32)


def limit_peak(x: Floats) -> Floats:
    """Scale ``x`` down as a whole if it leaves [-1, 1]: clipping would change a ratio that was mixed."""
    peak = float(np.abs(x).max())
    return x / np.float32(peak) if peak > 1 else x


def match_level(y: npt.NDArray[Any], x: Floats) -> npt.NDArray[Any]:
    """Scale ``y`` to the root mean square of ``x``; digital silence stays as it is."""
    current = (float(np.mean(np.square(y, dtype=np.float64)))) ** 0.5
    wanted = (float(np.mean(np.square(x, dtype=np.float64)))) ** 0.5
    return y * (wanted / current) if current > 0 else y


def fit_length(x: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
    """Cut ``x`` to ``n`` samples, or append zeros."""
    return np.pad(x, (0, max(0, n - len(x))))[:n]


def find_loudest(x: Floats, n: int) -> int:
    """Return the start of the ``n`` samples of ``x`` with the most energy; 0 where ``x`` is not longer."""
    if n >= len(x):
        return 0
    energy = np.concatenate([[0.0], np.cumsum(x.astype(np.float64) ** 2)])
    return int((energy[n:] - energy[:-n]).argmax())


# --- filters -----------------------------------------------------------------------------------------


def _fft_size(n: int) -> int:
    # A power of two: a prime length would take ten times as long.
    return 1 << max(n - 1, 1).bit_length()


def response_hz(n: int) -> Doubles:
    """Frequencies in Hz at which `apply_response` expects the response for ``n`` samples."""
    return np.asarray(np.fft.rfftfreq(_fft_size(n), 1 / SAMPLE_RATE), np.float64)


def apply_response(x: npt.NDArray[Any], response: Doubles) -> Floats:
    """Filter ``x`` with a zero-phase ``response``, one gain for each of ``response_hz(len(x))``."""
    size = _fft_size(len(x))
    return np.fft.irfft(np.fft.rfft(x, size) * response, size)[: len(x)].astype(np.float32)
