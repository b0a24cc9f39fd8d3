"""Synthetic speech: voices that the detector finds and that models tell apart."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import soundfile

from emovox.audio import SAMPLE_RATE

__all__ = ["BRIGHT", "DARK", "pause", "talk", "voice", "wav"]

BRIGHT, DARK = (700, 1800, 3400), (350, 800, 2300)


def voice(
    duration_s: float,
    *,
    pitch_hz: float = 120,
    formants_hz: Sequence[float] = BRIGHT,
    rate: int = SAMPLE_RATE,
) -> np.ndarray:
    """A vowel in four syllables a second, ``(n,)`` float32: enough of a voice for the detector. Band-limited,
    so that any rate above 8 kHz has the same sound."""
    t = np.arange(round(duration_s * rate)) / rate
    phase = 2 * np.pi * pitch_hz * t + 1.5 * np.sin(2 * np.pi * 0.7 * t)
    y = np.zeros_like(t)
    for k in range(1, int(3800 / pitch_hz)):
        y += sum(1 / (1 + ((k * pitch_hz - f) / 120) ** 2) for f in formants_hz) * np.sin(k * phase)
    y *= 0.55 - 0.45 * np.cos(2 * np.pi * 4 * t)
    return (0.3 * y / np.abs(y).max()).astype(np.float32)


def pause(duration_s: float) -> np.ndarray:
    return np.zeros(round(duration_s * SAMPLE_RATE), np.float32)


def talk() -> np.ndarray:
    """Eighteen seconds: one voice, a pause, another voice, the first again, silence."""
    parts = [
        pause(0.4),
        voice(4.3),
        pause(1.5),
        voice(4.1, pitch_hz=210, formants_hz=DARK),
        voice(4.4),
        pause(3.8),
    ]
    return np.concatenate(parts)


def wav(x: np.ndarray, rate: int = SAMPLE_RATE, subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, x, rate, subtype=subtype, format="WAV")
    return file.getvalue()
