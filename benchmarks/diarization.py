"""Who speaks when: errors of `emovox.speech.diarization` on mixtures of corpora, against one speaker.

    EMOVOX_CORPORA=FOLDER python benchmarks/diarization.py [dev|test] [--calls 7] [--seconds 120]

Calls are made by scripts/mix_call.py out of the speakers of one corpus, with acted emotions of all kinds. The
settings were chosen on `dev` (RAVDESS actors 1 to 12, five speakers of nEMO); `test` has RAVDESS actors 13
to 24 and EMO-DB. The figure is the diarization error rate (NIST RT-09): missed speech, false alarms and
confusion of speakers, as shares of the speech of the truth, under the best mapping of speakers, without 0.25
s around each border of the truth. Encoders: Resemblyzer, and as a peer the embedding of emovox's own model.
A table for people, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

import emovox
from emovox.results import TranscriptSegment
from emovox.speech.diarization import SpeakerEncoder, diarize, open_speaker_encoder

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from mix_call import RATE, mix_call

COLLAR_S = 0.25
STEP_S = 0.01
SPEAKERS = {
    "dev": (
        [f"ravdess-{i:02d}" for i in range(1, 13)],
        [f"nemo-{name}" for name in ("EB0", "IC0", "KD0", "KS0", "MK0")],
    ),
    "test": (
        [f"ravdess-{i:02d}" for i in range(13, 25)],
        [f"emodb-{i:02d}" for i in (3, 8, 9, 10, 11, 12, 13, 14, 15, 16)],
    ),
}
N_SPEAKERS = (1, 2, 2, 2, 2, 3, 4)
"""Of the calls of one corpus, again and again."""


class CachedEncoder:
    """An encoder that remembers embeddings, so that three ways to cluster cost one computation."""

    def __init__(self, embed: Any, same_speaker: float | None) -> None:
        self.same_speaker, self._embed = same_speaker, embed
        self._known: dict[bytes, np.ndarray] = {}
        self.seconds = 0.0

    def embed(self, sound: np.ndarray) -> np.ndarray:
        """The embedding of ``(n,)``."""
        key = sound.tobytes()
        if key not in self._known:
            start = time.process_time()
            self._known[key] = self._embed(sound)
            self.seconds += time.process_time() - start
        return self._known[key]


def error_rates(
    truth: Sequence[dict[str, Any]], turns: Sequence[TranscriptSegment], duration_s: float
) -> np.ndarray:
    """Return missed speech, false alarms and confusion as shares of the speech of the truth, ``(3,)``."""
    n = int(duration_s / STEP_S)

    def tracks(rows: list[tuple[float, float, str]]) -> np.ndarray:
        names = sorted({name for _, _, name in rows})
        active = np.zeros((len(names), n), bool)
        for start_s, end_s, name in rows:
            active[names.index(name), round(start_s / STEP_S) : round(end_s / STEP_S)] = True
        return active

    reference = tracks([(row["start_s"], row["end_s"], row["speaker"]) for row in truth])
    found = tracks([(turn.start_s, turn.end_s, str(turn.speaker)) for turn in turns])
    counted = np.ones(n, bool)
    for row in truth:
        for border in (row["start_s"], row["end_s"]):
            counted[max(0, round((border - COLLAR_S) / STEP_S)) : round((border + COLLAR_S) / STEP_S)] = False
    reference, found = reference[:, counted], found[:, counted]
    together = reference.astype(int) @ found.T.astype(int)
    correct = together[linear_sum_assignment(-together)].sum()
    n_true, n_found = reference.sum(axis=0), found.sum(axis=0)
    missed, false = np.maximum(n_true - n_found, 0).sum(), np.maximum(n_found - n_true, 0).sum()
    return np.array([missed, false, np.minimum(n_true, n_found).sum() - correct]) / n_true.sum()


def measure(name: str, n_calls: int, seconds: float) -> dict[str, Any]:
    """Return the mean figures of each way, and print each call."""
    corpora = Path(os.environ["EMOVOX_CORPORA"])
    model = emovox.load()
    resemblyzer = open_speaker_encoder()
    rng = np.random.default_rng(5)
    errors: dict[str, list[np.ndarray]] = {}
    counts: list[tuple[int, int]] = []
    cost_s = sound_s = 0.0
    for names in SPEAKERS[name]:
        for call in range(n_calls):
            k = N_SPEAKERS[call % len(N_SPEAKERS)]
            chosen = [str(one) for one in rng.choice(names, k, replace=False)]
            x, truth = mix_call(chosen, corpora, seconds=seconds, seed=100 + call)
            duration_s = len(x) / RATE
            encoder = CachedEncoder(resemblyzer.embed, resemblyzer.same_speaker)
            own = CachedEncoder(
                lambda y: model.embed(np.pad(y, (0, max(0, 8000 - len(y)))), sample_rate=RATE), None
            )

            def run(with_encoder: SpeakerEncoder, n_speakers: int | None) -> list[TranscriptSegment]:
                return diarize(x, with_encoder, sample_rate=RATE, n_speakers=n_speakers)  # noqa: B023

            found = {
                "one speaker": run(encoder, 1),
                "Resemblyzer, number known": run(encoder, k),
                "Resemblyzer, number estimated": run(encoder, None),
                "own embedding, number known": run(own, k),
            }
            for way, turns in found.items():
                errors.setdefault(way, []).append(error_rates(truth, turns, duration_s))
            counts.append((k, len({turn.speaker for turn in found["Resemblyzer, number estimated"]})))
            cost_s, sound_s = cost_s + encoder.seconds, sound_s + duration_s
            figures = "  ".join(f"{100 * rates[-1].sum():5.1f}" for rates in errors.values())
            print(f"{' '.join(chosen):50s} {figures}  ({counts[-1][1]} speakers estimated)", flush=True)
    table = {way: 100 * np.array(rates) for way, rates in errors.items()}
    print(f"\n{'mean of ' + str(len(counts)) + ' calls, %':32s} missed  false alarm  confusion   DER")
    for way, rates in table.items():
        print(
            f"{way:32s} {rates[:, 0].mean():6.1f} {rates[:, 1].mean():12.1f} {rates[:, 2].mean():10.1f} "
            f"{rates.sum(1).mean():5.1f}"
        )
    return {
        "benchmark": "diarization",
        "set": name,
        "calls": len(counts),
        "der": {way: round(float(rates.sum(axis=1).mean()), 2) for way, rates in table.items()},
        "number_right": sum(a == b for a, b in counts) / len(counts),
        "embedding_cpu_s_per_s": round(cost_s / sound_s, 4),
    }


def main() -> None:
    """Run one set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", nargs="?", choices=SPEAKERS, default="dev")
    parser.add_argument("--calls", type=int, default=len(N_SPEAKERS), help="of each of the two corpora")
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    print(json.dumps(measure(options.set, options.calls, options.seconds)))


if __name__ == "__main__":
    main()
