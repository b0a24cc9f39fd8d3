"""A server under load: does it hold, and how much more does it answer than the usual one?

    python benchmarks/serve.py [--model default] [--seconds 60] [--workers 2] [--clients 16] [--nice -5]

First the storm: sixteen clients in another process, of whom two hang up midway, two are slow and two
malicious (zip bombs named .wav, a gigabyte declared, paths for names, ...), for ``--seconds``. The server
must answer the ten others, refuse the rest with a reason, and hold no more memory at the end than in the
middle.

Then sixteen kind clients, for ``--seconds`` in three turns each: emovox, and servers as public projects
have them (`peers/flask_joblib_server.py`). The peer of `default` does the same kind of work: a net of the
size of wav2vec2-base in PyTorch. Those of `fast` compute 180 features by librosa, without and with pyin, for
a small perceptron on invented numbers. The same clips in the same order, clients and processes; all servers
are up all the time, and one is asked. Clips are example voices of 3, 10 and 60 s (6 : 3 : 1) as wav, flac,
mp3 and ogg. Ratios are those of the processor time of an answer, which other work on the machine changes less
than answers a second.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from measure import EXAMPLES, emovox, finish, table

__all__ = ["main"]

HERE = Path(__file__).parent
TURNS = 3
MAX_GROWTH = 0.05
"""Of resident memory from the third quarter of the storm to the last."""
PEERS: dict[str, dict[str, tuple[list[str], float]]] = {
    "default": {"Flask, torch, wav2vec2-base size": (["--net"], 10.0)},
    "fast": {"Flask, 180 features": ([], 2.0), "Flask, 180 features and pyin": (["--pyin"], 10.0)},
}
"""Model -> peers: how they are started, and how many times our processor time they should need."""
OURS = "emovox serve"
WARM_S = 300
"""Until every worker is; long, for a machine may be busy while librosa compiles."""


def main() -> int:
    """Measure, print, and return 0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", choices=tuple(PEERS), default="default")
    parser.add_argument("--seconds", type=float, default=60, help="of the storm, and of each server after it")
    parser.add_argument("--workers", type=int, default=2, help="processes of each server")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--nice", type=int, help="niceness of servers and clients; below 0 is for root")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # told to stop, it ends what it started
    if options.nice is not None:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
    with tempfile.TemporaryDirectory(prefix="emovox-load-") as folder, ExitStack() as stack:
        clips, model = Path(folder) / "clips", Path(folder) / "mlp.joblib"
        _make_clips(clips)
        peer = HERE / "peers"
        subprocess.run([sys.executable, peer / "librosa_joblib_predict.py", "train", model], check=True)
        each = ["--workers", str(options.workers)]
        threads = ["--threads", str(max(1, (os.cpu_count() or 1) // options.workers))]
        port, process = stack.enter_context(
            _server(lambda p: emovox("serve", "--model", options.model, "--port", p, *each, *threads))
        )
        storm = _storm(port, process, clips, options)
        servers = {OURS: (port, process)}
        for name, (more, _) in PEERS[options.model].items():
            argv = [sys.executable, str(peer / "flask_joblib_server.py"), str(model)]
            servers[name] = stack.enter_context(_server(lambda p, a=argv, m=more: [*a, p, *each, *m]))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
        for _ in range(TURNS):
            for name, (at, server) in servers.items():
                before_s = _cpu_s(server.pid)
                turn = _crowd(at, clips, options.seconds / TURNS, options.clients)
                runs[name].append({**turn, "server_cpu_s": _cpu_s(server.pid) - before_s})
    return _report(storm, {name: _together(turns) for name, turns in runs.items()}, options)


def _report(storm: dict[str, Any], runs: dict[str, dict[str, Any]], options: argparse.Namespace) -> int:
    rows = {"emovox serve, the storm": storm["crowd"], **runs}
    table(
        ["", "answers/s", "times real time", "p50 ms", "p95 ms", "max ms", "clients CPU %", "server CPU ms"],
        [(name, *_figures(run).values()) for name, run in rows.items()],
    )
    crowd, rss = storm["crowd"], storm["rss_mib"]
    print("mischief:", ", ".join(f"{n} {kind}" for kind, n in sorted(crowd["mischief"].items())))
    print(f"kind clients: {crowd['statuses']}; surprises: {crowd['surprises'] or 'none'}")
    print(f"MiB resident, quarters of the storm: {', '.join(f'{each:.1f}' for each in rss)}")
    cpu_ms = {name: _figures(run)["server_cpu_ms"] for name, run in runs.items()}
    ratios = {name: cpu_ms[name] / cpu_ms[OURS] for name in runs if name != OURS}
    more = {
        name: _figures(runs[OURS])["answers_per_s"] / _figures(runs[name])["answers_per_s"] for name in ratios
    }
    for name, ratio in ratios.items():
        print(
            f"{name}: {ratio:.1f} times the processor time of an answer; "
            f"emovox answers {more[name]:.1f} times as many"
        )
    targets = {
        "no crash, no fault, every mischief refused with a reason": not crowd["surprises"] and storm["lives"],
        "nothing left open": storm["descriptors_left"] <= 0,
        f"memory flat over the last half of the storm, within {MAX_GROWTH:.0%}": rss[3]
        <= rss[2] * (1 + MAX_GROWTH),
        "a clip has one answer": not any(run["clips_with_several_answers"] for run in rows.values()),
        **{
            f"{name}: {wanted:g} times our processor time": ratios[name] >= wanted
            for name, (_, wanted) in PEERS[options.model].items()
        },
    }
    figures = {name: {k: round(x, 2) for k, x in _figures(run).items()} for name, run in rows.items()}
    asked = {
        "model": options.model,
        "seconds": options.seconds,
        "workers": options.workers,
        "clients": options.clients,
    }
    found = {"mischief": crowd["mischief"], "statuses": crowd["statuses"], "rss_mib": rss}
    rounded = {
        "cpu_ratios": {name: round(x, 2) for name, x in ratios.items()},
        "answer_ratios": {name: round(x, 2) for name, x in more.items()},
    }
    return finish("serve", {**asked, **found, "servers": figures, **rounded}, targets)


def _figures(run: dict[str, Any]) -> dict[str, float]:
    late = run["latencies_ms"]
    return {
        "answers_per_s": run["answers"] / run["wall_s"],
        "real_time": run["audio_s"] / run["wall_s"],
        **{f"p{100 * share:g}_ms": late[min(len(late) - 1, int(share * len(late)))] for share in (0.5, 0.95)},
        "max_ms": late[-1],
        "clients_cpu": 100 * run["cpu_s"] / run["wall_s"],
        "server_cpu_ms": 1000 * run["server_cpu_s"] / run["answers"],
    }


def _together(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("answers", "audio_s", "wall_s", "cpu_s", "server_cpu_s")
    summed = {name: sum(turn[name] for turn in turns) for name in names}
    surprises = [each for turn in turns for each in turn["surprises"]]
    if surprises:
        raise RuntimeError(f"kind clients alone, and yet: {surprises[:5]}")
    return {
        **summed,
        "latencies_ms": sorted(each for turn in turns for each in turn["latencies_ms"]),
        "clips_with_several_answers": [c for turn in turns for c in turn["clips_with_several_answers"]],
    }


# ------------------------------------------------------------------------------------ the storm


def _storm(
    port: int, process: subprocess.Popen[bytes], clips: Path, options: argparse.Namespace
) -> dict[str, Any]:
    _crowd(port, clips, 5, options.clients)  # warm
    before, before_s = _descriptors(process.pid), _cpu_s(process.pid)
    crowd = _crowd_process(port, clips, options.seconds, options.clients, "--rough")
    family, samples = _family(process.pid), []
    while crowd.poll() is None:
        samples.append(sum(map(_rss_mib, family)))
        time.sleep(0.5)
    said = {**_said(crowd), "server_cpu_s": _cpu_s(process.pid) - before_s}
    end_s = time.monotonic() + 20  # what was hung up is let go, once it was judged
    while _descriptors(process.pid) > before and time.monotonic() < end_s:
        time.sleep(0.2)
    left = _descriptors(process.pid) - before  # counted before we ask how it is, by a connection of our own
    n = len(samples)
    quarters = [samples[n * i // 4 : n * (i + 1) // 4] for i in range(4)]
    return {
        "crowd": said,
        "rss_mib": [round(sum(each) / len(each), 1) for each in quarters],
        "lives": process.poll() is None and _family(process.pid) == family and _healthy(port),
        "descriptors_left": left,
    }


def _crowd(port: int, clips: Path, seconds: float, clients: int) -> dict[str, Any]:
    return _said(_crowd_process(port, clips, seconds, clients))


def _crowd_process(
    port: int, clips: Path, seconds: float, clients: int, *more: str
) -> subprocess.Popen[bytes]:
    argv = [sys.executable, str(HERE / "crowd.py"), str(port), str(clips)]
    asked = ["--seconds", str(seconds), "--clients", str(clients), *more]
    return subprocess.Popen([*argv, *asked], stdout=subprocess.PIPE)


def _said(crowd: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = crowd.communicate()
    if crowd.returncode:
        raise RuntimeError(f"the clients ended with {crowd.returncode}")
    return json.loads(out)


# ------------------------------------------------------------------------------------ sound, servers


def _make_clips(folder: Path) -> None:
    """Each length as wav, flac, mp3 and ogg at 16 kHz, ``3s.wav`` and so on; in another process."""
    code = """
import sys, numpy as np, soundfile
from pathlib import Path
voices = [soundfile.read(file, dtype="float32")[0] for file in sorted(Path(sys.argv[1]).glob("*.flac"))]
x = np.resize(np.concatenate(voices), 16_000 * 70)
for seconds in (3, 10, 60):
    for kind in ("wav", "flac", "mp3", "ogg"):
        y = x[16_000 * len(kind):][: 16_000 * seconds]
        soundfile.write(Path(sys.argv[2]) / f"{seconds}s.{kind}", y, 16_000)
"""
    folder.mkdir()
    subprocess.run([sys.executable, "-c", code, str(EXAMPLES), str(folder)], check=True)


@contextmanager
def _server(argv_at: Any) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port of a server that is warm, and its process; ended in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    process = subprocess.Popen(
        argv_at(str(port)), env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end_s = time.monotonic() + WARM_S
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"{argv_at('PORT')} does not answer")
            time.sleep(0.2)
        yield port, process
    finally:
        process.terminate()
        process.wait(40)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
            return answer.status == 200
    except OSError:
        return False


def _family(pid: int) -> set[int]:
    """A process and those that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid}.union(*(_family(int(child)) for child in children))


def _cpu_s(pid: int) -> float:
    """Processor time of a process and of those that it started."""
    fields = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in _family(pid)]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _descriptors(pid: int) -> int:
    return sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in _family(pid))


if __name__ == "__main__":
    sys.exit(main())
