"""From the shell to the answer: the whole process on a 3 s clip, against a librosa + joblib script.

    python benchmarks/cold_start.py [--runs 9] [--model default]

Wants librosa and scikit-learn (the extra `train`). They take turns, so that a busy machine disturbs both.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measure import Run, child, emovox, finish, make_clip, median, table

__all__ = ["main"]

PEER = Path(__file__).parent / "peers" / "librosa_joblib_predict.py"
MOST = {"default": (0.6, 180.0), "fast": (0.55, 95.0)}
"""Model -> seconds of processor time and MiB that its process may need."""


def main() -> int:
    """Measure, print, and return 0 when the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, help="of each; the median counts")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip, model = Path(folder) / "clip.wav", Path(folder) / "model.joblib"
        make_clip(clip)
        child([sys.executable, str(PEER), "train", str(model)])
        ours, peer = _measure(
            emovox("predict", str(clip), "--format", "jsonl", "--model", options.model),
            [sys.executable, str(PEER), str(model), str(clip)],
            options.runs,
        )
    # By processor time: the waiting on a busy machine is not ours.
    faster, smaller = peer.cpu_s / ours.cpu_s, peer.peak_mib / ours.peak_mib
    most_s, most_mib = MOST.get(options.model, MOST["default"])
    rows = [("emovox predict", ours), ("librosa + joblib, 180 features", peer)]
    table(
        ["whole process, 3 s clip", "wall s", "CPU s", "peak MiB"],
        [(name, run.wall_s, run.cpu_s, run.peak_mib) for name, run in rows],
    )
    print(f"{faster:.1f} times less processor time, {smaller:.1f} times smaller; median of {options.runs}")
    return finish(
        "cold_start",
        {
            "model": options.model,
            "runs": options.runs,
            "emovox": {
                "wall_s": round(ours.wall_s, 3),
                "cpu_s": round(ours.cpu_s, 3),
                "peak_mib": round(ours.peak_mib, 1),
            },
            "peer": {
                "wall_s": round(peer.wall_s, 3),
                "cpu_s": round(peer.cpu_s, 3),
                "peak_mib": round(peer.peak_mib, 1),
            },
            "times_faster": round(faster, 2),
            "times_smaller": round(smaller, 2),
        },
        {
            f"at most {most_s:g} s of processor time": ours.cpu_s <= most_s,
            f"at most {most_mib:g} MiB": ours.peak_mib <= most_mib,
        },
    )


def _measure(ours: list[str], peer: list[str], runs: int) -> tuple[Run, Run]:
    child(ours), child(peer)  # fills the disk cache and writes the byte code
    pairs = [(child(ours), child(peer)) for _ in range(runs)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


if __name__ == "__main__":
    sys.exit(main())
