"""Clips a second on one thread, 3 s clip: emovox, openSMILE eGeMAPSv02, a wav2vec2-base-sized net.

    python benchmarks/throughput.py [--seconds 20] [--model default]

emovox does all that `predict` does (levels, voice activity, net, calibration) on samples in memory;
openSMILE computes features only; the large net (random weights, PyTorch, 1 thread) computes logits only.
Wants torch (the extra `train`); openSMILE (the extra `opensmile`) is left out, with a notice, if missing.
All run on one core and take turns. Times are of the processor, so that a busy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

from emovox._arrays import Floats

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before torch is loaded

from measure import EXAMPLES, finish, one_core, table

import emovox
from emovox import audio

__all__ = ["main"]

CLIP_S = 3.0
FASTER = {"fast": (60.0, 10.0)}
"""Than the large net and than openSMILE; models on a large encoder have `FASTER_ENCODER`."""
FASTER_ENCODER = (20.0, 3.0)


def main() -> int:
    """Measure, print, and return 0 when the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of measuring, shared by all")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    options = parser.parse_args()
    clip = audio.read(EXAMPLES / "neutral.flac")[: round(CLIP_S * audio.SAMPLE_RATE)]
    ways = {"emovox predict": _ours(options.model), **_opensmile(), "wav2vec2-base size, torch": _large()}
    with one_core():
        clip_ms = _take_turns(ways, clip, options.seconds)
    rows = [(name, ms, 1000 / ms, 1000 * CLIP_S / ms) for name, ms in clip_ms.items()]
    table(["one thread, 3 s clip", "ms a clip", "clips/s", "times real time"], rows)
    times = {name: ms / clip_ms["emovox predict"] for name, ms in clip_ms.items()}
    large, opensmile = FASTER.get(options.model, FASTER_ENCODER)
    targets = {
        f"{least:g} times faster than {name}": times[name] >= least
        for name, least in (("wav2vec2-base size, torch", large), ("openSMILE eGeMAPSv02", opensmile))
        if name in times
    }
    print("emovox is " + ", ".join(f"{x:.1f} times {name}" for name, x in list(times.items())[1:]))
    return finish(
        "throughput",
        {
            "model": options.model,
            "clip_s": CLIP_S,
            "clip_ms": {name: round(ms, 3) for name, ms in clip_ms.items()},
            "times_faster": {name: round(x, 2) for name, x in list(times.items())[1:]},
        },
        targets,
    )


def _take_turns(
    ways: dict[str, Callable[[Floats], object]], clip: Floats, seconds: float
) -> dict[str, float]:
    """Way -> median ms of processor time a clip. In a round each way has about the same time."""
    took_s: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(clip)
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s or min(map(len, took_s.values())) < 5:
        for name, way in ways.items():
            round_s = time.perf_counter() + 0.5
            while True:
                start_s = time.process_time()
                way(clip)
                took_s[name].append(time.process_time() - start_s)
                if time.perf_counter() > round_s:
                    break
    return {name: 1000 * statistics.median(some) for name, some in took_s.items()}


def _ours(name: str) -> Callable[[Floats], object]:
    model = emovox.load(name, threads=1)
    return lambda clip: model.predict(clip, sample_rate=audio.SAMPLE_RATE)


def _opensmile() -> dict[str, Callable[[Floats], object]]:
    try:
        import opensmile
    except ImportError:
        print("openSMILE is not installed and left out:  pip install 'emovox[opensmile]'")
        return {}
    smile = opensmile.Smile(
        opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals, num_workers=1
    )
    return {"openSMILE eGeMAPSv02": lambda clip: smile.process_signal(clip, audio.SAMPLE_RATE)}


def _large() -> Callable[[Floats], object]:
    import torch
    from peers.wav2vec2_sized import Wav2Vec2Sized

    torch.set_num_threads(1)
    net = Wav2Vec2Sized().eval()

    def run(clip: Floats) -> object:
        with torch.inference_mode():
            return net(torch.from_numpy(clip)[None])

    return run


if __name__ == "__main__":
    sys.exit(main())
