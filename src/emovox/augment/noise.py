"""Noise at a signal-to-noise ratio: coloured, of other speakers, or from a folder of recordings.

The ratio is that of mean powers over the whole recording, pauses included, in dB. If the sum would leave
[-1, 1] it is scaled down as a whole, so that the ratio holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emovox import audio
from emovox._arrays import Doubles, Floats
from emovox.audio import AUDIO_SUFFIXES, SAMPLE_RATE
from emovox.augment.base import (
    Amount,
    Rng,
    Transform,
    apply_response,
    draw_amount,
    find_loudest,
    limit_peak,
    mix_noise,
    response_hz,
)
from emovox.errors import ConfigError

__all__ = [
    "COLOURS",
    "Babble",
    "Background",
    "Music",
    "Noise",
    "Tone",
    "list_recordings",
    "make_music",
    "mix_babble",
]

COLOURS: Mapping[str, float] = MappingProxyType(
    {"white": 0.0, "pink": 1.0, "brown": 2.0, "blue": -1.0, "violet": -2.0}
)
"""Name -> slope: the power is ``1 / f^slope``, 3 dB an octave for each."""

# Below it the power rises no more: inaudible hum of a few hertz would take up the whole ratio.
_LOWEST_HZ = 40.0


@dataclass(frozen=True)
class Noise(Transform):
    """Add steady noise of one colour at a ratio; ``any`` draws the colour."""

    snr_db: Amount = (5.0, 40.0)
    colour: str = "any"

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": (-40.0, 100.0)}
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"colour": ("any", *COLOURS)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        snr_db = draw_amount(self.snr_db, rng)
        colour = str(rng.choice(list(COLOURS))) if self.colour == "any" else self.colour
        response = np.maximum(response_hz(len(x)), _LOWEST_HZ) ** (-COLOURS[colour] / 2)
        noise = apply_response(rng.standard_normal(len(x)), response)
        return limit_peak(mix_noise(x, noise, snr_db))


@dataclass(frozen=True)
class Babble(Transform):
    """Add several other speakers at once, from a folder of speech, at a ratio."""

    snr_db: Amount = (5.0, 30.0)
    folder: str = ""
    n_voices: int = 6

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": (-40.0, 100.0), "n_voices": (1, 64)}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_folder("Babble", self.folder)

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        snr_db = draw_amount(self.snr_db, rng)
        files = list_recordings(self.folder)
        chosen = rng.choice(len(files), self.n_voices, replace=len(files) < self.n_voices)
        voices = [audio.read(files[k]) for k in chosen]
        return limit_peak(mix_noise(x, mix_babble(voices, len(x), rng), snr_db))


@dataclass(frozen=True)
class Background(Transform):
    """Add a random stretch of a noise recording from a folder, at a ratio; a short recording is repeated.

    ``loudest`` takes the loudest stretch instead, for recordings of one event such as a sneeze. ``folder``
    may be a pattern of files such as ``noise/*/street-*``.
    """

    snr_db: Amount = (5.0, 30.0)
    folder: str = ""
    loudest: bool = False

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": (-40.0, 100.0)}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_folder("Background", self.folder)

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        snr_db = draw_amount(self.snr_db, rng)
        files = list_recordings(self.folder)
        recording = audio.read(files[int(rng.integers(len(files)))])
        if self.loudest:
            recording = recording[find_loudest(recording, len(x)) :][: len(x)]
        noise = _random_stretch(recording, len(x), rng)
        return limit_peak(mix_noise(x, noise, snr_db))


@dataclass(frozen=True)
class Tone(Transform):
    """Add a sine of ``hz`` at a ratio."""

    hz: Amount = (5000.0, 7000.0)
    snr_db: Amount = (10.0, 50.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"hz": (1.0, 8000.0), "snr_db": (-40.0, 100.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        hz, snr_db = draw_amount(self.hz, rng), draw_amount(self.snr_db, rng)
        phase = 2 * np.pi * (hz * np.arange(len(x)) / SAMPLE_RATE + rng.random())
        return limit_peak(mix_noise(x, np.sin(phase), snr_db))


@dataclass(frozen=True)
class Music(Transform):
    """Add synthetic music at a ratio: random chords of decaying harmonics, a bass and a beat of noise."""

    snr_db: Amount = (5.0, 30.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": (-40.0, 100.0)}

    def _apply(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        snr_db = draw_amount(self.snr_db, rng)
        return limit_peak(mix_noise(x, make_music(len(x), rng), snr_db))


# Semitones of the degrees that a major scale's chords are built on: I, IV, V and vi.
_DEGREES = (0, 5, 7, 9)


def make_music(n: int, rng: Rng) -> Doubles:
    """Make ``(n,)`` samples of music: four to the bar, a chord for each beat, all drawn from ``rng``."""
    beat = round(60 / rng.uniform(80, 140) * SAMPLE_RATE)
    root_hz = 110 * 2 ** (rng.integers(12) / 12)
    t = np.arange(beat) / SAMPLE_RATE
    y = np.zeros(-(-n // beat) * beat)
    for start in range(0, n, beat):
        degree = int(rng.choice(_DEGREES))
        third = 3 if degree == 9 else 4
        notes = [degree - 12, degree, degree + third, degree + 7]
        part = 0.3 * rng.standard_normal(beat) * np.exp(-t / 0.02)
        for note in notes:
            hz = root_hz * 2 ** (note / 12)
            for k in range(1, 7):
                phase = 2 * np.pi * (k * hz * t + rng.random())
                part += np.sin(phase) * np.exp(-t * k / 0.4) / k
        y[start : start + beat] = part
    return y[:n]


def mix_babble(voices: Sequence[Floats], n: int, rng: Rng) -> Doubles:
    """Mix voices to ``(n,)``, each at the same level and from a random start; short ones are repeated.

    Raises:
        ConfigError: ``voices`` is empty.
    """
    if not voices:
        raise ConfigError("babble is a mix of voices; got none, expected one or more")
    mix = np.zeros(n)
    for voice in voices:
        part = _random_stretch(voice, n, rng).astype(np.float64)
        mix += part / (np.sqrt(np.mean(part**2)) + 1e-9)
    return mix


def _random_stretch(x: Floats, n: int, rng: Rng) -> Floats:
    """``n`` samples of ``x`` from a random start; ``x`` is repeated where it is too short."""
    excess = len(x) - n
    start = int(rng.integers(excess + 1 if excess > 0 else len(x)))
    return x[(start + np.arange(n)) % len(x)]


def _check_folder(name: str, folder: object) -> None:
    if not isinstance(folder, str) or not folder:
        raise ConfigError(f"folder of {name} is {folder!r}; expected the path of a folder of recordings")


def list_recordings(folder: str) -> list[Path]:
    """List the recordings below a folder, or those that a pattern such as ``noise/*/street-*`` matches.

    Raises:
        ConfigError: there is none.
    """
    if Path(folder).is_dir():
        paths = Path(folder).rglob("*")
    elif any(letter in folder for letter in "*?["):
        paths = Path(Path(folder).anchor).glob(str(Path(folder).relative_to(Path(folder).anchor)))
    else:
        raise ConfigError(f"folder {folder!r} does not exist; expected a folder of recordings")
    found = sorted(path for path in paths if path.suffix.lower() in AUDIO_SUFFIXES)
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise ConfigError(f"folder {folder!r} has no recording (.wav, .flac, .mp3, ... at any depth)")
    return found
