"""Make a call in one channel from clips of corpora, with the truth of who speaks when.

    EMOVOX_CORPORA=FOLDER python scripts/mix_call.py ravdess-01 ravdess-02 -o call.wav [--seconds 180]
    [--seed 1]

A speaker is named as in a manifest: the corpus and its own name. Clips are trimmed to their speech (25 dB
below the loudest 10 ms), brought to one level and put in turns of one to three clips, with pauses of 0.15 to
0.5 s inside of a turn and of 0.2 to 1 s between turns, over noise at -65 dBFS. Nobody interrupts. Beside
``call.wav`` are written ``call.rttm`` (speaker turns, clip by clip) and ``call.jsonl`` (with the clip, its
acted emotion and its sentence).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from emovox import audio
from emovox._files import write_text
from emovox.datasets import scan
from emovox.datasets.manifest import Utterance

RATE = audio.SAMPLE_RATE
LEVEL_RMS = 0.06
NOISE_RMS = 10 ** (-65 / 20)


def clips_of(speaker: str, corpora: Path) -> list[tuple[Path, Utterance]]:
    """Return the clips of a speaker; each corpus is in a folder of its name."""
    corpus = speaker.rpartition("-")[0]
    manifest, report = scan(corpus, corpora / corpus)
    found = [(Path(report.root) / u.path, u) for u in manifest.utterances if u.speaker == speaker]
    if not found:
        known = sorted({u.speaker for u in manifest.utterances})
        raise SystemExit(f"{speaker!r}: no such speaker; there are {', '.join(known)}")
    return found


def trim(x: np.ndarray) -> np.ndarray:
    """Return the clip ``(n,)`` from its first to its last speech, at the common level."""
    hop = RATE // 100
    power = np.mean(np.square(x[: len(x) // hop * hop].reshape(-1, hop), dtype=np.float64), axis=1)
    loud = np.flatnonzero(power > power.max() * 10**-2.5)
    x = x[loud[0] * hop : (loud[-1] + 1) * hop]
    return (x * (LEVEL_RMS / np.sqrt(np.mean(np.square(x, dtype=np.float64))))).astype(np.float32)


def mix_call(
    speakers: list[str], corpora: Path, *, seconds: float, seed: int
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the sound ``(n,)`` at 16 kHz and the rows of the truth."""
    rng = np.random.default_rng(seed)
    clips = {speaker: clips_of(speaker, corpora) for speaker in speakers}
    parts: list[np.ndarray] = [np.zeros(round(0.5 * RATE), np.float32)]
    rows: list[dict[str, Any]] = []
    n, speaker = len(parts[0]), speakers[-1]
    while n < seconds * RATE:
        others = [one for one in speakers if one != speaker] or speakers
        speaker = str(rng.choice(others))
        for _ in range(rng.integers(1, 4)):
            path, utterance = clips[speaker][rng.integers(len(clips[speaker]))]
            x = trim(audio.read(path))
            rows.append(
                {
                    "start_s": round(n / RATE, 3),
                    "end_s": round((n + len(x)) / RATE, 3),
                    "speaker": speaker,
                    "emotion": utterance.emotion,
                    "text": utterance.text,
                    "clip": utterance.id,
                }
            )
            pause = np.zeros(round(rng.uniform(0.15, 0.5) * RATE), np.float32)
            parts += [x, pause]
            n += len(x) + len(pause)
        parts.append(np.zeros(round(rng.uniform(0.05, 0.5) * RATE), np.float32))
        n += len(parts[-1])
    sound = np.concatenate(parts)
    sound += rng.normal(scale=NOISE_RMS, size=len(sound)).astype(np.float32)
    return np.clip(sound, -1, 1), rows


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("speakers", nargs="+", help="such as ravdess-01 or emodb-03")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the .wav; existing files are replaced"
    )
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    import soundfile

    corpora = Path(os.environ["EMOVOX_CORPORA"])
    sound, rows = mix_call(options.speakers, corpora, seconds=options.seconds, seed=options.seed)
    soundfile.write(options.output, sound, RATE, "PCM_16")
    write_text(options.output.with_suffix(".jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
    lines = (
        f"SPEAKER {options.output.stem} 1 {row['start_s']:.3f} {row['end_s'] - row['start_s']:.3f} "
        f"<NA> <NA> {row['speaker']} <NA> <NA>\n"
        for row in rows
    )
    write_text(options.output.with_suffix(".rttm"), "".join(lines))
    print(f"{options.output}: {len(sound) / RATE:.1f} s, {len(rows)} clips, {len(options.speakers)} speakers")


if __name__ == "__main__":
    main()
