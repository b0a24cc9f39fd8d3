"""Many recordings: workers and engines side by side, kill -9 at random times, a million absent files.

    EMOVOX_CORPORA=DIR python benchmarks/batch.py [--only engines,kills,rows] [--model default]

``engines``: ``--clips`` links to real clips below DIR, judged by each way from first to last: clips
a second, peak memory of the driver and of a worker, and whether all merged files are the same bytes.
``kills``: ``--kills`` runs of which a worker (``--killed ray``: an actor of Ray), or the driver, gets
kill -9 at a random time; the command is given again until it ends well, and its merged file must be that of
a run that nobody disturbed. ``rows``: ``--rows`` rows, a few of which are real clips; time, peak memory, and
whether every failure is a row.

Linux only: memory is read from /proc. Ways can be measured one at a time, on a machine that cannot be had for
long: results are kept in ``--folder``, and the table shows all that are there. Ray needs the extra
`distributed`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from measure import emovox, finish, table

__all__ = ["main"]

SUFFIXES = (".wav", ".flac", ".opus")
FASTER, OVERHEAD, MOST_MIB = 1.7, 0.25, 500.0
KILLED_CLIPS, KILLED_SHARD = 600, 20
REAL_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Ran:
    """One command, from its start to its end."""

    wall_s: float
    cpu_s: float
    """Processor time of it and of the processes it started and waited for; not of Ray's."""
    driver_mib: float
    """Peak resident memory of the command's own process."""
    worker_mib: float
    """The largest peak among the processes it started."""


VICTIMS = {"local": b"spawn_main", "ray": b"ray::_Worker"}
"""Engine -> what stands in the command line of its workers."""


def main() -> int:
    """Measure what is asked for, print, and return 0 when all targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("EMOVOX_CORPORA"), metavar="DIR")
    parser.add_argument("--only", default="engines,kills,rows")
    parser.add_argument("--ways", default="local-1,local-2,ray-2", help="ENGINE-WORKERS, with commas")
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--model", default="default", help="of all three parts")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--killed", choices=VICTIMS, default="local", help="the engine whose workers are killed"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    parser.add_argument("--folder", type=Path, help="where runs and results are kept; default: thrown away")
    options = parser.parse_args()
    for way in filter(None, options.ways.split(",")):
        engine, _, workers = way.partition("-")
        if engine not in VICTIMS or not workers.isdigit():
            parser.error(f"--ways: {way!r}; expected an engine and a number of workers, such as local-2")
    if options.corpora is None:
        parser.error("real clips are needed: set EMOVOX_CORPORA, or give --corpora")
    with _folder(options.folder) as folder:
        figures: dict[str, Any] = {}
        targets: dict[str, bool] = {}
        for part in options.only.split(","):
            found, met = {"engines": engines, "kills": kills, "rows": rows}[part](options, folder)
            figures[part] = found
            targets |= met
        return finish("batch", figures, targets)


class _folder:
    """The folder to work in; one that nobody named is removed."""

    def __init__(self, named: Path | None) -> None:
        self._named = named
        self._path = Path()

    def __enter__(self) -> Path:
        self._path = self._named or Path(tempfile.mkdtemp(prefix="emovox-batch-"))
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        if self._named is None:
            shutil.rmtree(self._path)


def linked(corpora: Path, folder: Path, n: int) -> Path:
    """A folder with ``n`` links to real clips, the same clips again when there are fewer."""
    if folder.exists():
        return folder
    clips = sorted(path for path in corpora.absolute().rglob("*") if path.suffix in SUFFIXES)
    half = folder.with_name(f"{folder.name}.half")
    half.mkdir()
    for i, clip in enumerate(islice(cycle(clips), n)):
        (half / f"{i:06d}{clip.suffix}").symlink_to(clip)
    return half.rename(folder)


# --- engines side by side ---------------------------------------------------------------------------


def engines(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], dict[str, bool]]:
    """Each way from nothing to the merged file."""
    clips = linked(options.corpora, folder / f"clips-{options.clips}", options.clips)
    for way in filter(None, options.ways.split(",")):
        _measured(way, clips, folder, options)
    found = {
        path.stem.removeprefix("way-"): json.loads(path.read_text())
        for path in sorted(folder.glob("way-*.json"))
    }
    table(
        [f"{options.clips:,} clips", "s", "CPU s", "clips/s", "driver, MiB", "worker, MiB", "merged sha256"],
        [
            (
                way,
                one["wall_s"],
                one["cpu_s"],
                options.clips / one["wall_s"],
                one["driver_mib"],
                one["worker_mib"],
                one["sha256"][:12],
            )
            for way, one in found.items()
        ],
    )
    targets = {"merged files are the same bytes": len({one["sha256"] for one in found.values()}) == 1}
    times = {way: one["wall_s"] for way, one in found.items()}
    if {"local-1", "local-2"} <= times.keys():
        ratio = times["local-1"] / times["local-2"]
        alone = 2 * found["local-1"]["cpu_s"] / found["local-2"]["cpu_s"]
        print(
            f"2 local workers are {ratio:.2f} times as fast as 1; by their processor time, on two cores of "
            f"their own, {alone:.2f} times at most"
        )
        targets[f"2 workers at least {FASTER} times 1"] = ratio >= FASTER
    if {"local-2", "ray-2"} <= times.keys():
        over = times["ray-2"] / times["local-2"] - 1
        print(f"Ray takes {over:+.1%} of the time of local processes, 2 workers")
        targets[f"Ray's overhead under {OVERHEAD:.0%}"] = over < OVERHEAD
    return found, targets


def _measured(way: str, clips: Path, folder: Path, options: argparse.Namespace) -> None:
    engine, workers = way.split("-")
    out, merged = folder / f"out-{way}", folder / f"merged-{way}.jsonl"
    shutil.rmtree(out, ignore_errors=True)
    argv = ["batch", "predict", str(clips), "-o", str(out), "--engine", engine, "--workers", workers]
    argv += ["--model", options.model]
    ran = watched(emovox(*argv), codes=(0,))
    watched(emovox("batch", "merge", str(out), "-o", str(merged), "--force"), codes=(0,))
    lines = merged.read_bytes()
    assert lines.count(b"\n") == options.clips
    about = {**asdict(ran), "sha256": hashlib.sha256(lines).hexdigest()}
    (folder / f"way-{way}.json").write_text(json.dumps(about))


# --- kill -9 ----------------------------------------------------------------------------------------


def kills(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], dict[str, bool]]:
    """Runs that are killed at random times, each gone on with and compared to one that was not."""
    clips = linked(options.corpora, folder / f"clips-{KILLED_CLIPS}", KILLED_CLIPS)
    chance = random.Random(options.seed)
    command = partial(_command, clips, engine=options.killed, model=options.model)
    whole_s = watched(command(folder / "whole"), codes=(0,)).wall_s
    expected = _merged(folder / "whole")
    same, again = 0, 0
    for i in range(options.kills):
        out = folder / f"killed-{i}"
        victim = "worker" if i % 2 else "driver"
        when_s = chance.uniform(0.3, whole_s)
        n_runs = _killed_run(command(out), b"" if victim == "driver" else VICTIMS[options.killed], when_s)
        is_same = _merged(out) == expected
        same += is_same
        again += n_runs - 1
        fate = "the same" if is_same else "DIFFERENT"
        print(f"kill -9 of a {victim} after {when_s:.2f} s: {n_runs} runs, {fate}")
        shutil.rmtree(out)
    shutil.rmtree(folder / "whole")
    figures = {
        "killed": options.killed,
        "kills": options.kills,
        "same": same,
        "commands_given_again": again,
        "undisturbed_s": whole_s,
    }
    return figures, {
        f"{options.kills} killed runs: nothing lost, doubled or different": same == options.kills
    }


def _command(clips: Path, out: Path, *, engine: str, model: str) -> list[str]:
    shutil.rmtree(out, ignore_errors=True)
    more = ["--shard-size", str(KILLED_SHARD), "--format", "jsonl", "--model", model]
    return emovox("batch", "predict", str(clips), "-o", str(out), "--engine", engine, "--workers", "2", *more)


def _merged(out: Path) -> bytes:
    file = out.with_suffix(".jsonl")
    watched(emovox("batch", "merge", str(out), "-o", str(file), "--force"), codes=(0,))
    found = file.read_bytes()
    file.unlink()
    return found


def _killed_run(argv: Sequence[str], victim: bytes, after_s: float) -> int:
    """Start, kill somebody, and start again until it ends well; how often it was started.

    ``victim`` stands in the command line of the process to kill; nothing: the driver.
    """
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_s)
    start_s = time.monotonic()
    pids = [process.pid]
    while victim and process.poll() is None and time.monotonic() < start_s + 10:
        pids = [pid for pid in descendants(process.pid) if victim in _read(pid, "cmdline")]
        if pids:
            break
        time.sleep(0.02)
    for pid in pids[:1]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            print("  (it had ended before)")
    process.wait()
    n_runs = 1
    while process.returncode != 0:
        n_runs += 1
        assert n_runs < 5, "it does not end well"
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        process.communicate()
    return n_runs


# --- a million rows ---------------------------------------------------------------------------------


def rows(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], dict[str, bool]]:
    """A long plan, mostly of files that are not there."""
    clips = linked(options.corpora, folder / f"clips-{REAL_ROWS}", REAL_ROWS)
    plan, out, merged = folder / "plan.csv", folder / "rows", folder / "rows.jsonl"
    step = max(1, options.rows // REAL_ROWS)
    real = sorted(path.name for path in clips.iterdir())
    with plan.open("w") as stream:
        stream.write("path,note\n")
        for i in range(options.rows):
            is_real = i % step == 0 and i // step < len(real)
            stream.write(
                f"{clips.name}/{real[i // step]},there\n" if is_real else f"gone/{i % 997}/{i}.wav,\n"
            )
    shutil.rmtree(out, ignore_errors=True)
    argv = ["batch", "predict", str(plan), "-o", str(out), "--workers", "2", "--model", options.model]
    run = watched(emovox(*argv), codes=(1,))
    merge = watched(emovox("batch", "merge", str(out), "-o", str(merged), "--force"), codes=(0,))
    n_rows = n_failed = 0
    with merged.open("rb") as lines:
        for line in lines:
            n_rows += 1
            n_failed += b'"error": ' in line
    table(
        [f"{options.rows:,} rows", "s", "CPU s", "driver, MiB", "worker, MiB"],
        [("plan and walk", *asdict(run).values()), ("merge", *asdict(merge).values())],
    )
    print(f"{n_rows:,} rows, {n_failed:,} of them errors")
    most = max(run.driver_mib, run.worker_mib, merge.driver_mib)
    figures = {"run": asdict(run), "merge": asdict(merge), "rows": n_rows, "failed": n_failed}
    n_real = sum(i % step == 0 and i // step < len(real) for i in range(0, options.rows, step))
    return figures, {
        f"no process above {MOST_MIB:.0f} MiB": most < MOST_MIB,
        "every failure is a row": (n_rows, n_failed) == (options.rows, options.rows - n_real),
    }


# --- processes --------------------------------------------------------------------------------------


def watched(argv: Sequence[str], *, codes: Sequence[int]) -> Ran:
    """Run a command to its end, and ask often how much memory it and its children have had at most."""
    with tempfile.TemporaryFile() as said:
        start_s, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(argv, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        peaks: dict[int, float] = {}
        while process.poll() is None:
            for pid in (process.pid, *descendants(process.pid)):
                peaks[pid] = max(peaks.get(pid, 0.0), _peak_mib(pid))
            time.sleep(0.2)
        wall_s, after = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode not in codes:
            said.seek(0)
            raise RuntimeError(f"{argv} ended with {process.returncode}: {said.read().decode()[-2000:]}")
    driver = peaks.pop(process.pid, 0.0)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(wall_s, cpu_s, driver, max(peaks.values(), default=0.0))


def descendants(pid: int) -> Iterator[int]:
    """Processes that a process started, and those that they did."""
    for child in map(int, _read(pid, f"task/{pid}/children").split()):
        yield child
        yield from descendants(child)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended
        return b""


def _peak_mib(pid: int) -> float:
    for line in _read(pid, "status").splitlines():
        if line.startswith(b"VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    sys.exit(main())
