"""Noise at a ratio: of a colour, of other voices, out of a folder.

The ratio is that of mean powers over the whole sound, pauses included, in dB. Where the sum would leave
[-1, 1] all of it is turned down, so that the ratio holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emovox import audio
from emovox._arrays import Doubles, Floats
from emovox.audio import AUDIO_SUFFIXES
from emovox.augment.base import (
    Amount,
    Rng,
    Transform,
    bins_hz,
    drawn,
    filtered,
    turned_down,
    with_noise,
)
from emovox.errors import ConfigError

__all__ = ["COLOURS", "Babble", "Background", "Noise", "babble"]

COLOURS: Mapping[str, float] = MappingProxyType(
    {"white": 0.0, "pink": 1.0, "brown": 2.0, "blue": -1.0, "violet": -2.0}
)
"""Name -> slope: the power goes as ``1 / f^slope``, 3 dB an octave for each."""

_LOWEST_HZ = 40.0
"""Below it the power rises no more: hum of a few hertz would take all of the ratio, and nobody hears it."""


@dataclass(frozen=True)
class Noise(Transform):
    """Steady noise of one colour at a ratio; ``any`` draws the colour."""

    snr_db: Amount = (5.0, 40.0)
    colour: str = "any"

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": (-40.0, 100.0)}
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"colour": ("any", *COLOURS)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        snr_db = drawn(self.snr_db, rng)
        colour = str(rng.choice(list(COLOURS))) if self.colour == "any" else self.colour
        response = np.maximum(bins_hz(len(x)), _LOWEST_HZ) ** (-COLOURS[colour] / 2)
        noise = filtered(rng.standard_normal(len(x)), response)
        return turned_down(with_noise(x, noise, snr_db))


@dataclass(frozen=True)
class Babble(Transform):
    """Several other voices at once, out of a folder of speech, at a ratio."""

    snr_db: Amount = (5.0, 30.0)
    folder: str = ""
    n_voices: int = 6

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": (-40.0, 100.0), "n_voices": (1, 64)}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_folder("Babble", self.folder)

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        snr_db = drawn(self.snr_db, rng)
        files = _files(self.folder)
        chosen = rng.choice(len(files), self.n_voices, replace=len(files) < self.n_voices)
        voices = [audio.read(files[k]) for k in chosen]
        return turned_down(with_noise(x, babble(voices, len(x), rng), snr_db))


@dataclass(frozen=True)
class Background(Transform):
    """A stretch of a recording of noise, drawn from a folder, at a ratio; a short one goes round."""

    snr_db: Amount = (5.0, 30.0)
    folder: str = ""

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": (-40.0, 100.0)}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_folder("Background", self.folder)

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        snr_db = drawn(self.snr_db, rng)
        files = _files(self.folder)
        noise = _stretch(audio.read(files[int(rng.integers(len(files)))]), len(x), rng)
        return turned_down(with_noise(x, noise, snr_db))


def babble(voices: Sequence[Floats], n: int, rng: Rng) -> Doubles:
    """``(n,)``: all voices at once, each as loud as the others and begun anywhere; short ones go round.

    Raises:
        ConfigError: there is no voice.
    """
    if not voices:
        raise ConfigError("babble is made of voices; got none, expected one or more")
    whole = np.zeros(n)
    for voice in voices:
        part = _stretch(voice, n, rng).astype(np.float64)
        whole += part / (np.sqrt(np.mean(part**2)) + 1e-9)
    return whole


def _stretch(x: Floats, n: int, rng: Rng) -> Floats:
    """``n`` samples of ``x`` from anywhere; after its end it begins again where it is too short."""
    longest = len(x) - n
    start = int(rng.integers(longest + 1 if longest > 0 else len(x)))
    return x[(start + np.arange(n)) % len(x)]


def _check_folder(name: str, folder: object) -> None:
    if not isinstance(folder, str) or not folder:
        raise ConfigError(f"folder of {name} is {folder!r}; expected a folder of recordings to take from")


def _files(folder: str) -> list[Path]:
    found = sorted(_recordings(Path(folder)))
    if not found:
        raise ConfigError(
            f"folder {folder!r} holds no recording (looked for .wav, .flac, .mp3, ... below it)"
        )
    return found


def _recordings(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ConfigError(f"folder {str(folder)!r} is not there; expected a folder of recordings")
    for path in folder.rglob("*"):
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."):
            yield path
