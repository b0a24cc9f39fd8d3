"""What the voice activity detector loses, and what it takes for speech.

    EMOVOX_CORPORA=FOLDER python benchmarks/vad.py [--clips N]

Three tables for people, then one JSON line, of the flags of a timeline: the detector's ("before windows"),
without those that its windows drop. Two figures of loss, in percent:

- *missed*: clips in which less than 0.3 s of speech is found;
- *lost*: energetic frames (within 25 dB of the clip's loudest, before anything was done to it) not flagged.

Whispering is simulated: linear prediction of order 18, the residual replaced by noise of the same power, so
the formants stay and the voice goes. RAVDESS's strong sad clips are near to crying, its strong happy ones to
laughing. Nothing is learnt here and no test figure of a model is touched: all clips are open.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emovox import audio
from emovox.audio.vad import FRAME_S, Vad
from emovox.datasets import scan
from emovox.inference.windows import Windower

RATE = audio.SAMPLE_RATE
FRAME = round(FRAME_S * RATE)
SEED = 7
CORPORA = ("ravdess", "ravdess_song", "tess", "emodb", "nemo", "banglaser")

DETECTORS: dict[str, dict[str, Any]] = {
    "shipped": {},
    "before windows": {"confirm": False},
    "WebRTC 0": {"mode": 0, "gain_db": 0.0, "margin_db": 0.0},
    "WebRTC 1": {"mode": 1, "gain_db": 0.0, "margin_db": 0.0},
    "WebRTC 2": {"mode": 2, "gain_db": 0.0, "margin_db": 0.0},
    "WebRTC 3": {"mode": 3, "gain_db": 0.0, "margin_db": 0.0},
    "no gain": {"gain_db": 0.0},
    "gain 30 dB": {"gain_db": 30.0},
    "no gate": {"margin_db": 0.0},
    "gate 6 dB": {"margin_db": 6.0},
    "hang 0.15 s": {"hang_s": 0.15},
    "hang 0.5 s": {"hang_s": 0.5},
}


def flags(x: np.ndarray, *, confirm: bool = True, **options: Any) -> np.ndarray:
    """``(n,)`` samples -> one flag for each whole frame, as the windows of a timeline confirm it."""
    x = np.asarray(x, np.float32)
    windower = Windower(window=3 * RATE, hop=RATE, confirm=confirm)
    windows = windower.push(x, Vad(**options).push(x)) + windower.flush(np.zeros(0, bool))
    return np.concatenate([window.flags for window in windows])


def energetic(x: np.ndarray) -> np.ndarray:
    """Whole frames within 25 dB of the loudest."""
    frames = x[: len(x) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return power > power.max() * 10**-2.5


def turned_down(x: np.ndarray, gain_db: float) -> np.ndarray:
    """Quieter, and rounded to 16 bits as a recording would be."""
    return (np.rint(x * 10 ** (gain_db / 20) * 32768) / 32768).astype(np.float32)


def whispered(x: np.ndarray, rng: np.random.Generator, *, order: int = 18, size: int = 512) -> np.ndarray:
    """Formants kept, voice replaced by breath."""
    window = np.hanning(size + 1)[:-1]
    padded = np.concatenate([x, np.zeros(size)])
    out = np.zeros(len(padded))
    lags = np.abs(np.subtract.outer(np.arange(order), np.arange(order)))
    for start in range(0, len(x), size // 2):
        frame = padded[start : start + size] * window
        r = np.correlate(frame, frame, "full")[size - 1 : size + order]
        if r[0] < 1e-9:
            continue
        r[0] *= 1.0001  # a little white noise keeps the equations solvable
        a = np.linalg.solve(r[lags], r[1:])
        noise = rng.standard_normal(size) * window
        noise *= np.sqrt(max(r[0] - a @ r[1:], 0.0) / (noise @ noise))
        filtered = np.fft.rfft(noise, 2 * size) / np.fft.rfft(np.concatenate([[1.0], -a]), 2 * size)
        out[start : start + size] += np.fft.irfft(filtered)[:size]
    return np.clip(out[: len(x)], -1, 1).astype(np.float32)


def noises(seconds: float) -> dict[str, np.ndarray]:
    """Steady noise of root mean square 1."""
    rng = np.random.default_rng(SEED)
    n = round(seconds * RATE)
    white = rng.standard_normal(n)
    spectrum, f = np.fft.rfft(rng.standard_normal(n)), np.fft.rfftfreq(n, 1 / RATE)
    pink = np.fft.irfft(np.where(f > 50, spectrum / np.sqrt(np.maximum(f, 1.0)), 0.0), n)
    t = np.arange(n) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in range(1, 8)) + 0.05 * white
    return {name: x / np.sqrt(np.mean(x**2)) for name, x in (("white", white), ("pink", pink), ("hum", hum))}


def sample(root: Path, n_clips: int) -> list[tuple[tuple[str, str, str], np.ndarray]]:
    """``((corpus, emotion, intensity), samples)``: up to ``n_clips`` of each such group."""
    rng = np.random.default_rng(SEED)
    clips = []
    for corpus in CORPORA:
        manifest, _ = scan(corpus, root)
        groups = defaultdict(list)
        for row in manifest:
            groups[row.corpus, row.emotion, row.intensity or ""].append(row)
        for key, rows in sorted(groups.items()):
            for i in rng.permutation(len(rows))[:n_clips]:
                clips.append((key, audio.read(manifest.file(rows[i]))))
    return clips


class Tally:
    """Clips and frames, found and not."""

    def __init__(self) -> None:
        self.clips = self.missed = self.frames = self.lost = 0

    def add(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """One clip: flags, and which frames are energetic."""
        self.clips += 1
        self.missed += int(found.sum() * FRAME_S < 0.3)
        self.frames += int(wanted.sum())
        self.lost += int((wanted & ~found).sum())

    def percent(self) -> tuple[float, float]:
        """``(missed, lost)``."""
        return 100 * self.missed / max(self.clips, 1), 100 * self.lost / max(self.frames, 1)


Condition = Callable[[np.ndarray, np.ndarray], np.ndarray]


def conditions() -> dict[str, Condition]:
    """Name -> function of a clip and its whisper; the sound the detector hears."""
    pink = noises(20)["pink"]

    def noisy(x: np.ndarray, _: np.ndarray) -> np.ndarray:
        speech = np.sqrt(np.mean(x[np.abs(x) > np.abs(x).max() / 20] ** 2))
        return x + np.resize(pink, len(x)) * speech * 10 ** (-5 / 20)

    return {
        "as is": lambda x, w: x,
        "whisper": lambda x, w: w,
        "-20 dB": lambda x, w: turned_down(x, -20),
        "-40 dB": lambda x, w: turned_down(x, -40),
        "whisper -20": lambda x, w: turned_down(w, -20),
        "pink 5 dB": noisy,
    }


CONDITIONS = conditions()


def lost_in(clips: list[Any], name: str, **options: Any) -> dict[tuple[str, str, str], Tally]:
    """Group -> what is lost under the condition ``name``. Whispers have their own energetic frames."""
    condition, is_whisper = CONDITIONS[name], name.startswith("whisper")
    tallies: dict[tuple[str, str, str], Tally] = defaultdict(Tally)
    for key, x, whisper in clips:
        heard = condition(x, whisper)
        tallies[key].add(flags(heard, **options), energetic(whisper if is_whisper else x))
    return tallies


def total(tallies: dict[tuple[str, str, str], Tally]) -> Tally:
    """All groups as one."""
    whole = Tally()
    for t in tallies.values():
        whole.clips += t.clips
        whole.missed += t.missed
        whole.frames += t.frames
        whole.lost += t.lost
    return whole


def alarms(levels_db: tuple[int, ...] = (-20, -40, -60), **options: Any) -> dict[str, tuple[float, float]]:
    """``noise level`` -> percent of frames flagged in the first 3 s, and after them."""
    found = {}
    for name, x in noises(30).items():
        for level in levels_db:
            f = flags(turned_down(np.clip(x * 10 ** (level / 20), -1, 1), 0), **options)
            found[f"{name} {level}"] = (100 * f[:100].mean(), 100 * f[100:].mean())
    return found


def _cell(figures: tuple[float, float]) -> str:
    return f"{figures[0]:4.1f} /{figures[1]:5.2f}"


def _table(title: str, columns: list[str], rows: dict[str, list[str]]) -> None:
    print(f"\n{title}\n")
    widths = [max(13, len(c) + 2) for c in columns]
    print(" " * 26 + "".join(f"{c:>{w}}" for c, w in zip(columns, widths, strict=True)))
    for name, cells in rows.items():
        print(f"{name:<26}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=15, help="clips of each corpus, emotion and intensity")
    args = parser.parse_args()
    if not os.environ.get("EMOVOX_CORPORA"):
        parser.error("set EMOVOX_CORPORA to the folder that holds the corpora")
    rng = np.random.default_rng(SEED)
    drawn = sample(Path(os.environ["EMOVOX_CORPORA"]), args.clips)
    clips = [(key, x, whispered(x, rng)) for key, x in drawn]
    seconds = sum(len(x) for _, x, _ in clips) / RATE
    heard = list(CONDITIONS)
    print(f"{len(clips)} clips, {seconds:.0f} s; cells: % of clips missed / % of energetic frames lost")

    few = clips[::4]
    choice = {n: [total(lost_in(few, c, **o)).percent() for c in heard] for n, o in DETECTORS.items()}
    _table(
        f"Settings, {len(few)} clips", heard, {n: [_cell(c) for c in cells] for n, cells in choice.items()}
    )

    noise = {name: alarms(**options) for name, options in DETECTORS.items()}
    _table(
        "False alarms on 30 s of noise at dBFS: % of frames flagged in the first 3 s / after",
        list(noise["shipped"]),
        {n: [f"{a:.0f} / {b:.0f}" for a, b in cells.values()] for n, cells in noise.items()},
    )

    start = time.process_time()
    plain = lost_in(clips, "as is")
    speed = seconds / (time.process_time() - start)
    tallies = {"as is": plain} | {n: lost_in(clips, n) for n in heard[1:]}
    rows = {" ".join(key): [_cell(t[key].percent()) for t in tallies.values()] for key in plain}
    rows["all"] = [_cell(total(t).percent()) for t in tallies.values()]
    _table(f"The shipped setting by corpus, emotion and intensity ({speed:.0f} times real time)", heard, rows)

    def rounded(figures: tuple[float, float]) -> list[float]:
        return [round(v, 3) for v in figures]

    result = {
        "benchmark": "vad",
        "n_clips": len(clips),
        "times_real_time": round(speed),
        "missed_lost_percent": {n: rounded(total(t).percent()) for n, t in tallies.items()},
        "settings": {n: dict(zip(heard, map(rounded, cells), strict=True)) for n, cells in choice.items()},
        "alarm_percent": {n: rounded(v) for n, v in noise["shipped"].items()},
        "worst_group": max(
            ((" ".join(k), rounded(t.percent())) for k, t in plain.items()), key=lambda r: r[1][1]
        ),
    }
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
