"""Fifty live voices on one server: how long after a hop ends is its window there?

    python benchmarks/live.py [--voices 50] [--seconds 30] [--chunk-ms 100] [--nice -5]

The clients live in this process, the server in another, between them loopback. Each client sends speech as
16 kHz pcm16 at the pace of a microphone: a chunk leaves when its last sample has been spoken. The delay of a
window is counted from the moment when the hop's last sample was spoken, so it holds the wait for the chunk,
the way there, the queue, the judgement and the way back.

``spread``: voices begin at any time, as people do. ``together``: all begin at once, so that all hops
coincide. Beside the delays stands what the machine itself adds: how late a process is that only sleeps and
computes for 5 ms and what CPU time one window takes there, both measured right before, and how busy others
kept the cores meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import EXAMPLES, finish, table

__all__ = ["main"]

MAX_P95_MS = 300.0
RATE = 16_000


@dataclass
class Run:
    """All voices of one run."""

    delays_ms: list[float] = field(default_factory=list)
    n_segments: int = 0
    n_wrong: int = 0
    """Voices whose windows are not those of the library, for the same sound."""
    n_lost: int = 0
    """Voices whose connection was closed before their end, as the server was too late to answer a ping."""
    server_cpu_s: float = 0.0
    clients_cpu_s: float = 0.0
    others_cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_mib: float = 0.0

    def quantile_ms(self, share: float) -> float:
        """The delay that ``share`` of the windows do not exceed; infinite where there is none."""
        if not self.delays_ms:
            return math.inf
        return sorted(self.delays_ms)[min(len(self.delays_ms) - 1, int(share * len(self.delays_ms)))]


def main() -> int:
    """Measure, print, and return 0 when the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--voices", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=30, help="of each voice")
    parser.add_argument("--chunk-ms", type=int, default=100)
    parser.add_argument("--nice", type=int, help="niceness of server and clients; below 0 is for root")
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    if options.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    sound, wanted, window_ms = _speech(options)
    own_ms = _lateness_ms()
    with _server(options) as (url, pid):
        runs = {
            name: asyncio.run(_run(url, pid, sound, wanted, spread_s, options))
            for name, spread_s in (("spread", 1.0), ("together", 0.0))
        }
    return _report(runs, own_ms, window_ms, options)


def _report(runs: dict[str, Run], own_ms: float, window_ms: float, options: argparse.Namespace) -> int:
    table(
        [
            f"{options.voices} voices, chunks of {options.chunk_ms} ms",
            "windows",
            "lost voices",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "max ms",
            "server CPU %",
            "clients CPU %",
            "others CPU %",
            "peak MiB",
        ],
        [
            (
                name,
                len(run.delays_ms),
                run.n_lost,
                *(run.quantile_ms(share) for share in (0.5, 0.95, 0.99, 1.0)),
                *(
                    100 * cpu_s / run.wall_s
                    for cpu_s in (run.server_cpu_s, run.clients_cpu_s, run.others_cpu_s)
                ),
                run.peak_mib,
            )
            for name, run in runs.items()
        ],
    )
    print(
        f"a process that only sleeps and computes for 5 ms was late by {own_ms:.1f} ms (p95); "
        f"one window alone took {window_ms:.1f} ms of CPU time"
    )
    carried = options.voices / max(run.server_cpu_s / run.wall_s for run in runs.values())
    print(f"a core carries {carried:.0f} voices by the server's processor time, queues aside")
    targets = {
        f"{name}: p95 within {MAX_P95_MS:g} ms": run.quantile_ms(0.95) <= MAX_P95_MS
        for name, run in runs.items()
    }
    wrong = sum(run.n_wrong for run in runs.values())
    targets["every window is the one that the library gives"] = not wrong
    targets["no voice is lost"] = not any(run.n_lost for run in runs.values())
    figures = {
        name: {
            "windows": len(run.delays_ms),
            "lost": run.n_lost,
            **{
                f"{key}_ms": round(run.quantile_ms(share), 1) if run.delays_ms else None
                for key, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            },
            "server_cpu": round(run.server_cpu_s / run.wall_s, 3),
            "others_cpu": round(run.others_cpu_s / run.wall_s, 3),
            "peak_mib": round(run.peak_mib, 1),
        }
        for name, run in runs.items()
    }
    asked = {
        "voices": options.voices,
        "seconds": options.seconds,
        "chunk_ms": options.chunk_ms,
        "model": options.model,
    }
    return finish(
        "live",
        {
            **asked,
            "machine_p95_ms": round(own_ms, 1),
            "window_cpu_ms": round(window_ms, 1),
            "voices_a_core": round(carried),
            **figures,
        },
        targets,
    )


# ------------------------------------------------------------------------------------ sound


def _speech(options: argparse.Namespace) -> tuple[bytes, list[dict[str, Any]], float]:
    """Example voices as pcm16, the windows that the library gives, and the milliseconds of CPU of each."""
    import numpy as np
    import soundfile

    import emovox

    voices = [soundfile.read(file, dtype="int16")[0] for file in sorted(EXAMPLES.glob("*.flac"))]
    x = np.resize(np.concatenate(voices), options.seconds * RATE)
    stream = emovox.load(options.model).stream(sample_rate=RATE)
    start_s = time.process_time()
    windows = [each.to_dict() for each in stream.push(x) if isinstance(each, emovox.Window)]
    return x.tobytes(), windows, 1000 * (time.process_time() - start_s) / len(windows)


# ------------------------------------------------------------------------------------ voices


async def _run(
    url: str,
    pid: int,
    sound: bytes,
    wanted: list[dict[str, Any]],
    spread_s: float,
    options: argparse.Namespace,
) -> Run:
    from websockets.exceptions import ConnectionClosed

    run, dice = Run(), random.Random(0)
    begin_s = time.perf_counter() + 2.0
    starts_s = [begin_s + dice.uniform(0, spread_s) for _ in range(options.voices)]
    before = _cpu_s(pid), time.process_time(), _busy_s(), time.perf_counter()

    async def speak(start_s: float) -> None:
        try:
            await _voice(url, sound, wanted, start_s, run, options.chunk_ms / 1000)
        except* (ConnectionClosed, TimeoutError):
            run.n_lost += 1

    await asyncio.gather(*map(speak, starts_s))
    after = _cpu_s(pid), time.process_time(), _busy_s(), time.perf_counter()
    run.server_cpu_s, run.clients_cpu_s, busy_s, run.wall_s = (
        b - a for a, b in zip(before, after, strict=True)
    )
    run.others_cpu_s = max(0.0, busy_s - run.server_cpu_s - run.clients_cpu_s)
    run.peak_mib = _peak_mib(pid)
    return run


async def _voice(
    url: str, sound: bytes, wanted: list[dict[str, Any]], start_s: float, run: Run, chunk_s: float
) -> None:
    """Speak from ``start_s`` on, and note when each window is there."""
    from websockets.asyncio.client import connect

    async with connect(url, compression=None) as socket, asyncio.TaskGroup() as group:
        await socket.send(json.dumps({"type": "start", "rate": RATE, "encoding": "pcm16"}))
        await socket.recv()

        async def speak() -> None:
            size = 2 * round(chunk_s * RATE)
            for at in range(0, len(sound), size):
                chunk = sound[at : at + size]
                spoken_s = start_s + (at + len(chunk)) / (2 * RATE)
                await asyncio.sleep(max(0.0, spoken_s - time.perf_counter()))
                await socket.send(chunk)
            await socket.send('{"type": "flush"}')

        speaking = group.create_task(speak())
        windows: list[dict[str, Any]] = []
        while (answer := json.loads(await socket.recv()))["type"] != "flushed":
            there_s = time.perf_counter()
            if answer.pop("type") == "window":
                run.delays_ms.append(1000 * (there_s - start_s - answer["end_s"]))
                windows.append(answer)
            else:
                run.n_segments += 1
        await speaking
        run.n_wrong += windows != wanted


# ------------------------------------------------------------------------------------ server, machine


@contextmanager
def _server(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """The address of a server's live sound, and the server's process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "emovox", "serve", "--port", str(port), "--model", options.model]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield f"ws://127.0.0.1:{port}/v1/stream", process.pid
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")


def _lateness_ms() -> float:
    """How late (p95) a process is that sleeps for 20 ms and computes for 5, over 3 s."""
    late_ms = []
    for _ in range(120):
        due_s = time.perf_counter() + 0.02
        time.sleep(0.02)
        cpu_s = time.thread_time() + 0.005
        while time.thread_time() < cpu_s:
            pass
        late_ms.append(1000 * (time.perf_counter() - due_s - 0.005))
    return sorted(late_ms)[int(0.95 * len(late_ms))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _busy_s() -> float:
    """CPU time that all processes have had, on all cores."""
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
