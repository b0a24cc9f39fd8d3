"""What the benchmarks share: child processes with their time and peak memory, a table, one JSON line.

Standard library only, on purpose: Linux counts the memory of the process that starts a child into the child's
peak, so the process that measures has to be smaller than all that it measures.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "EXAMPLES",
    "Run",
    "child",
    "emovox",
    "finish",
    "machine",
    "make_clip",
    "median",
    "one_core",
    "table",
]

EXAMPLES = Path(__file__).parents[1] / "tests" / "synthetic"


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from its start to its end."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def child(argv: Sequence[str]) -> Run:
    """Run ``argv`` to its end. Raises ``RuntimeError`` with its words when it fails."""
    with tempfile.TemporaryFile() as said:
        start_s = time.perf_counter()
        process = subprocess.Popen(argv, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{argv} ended with {process.returncode}: {said.read().decode()[-2000:]}")
    own_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak_mib = usage.ru_maxrss / 1024
    if peak_mib <= own_mib:
        raise RuntimeError(f"the child's peak drowns in our own {own_mib:.0f} MiB")
    return Run(wall_s, usage.ru_utime + usage.ru_stime, peak_mib)


def median(runs: Iterable[Run]) -> Run:
    """The median of each figure."""
    runs = list(runs)
    return Run(*(statistics.median(getattr(run, name) for run in runs) for name in Run.__slots__))


def emovox(*argv: str) -> list[str]:
    """The command as users start it: the script beside this interpreter."""
    script = Path(sys.executable).with_name("emovox")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "emovox"]
    return [*start, *argv]


def make_clip(path: Path, seconds: float = 3.0) -> None:
    """Write the first ``seconds`` of an example as a 16 kHz wav, in a process of its own."""
    code = (
        "import soundfile as sf, sys; x, r = sf.read(sys.argv[1]); n = round(float(sys.argv[3]) * r); "
        "assert len(x) >= n; sf.write(sys.argv[2], x[:n], r)"
    )
    argv = [sys.executable, "-c", code, str(EXAMPLES / "neutral.flac"), str(path), str(seconds)]
    subprocess.run(argv, check=True)


@contextmanager
def one_core() -> Iterator[int]:
    """Keep this process and its children on one core."""
    before = os.sched_getaffinity(0)
    core = max(before)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their heads, numbers to the right."""
    cells = [list(heads), *([f"{x:.2f}" if isinstance(x, float) else str(x) for x in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    for row in cells:
        first, *rest = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *rest]))


def machine() -> dict[str, Any]:
    """Where a figure was measured, and how busy it was there."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def finish(name: str, figures: Mapping[str, Any], targets: Mapping[str, bool]) -> int:
    """Print targets and the JSON line; the exit code is 1 when a target was missed."""
    for target, met in targets.items():
        print(f"{'met   ' if met else 'MISSED'}  {target}")
    print(json.dumps({"benchmark": name, **figures, "targets": dict(targets), "machine": machine()}))
    return 0 if all(targets.values()) else 1
