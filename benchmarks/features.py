"""Features on real speech next to librosa and pyin: time on one thread, two workers, memory on an hour.

    EMOVOX_CORPORA=... python benchmarks/features.py [--clips 24] [--repeats 7] [--only families f0 ...]

- *families*: MFCC (40), ZCR, RMS, chroma, mel, contrast and tonnetz of the middle 3 s of RAVDESS clips next
  to librosa's own functions, under the same frames and with the same ``top_db``: librosa's defaults
  (2048/512) and 25 ms every 10 ms (400/160), the tuning estimated, as librosa does unless told, or fixed.
  Outputs are checked equal before anything is timed.
- *f0*: next to ``librosa.pyin``, both every 10 ms from 60 to 500 Hz: time, gross errors (off by over a fifth)
  on the synthetic voices of `pitch.py`, and next to Praat on RAVDESS. Praat's method is ours too (Boersma,
  1993), so the synthetic voices, whose pitch is known, are the stricter judge.
- *workers*: all of RAVDESS through ``seed-full``, whole processes, without a store.
- *memory*: frames of ten minutes and of an hour of RAVDESS in one wav, by blocks, on one core.

Wants the extras that bring librosa and praat-parselmouth. One column of a ratio is of wall time, the other of
CPU time: on a busy machine the latter says more of one thread, and neither much of two workers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

os.environ.update(
    OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1"
)  # before numpy is loaded

from measure import Run, child, finish, one_core, table

__all__ = ["main"]

PARTS = ("families", "f0", "workers", "memory")
FRAMES = ((2048, 512), (400, 160))
FASTER, FASTER_F0, TIMES_2_WORKERS, SLACK_MIB = 5.0, 10.0, 1.6, 10.0
MINUTES = (10, 60)


def main() -> int:
    """Measure, print, and return 0 when the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--corpus", type=Path, default=Path(os.environ.get("EMOVOX_CORPORA", ".")) / "ravdess"
    )
    parser.add_argument("--clips", type=int, default=24, help="timed, spread over the corpus")
    parser.add_argument("--judged", type=int, default=96, help="clips whose F0 is set next to Praat's")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--work", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    paths = sorted(p for p in options.corpus.rglob("*") if p.suffix in {".flac", ".wav"})
    if not paths:
        parser.error(f"no flac or wav below {options.corpus}; say where RAVDESS is with --corpus")
    needed = {"families": ("librosa",), "f0": ("librosa", "parselmouth")}
    missing = sorted({name for part in options.only for name in needed.get(part, ()) if not find_spec(name)})
    if missing:
        parser.error(
            f"{', '.join(missing)} is not installed:  pip install librosa praat-parselmouth; or leave out "
            "the parts that need it, as in --only workers memory"
        )
    if options.work:
        _work(paths, *options.work)
        return 0
    figures: dict[str, Any] = {}
    targets: dict[str, bool] = {}
    # Children first: they have to be larger than this process, which librosa will make large.
    for part in (part for part in ("memory", "workers", "families", "f0") if part in options.only):
        figures[part], met = _PARTS[part](paths, options)
        targets |= met
        print()
    return finish("features", figures, targets)


# ------------------------------------------------------------------------------------ in child processes


def _self(options: argparse.Namespace, *work: object) -> Run:
    corpus = ["--corpus", str(options.corpus)]
    return child([sys.executable, __file__, *corpus, "--work", *map(str, work)])


def _memory(paths: list[Path], options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, bool]]:
    runs = {}
    with tempfile.TemporaryDirectory() as folder, one_core():
        for minutes in MINUTES:
            wav = Path(folder) / f"{minutes}.wav"
            _self(options, "make", wav, minutes)
            runs[minutes] = _self(options, "frames", wav)
            wav.unlink()
    table(
        ["frames by blocks, one core", "wall s", "peak MiB", "times real time"],
        [(f"{m} min", run.wall_s, run.peak_mib, 60 * m / run.wall_s) for m, run in runs.items()],
    )
    more_mib = runs[MINUTES[1]].peak_mib - runs[MINUTES[0]].peak_mib
    figures = {f"{m}min_peak_mib": round(run.peak_mib, 1) for m, run in runs.items()}
    figures["times_real_time"] = round(60 * MINUTES[1] / runs[MINUTES[1]].wall_s, 1)
    return figures, {f"an hour needs at most {SLACK_MIB:g} MiB more than ten minutes": more_mib <= SLACK_MIB}


def _workers(paths: list[Path], options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, bool]]:
    runs: dict[int, list[Run]] = {1: [], 2: []}
    for _ in range(2):
        for workers, some in runs.items():
            some.append(_self(options, "extract", workers))
    best = {workers: min(some, key=lambda run: run.wall_s) for workers, some in runs.items()}
    table(
        [f"seed-full of {len(paths)} clips", "wall s", "CPU s", "clips/s"],
        [(f"{n} worker{'s'[: n - 1]}", r.wall_s, r.cpu_s, len(paths) / r.wall_s) for n, r in best.items()],
    )
    times = best[1].wall_s / best[2].wall_s
    print(f"two workers are {times:.2f} times one; least of 2")
    figures = {f"{n}_wall_s": round(run.wall_s, 2) for n, run in best.items()} | {"times": round(times, 2)}
    return figures, {f"two workers {TIMES_2_WORKERS:g} times one": times >= TIMES_2_WORKERS}


def _work(paths: list[Path], kind: str, *given: str) -> None:
    """What a child does."""
    if kind == "make":
        _make(paths, Path(given[0]), 60 * float(given[1]))
    elif kind == "frames":
        _frames(given[0])
    else:
        _extract(paths, int(given[0]))


def _make(paths: list[Path], wav: Path, seconds: float) -> None:
    """Recordings one after the other, over and over."""
    import soundfile

    from emovox import audio

    left = round(seconds * audio.SAMPLE_RATE)
    with soundfile.SoundFile(wav, "w", audio.SAMPLE_RATE, 1) as file:
        for path in cycle(paths):
            x = audio.read(path)[:left]
            file.write(x)
            left -= x.size
            if not left:
                return


def _frames(wav: str) -> None:
    """All the families that the seeds use, F0 too, of one long recording; nothing is kept of them."""
    from emovox.features.extraction import Clip, iter_frames
    from emovox.features.feature_set import FeaturePart, compose_set

    names = ("mfcc", "zcr", "rms", "chroma", "mel", "contrast", "tonnetz", "ssc", "f0")
    made = compose_set(
        "all", [FeaturePart(family=name) for name in names], description="benchmark", source=""
    )
    pieces: Iterator[Any] = iter_frames(Clip(wav, wav), made)
    if not sum(map(len, pieces)):
        raise RuntimeError(f"no frames of {wav}")


def _extract(paths: list[Path], workers: int) -> None:
    from emovox.features.extraction import extract

    failed = extract(paths, "seed-full", workers=workers).errors
    if failed:
        raise RuntimeError(f"{len(failed)} clips failed: {next(iter(failed.values()))}")


# ------------------------------------------------------------------------------------ next to librosa


def _families(paths: list[Path], options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, bool]]:
    from families import families, middle

    clips = [middle(path) for path in _spread(paths, options.clips)]
    with one_core():
        done = [
            families(clips, *frames, tuning, options.repeats) for frames in FRAMES for tuning in (None, 0.0)
        ]
    table(
        ["7 families of 3 s, ms", "emovox", "librosa", "times", "times by CPU", "largest error", "ties"],
        [
            (one.name, one.ours_ms[0], one.librosa_ms[0], *one.times, f"{one.largest_error:.0e}", one.n_ties)
            for one in done
        ],
    )
    print(
        f"{len(clips)} clips, least of {options.repeats}; ties: clips whose tuning a float's last bit decides"
    )
    figures = {
        one.name: {
            "ms": [round(ms, 3) for ms in (one.ours_ms[0], one.librosa_ms[0])],
            "times": round(one.times[0], 2),
            "times_cpu": round(one.times[1], 2),
            "largest_error": float(f"{one.largest_error:.2g}"),
        }
        for one in done
    }
    return figures, {
        f"{one.name}: {FASTER:g} times faster than librosa": one.times[0] >= FASTER for one in done
    }


def _f0(paths: list[Path], options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, bool]]:
    from families import f0, middle

    clips = [middle(path) for path in _spread(paths, options.clips)]
    with one_core():
        done = f0(clips, [middle(path) for path in _spread(paths, options.judged)], min(options.repeats, 3))
    who = ("emovox", "pyin")
    table(
        ["gross errors of F0, %", *who],
        [
            *((name, *(row[w] for w in who)) for name, row in done.gross_synthetic.items()),
            *(
                (f"RAVDESS, next to Praat: {kind}", *(done.praat[w][kind] for w in who))
                for kind in done.praat["pyin"]
            ),
        ],
    )
    table(["F0 of 3 s, ms", "wall", "CPU"], [(w, *done.ms[w]) for w in who])
    print(f"{done.times[0]:.1f} times faster than pyin, {done.times[1]:.1f} by CPU time")
    figures = {
        "times": round(done.times[0], 1),
        "times_cpu": round(done.times[1], 1),
        "gross_percent": done.gross_synthetic,
        "praat_percent": {w: {k: round(v, 3) for k, v in row.items()} for w, row in done.praat.items()},
    }
    return figures, {
        f"F0 {FASTER_F0:g} times faster than pyin": done.times[0] >= FASTER_F0,
        "no more gross errors than pyin, in any row": done.no_worse,
    }


def _spread(paths: list[Path], n: int) -> list[Path]:
    """``n`` of them at even distances: of RAVDESS, sorted, about as many of each actor."""
    return [paths[(2 * i + 1) * len(paths) // (2 * n)] for i in range(min(n, len(paths)))]


_PARTS = {"families": _families, "f0": _f0, "workers": _workers, "memory": _memory}

if __name__ == "__main__":
    sys.exit(main())
