"""An hour, and ten, through `emovox predict --timeline` on one core: peak memory and times real time.

    python benchmarks/long_recording.py [--hours 1 10] [--kind flac] [--model default]

The recording is made here, block by block: the example voices in random order and loudness, with random
pauses. It is synthetic speech, so only time and memory mean something. Ten hours of flac take about 600 MB.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from measure import EXAMPLES, Run, child, emovox, finish, one_core, table

__all__ = ["main", "make"]

MAX_MIB = 250.0
MIN_TIMES = {"default": 100.0, "fast": 500.0}
"""Times real time, by processor time: other work on the machine changes it less."""
SLACK_MIB = 8.0
"""Two runs of the same work differ by a few MiB."""


def main() -> int:
    """Measure, print, and return 0 when the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[1.0])
    parser.add_argument("--kind", choices=("flac", "wav", "ogg"), default="flac")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--folder", type=Path, help="where the recordings are made, for a while")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make, options.hours[0])
        return 0
    runs = {hours: _measure(hours, options) for hours in options.hours}
    times = {hours: 3600 * hours / run.cpu_s for hours, run in runs.items()}
    table(
        ["--timeline on one core", "wall s", "CPU s", "peak MiB", "times real time"],
        [
            (f"{hours:g} h {options.kind}", run.wall_s, run.cpu_s, run.peak_mib, times[hours])
            for hours, run in runs.items()
        ],
    )
    peaks = [run.peak_mib for run in runs.values()]
    targets = {
        f"under {MAX_MIB:g} MiB": max(peaks) < MAX_MIB,
    }
    if (least := MIN_TIMES.get(options.model)) is not None:
        targets[f"over {least:g} times real time"] = min(times.values()) > least
    if len(runs) > 1:
        targets["the longest needs no more memory than the shortest"] = (
            runs[max(runs)].peak_mib <= runs[min(runs)].peak_mib + SLACK_MIB
        )
    figures = {
        f"{hours:g}h": {
            "wall_s": round(run.wall_s, 2),
            "cpu_s": round(run.cpu_s, 2),
            "peak_mib": round(run.peak_mib, 1),
            "times_real_time": round(times[hours], 1),
        }
        for hours, run in runs.items()
    }
    return finish("long_recording", {"model": options.model, "kind": options.kind, **figures}, targets)


def _measure(hours: float, options: argparse.Namespace) -> Run:
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, rows = Path(folder) / f"long.{options.kind}", Path(folder) / "rows.jsonl"
        child([sys.executable, __file__, "--make", str(path), "--hours", str(hours)])
        with one_core():
            argv = ["predict", str(path), "--timeline", "-o", str(rows), "--model", options.model]
            run = child(emovox(*argv))
        if rows.read_bytes().count(b"\n") < 100 * hours:
            raise RuntimeError(f"{rows.read_bytes()[:200]!r} is no timeline of {hours:g} h")
    return run


def make(path: Path, hours: float) -> None:
    """Write ``hours`` of example voices with pauses, 16 kHz mono, a block at a time."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    voices = [soundfile.read(file, dtype="float32")[0] for file in sorted(EXAMPLES.glob("*.flac"))]
    left = round(hours * 3600 * 16_000)
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        while left > 0:
            pause = np.zeros(round(rng.uniform(0.2, 3) * 16_000), np.float32)
            voice = voices[rng.integers(len(voices))] * np.float32(10 ** (rng.uniform(-9, 3) / 20))
            block = np.clip(np.concatenate([voice, pause]), -1, 1)[:left]
            file.write(block)
            left -= len(block)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
