"""Recordings with the oddities of the field, made of a synthetic voice."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

__all__ = [
    "CASES",
    "RATE",
    "make_data_size_0",
    "make_dc_offset",
    "make_dither",
    "make_mute_then_noise",
    "make_phase_inverted",
    "noise",
    "read_happy",
    "sound_file",
]

CASES = Path(__file__).parent / "cases"
RATE = 16_000


def read_happy() -> np.ndarray:
    """A synthetic voice of 2.774 s, ``(n,)`` int16."""
    x: np.ndarray = soundfile.read(CASES / "happy.wav", dtype="int16")[0]
    return x


def sound_file(x: np.ndarray, kind: str = "WAV", subtype: str | None = None, **options: Any) -> bytes:
    """The bytes of a recording that libsndfile writes."""
    file = io.BytesIO()
    soundfile.write(file, x, RATE, format=kind, subtype=subtype, **options)
    return file.getvalue()


def noise(seconds: float, level_db: float, seed: int = 3) -> np.ndarray:
    """White noise, ``(n,)`` int16."""
    x = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return np.round(x * 32768 * 10 ** (level_db / 20)).astype(np.int16)


def make_data_size_0() -> bytes:
    data = bytearray(sound_file(read_happy()))
    data[40:44] = bytes(4)
    return bytes(data)


def make_mute_then_noise() -> bytes:
    return sound_file(np.r_[read_happy(), np.zeros(24_000, np.int16), noise(6.0, -60)], "FLAC")


def make_dc_offset() -> bytes:
    quiet = read_happy().astype(np.float32) / 32768 * 10 ** (-80 / 20)
    return sound_file(quiet + np.float32(0.2), subtype="FLOAT")


def make_dither() -> bytes:
    return sound_file(np.random.default_rng(1).integers(-1, 2, 6 * RATE).astype(np.int16))


def make_phase_inverted() -> bytes:
    return sound_file(np.stack([read_happy(), -read_happy()], axis=1))
