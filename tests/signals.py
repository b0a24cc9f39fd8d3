"""Synthetic signals, and measurements of them."""

from __future__ import annotations

import numpy as np

__all__ = ["RATE", "delay", "draw", "level_db", "pitch", "speech", "tone"]

RATE = 16_000


def draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def speech(seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    """Bursts of low-pass noise with a hum: something like syllables, with one clear start each."""
    t = np.arange(round(seconds * RATE)) / RATE
    bins = np.fft.rfftfreq(len(t), 1 / RATE)
    spectrum = np.fft.rfft(draw(seed).standard_normal(len(t))) / (1 + (bins / 1500) ** 2)
    x = np.fft.irfft(spectrum, len(t)) + 0.1 * np.sin(2 * np.pi * 180 * t)
    x *= np.sin(2 * np.pi * 3 * t) > -0.3
    return (0.1 * x / x.std()).astype(np.float32)


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def pitch(x: np.ndarray) -> float:
    """Frequency of the strongest partial in Hz, by a parabola through the log spectrum."""
    power = np.log(np.abs(np.fft.rfft(x * np.hanning(len(x)), 1 << 18)) ** 2 + 1e-12)
    k = int(power.argmax())
    a, b, c = power[k - 1 : k + 2]
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / (1 << 18)


def delay(x: np.ndarray, y: np.ndarray) -> int:
    """By how many samples ``y`` comes after ``x``."""
    size = 2 * len(x)
    cross = np.fft.irfft(np.fft.rfft(y, size) * np.fft.rfft(x, size).conj(), size)
    shift = int(cross.argmax())
    return shift if shift < len(x) else shift - size


def level_db(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(x.astype(np.float64) ** 2) + 1e-30))
