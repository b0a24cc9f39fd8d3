"""Families of features and F0 on real speech, next to librosa: first equal, then timed. For `features.py`.

All run in this process on one thread, in turns, so that a busy machine disturbs all alike. The time of a clip
is the least of the repeats, wall and CPU; that of a way is the sum over its clips.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray
from peers.librosa_features import features as librosa_features
from pitch import CONDITIONS, HOP, RATE, errors, ours, pyin

from emovox import audio
from emovox._arrays import Floats
from emovox.features import FEATURES, FrameSettings, ShortTime

__all__ = ["CLIP_S", "F0", "Families", "against_praat", "f0", "families", "middle"]

CLIP_S = 3.0
WITHIN = 1e-4
"""Of the reference's largest value."""
Way = Callable[[Floats], object]


def middle(path: Path) -> Floats:
    """The middle 3 s of a recording, ``(48000,)``."""
    x, n = audio.read(path), round(CLIP_S * RATE)
    first = max(0, (x.size - n) // 2)
    return np.pad(x[first : first + n], (0, max(0, n - x.size)))


def in_turns(ways: dict[str, Way], clips: list[Floats], repeats: int) -> dict[str, tuple[float, float]]:
    """Way -> milliseconds a clip, ``(wall, CPU)``: the least of the repeats, averaged over the clips."""
    least = {name: np.full((len(clips), 2), np.inf) for name in ways}
    for way in ways.values():  # the first time compiles and plans
        way(clips[0])
    for _ in range(repeats):
        for i, clip in enumerate(clips):
            for name, way in ways.items():
                wall_s, cpu_s = time.perf_counter(), time.process_time()
                way(clip)
                took_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
                least[name][i] = np.minimum(least[name][i], took_s)
    means_ms = {name: 1000 * took.mean(axis=0) for name, took in least.items()}
    return {name: (float(wall_ms), float(cpu_ms)) for name, (wall_ms, cpu_ms) in means_ms.items()}


# ------------------------------------------------------------------------------------ families


@dataclass(frozen=True)
class Families:
    """Seven families under one setting, next to librosa's; times in milliseconds a clip."""

    window: int
    hop: int
    tuning: float | None
    ours_ms: tuple[float, float]
    librosa_ms: tuple[float, float]
    largest_error: float
    """Largest difference as a share of the reference's largest value, over families and clips."""
    n_ties: int
    """Clips whose estimated tuning is another than librosa's, which then was given the same power."""

    @property
    def times(self) -> tuple[float, float]:
        """How many times faster, by wall and by CPU time."""
        return self.librosa_ms[0] / self.ours_ms[0], self.librosa_ms[1] / self.ours_ms[1]

    @property
    def name(self) -> str:
        """As the table calls it."""
        return f"{self.window}/{self.hop}, tuning {'estimated' if self.tuning is None else 'fixed'}"


def families(clips: list[Floats], window: int, hop: int, tuning: float | None, repeats: int) -> Families:
    """Compare, then time.

    Raises:
        RuntimeError: a family differs from librosa's by more than `WITHIN`.
    """
    theirs = librosa_features(RATE, window, hop, tuning)

    def mine(x: Floats) -> dict[str, Floats]:
        return _ours(x, window, hop, tuning)

    compared = [_compared(x, mine(x), theirs, window, hop, tuning) for x in clips]
    ways: dict[str, Way] = {
        "emovox": mine,
        "librosa": lambda x: [way(x) for way in theirs.values()],
    }
    took = in_turns(ways, clips, repeats)
    return Families(
        window,
        hop,
        tuning,
        took["emovox"],
        took["librosa"],
        max(error for error, _ in compared),
        sum(tie for _, tie in compared),
    )


def _ours(x: Floats, window: int, hop: int, tuning: float | None) -> dict[str, Floats]:
    short = ShortTime(x, RATE, FrameSettings(window=window, hop=hop, n_fft=window))
    options: dict[str, dict[str, Any]] = {
        "mfcc": {"n_mfcc": 40, "n_mels": 128, "top_db": 80.0},
        "zcr": {},
        "rms": {},
        "chroma": {"tuning": tuning},
        "mel": {"n_mels": 128},
        "contrast": {"top_db": 80.0},
        "tonnetz": {"tuning": tuning},
    }
    return {name: FEATURES[name](x, RATE, shared=short, **given) for name, given in options.items()}


def _compared(
    x: Floats,
    got: dict[str, Floats],
    theirs: dict[str, Callable[[Floats], Any]],
    window: int,
    hop: int,
    tuning: float | None,
) -> tuple[float, bool]:
    """The largest error of a clip, and whether its tuning was a tie.

    The tuning of speech is the commonest of many about as common deviations, and the last bit of a float may
    decide which: where it fell otherwise, librosa is given our power, and has to come to the same.
    """
    expected = {name: way(x) for name, way in theirs.items()}
    error = {name: _error(values, expected[name]) for name, values in got.items()}
    tie = tuning is None and max(error["chroma"], error["tonnetz"]) > WITHIN
    if tie:
        power = ShortTime(x, RATE, FrameSettings(window=window, hop=hop, n_fft=window)).power
        chroma = librosa.feature.chroma_stft(S=power.T, sr=RATE)
        error["chroma"] = _error(got["chroma"], chroma)
        error["tonnetz"] = _error(got["tonnetz"], librosa.feature.tonnetz(chroma=chroma, sr=RATE))
    worst = max(error, key=lambda name: error[name])
    if not error[worst] <= WITHIN:
        raise RuntimeError(f"{worst} at {window}/{hop} differs from librosa's by {error[worst]:.2g}")
    return error[worst], tie


def _error(got: Floats, expected: NDArray[Any]) -> float:
    if got.shape != expected.T.shape:
        return float("inf")
    return float(np.abs(got - expected.T).max() / np.abs(expected).max())


# ------------------------------------------------------------------------------------ F0


@dataclass(frozen=True)
class F0:
    """F0 next to pyin; times in milliseconds a clip, shares in percent, by who: emovox, pyin."""

    ms: dict[str, tuple[float, float]]
    gross_synthetic: dict[str, dict[str, float]]
    """Condition of the synthetic voices -> who -> gross errors."""
    praat: dict[str, dict[str, float]]
    """Who -> gross, missed and added frames next to Praat."""

    @property
    def times(self) -> tuple[float, float]:
        """How many times faster, by wall and by CPU time."""
        mine, theirs = self.ms["emovox"], self.ms["pyin"]
        return theirs[0] / mine[0], theirs[1] / mine[1]

    @property
    def no_worse(self) -> bool:
        """No more gross errors than pyin, in any condition and next to Praat."""
        rows = [*self.gross_synthetic.values(), {who: row["gross"] for who, row in self.praat.items()}]
        return all(row["emovox"] <= row["pyin"] for row in rows)


def f0(clips: list[Floats], judged: list[Floats], repeats: int) -> F0:
    """Time on ``clips``; count gross errors on synthetic voices, and next to Praat on ``judged``."""
    ways = {"emovox": ours, "pyin": pyin}
    synthetic = {
        name: {who: errors(find, **how)[0] for who, find in ways.items()} for name, how in CONDITIONS.items()
    }
    praat = {who: against_praat(find, judged) for who, find in ways.items()}
    return F0(in_turns(dict(ways), clips, repeats), synthetic, praat)


def against_praat(find: Callable[[Floats], NDArray[np.floating]], clips: list[Floats]) -> dict[str, float]:
    """Next to Praat, in percent: ``gross``, off by over a fifth where both give an F0; ``missed`` of the
    frames that Praat gives one, and ``added`` of those that it does not.
    """
    mine = np.concatenate([find(x) for x in clips])
    praat = np.concatenate([_praat(x) for x in clips])
    both = ~np.isnan(mine) & ~np.isnan(praat)
    off = np.abs(mine[both] / praat[both] - 1) > 0.2
    return {
        "gross": 100 * float(off.mean()),
        "missed": 100 * float(np.isnan(mine[~np.isnan(praat)]).mean()),
        "added": 100 * float((~np.isnan(mine[np.isnan(praat)])).mean()),
    }


def _praat(x: Floats) -> NDArray[np.floating]:
    """Praat's F0 at our frames, nan where unvoiced, ``(t,)``: its defaults, but 60 to 500 Hz every 10 ms."""
    import parselmouth

    step_s = HOP / RATE
    found = parselmouth.Sound(x.astype(np.float64), RATE).to_pitch_ac(step_s, 60.0, pitch_ceiling=500.0)
    hz = found.selected_array["frequency"]
    at = np.rint((np.arange(1 + x.size // HOP) * step_s - found.x1) / found.dx).astype(int)
    inside = (at >= 0) & (at < hz.size)
    there = np.where(inside, hz[np.clip(at, 0, hz.size - 1)], 0.0)
    return np.where(there > 0, there, np.nan)
