"""States of clips within a recording, as windows that share encoded frames see them; see default.py.

A recording is encoded in blocks of a second, each of which sees the two before: see
`emovox.nets.adaptive_stream`. The recordings are glued from whole clips of a speaker, cut to their speech, in
random order with pauses, so that a clip begins anywhere in its block, after another emotion. Its states are
the means over its own frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import default_sounds as sounds
import numpy as np

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.labels import EMOTIONS
from emovox.nets.adaptive import AdaptiveConfig
from emovox.nets.adaptive_stream import BLOCK, FRAME

__all__ = ["cache_recordings", "encode_recording", "list_recordings", "make_recordings", "pool"]

N_CLIPS = 20
"""Clips of a recording."""


def list_recordings(clips: Sequence[sounds.Clip]) -> dict[str, list[str]]:
    """List the speakers of a corpus with the files that the recordings of each are cached in."""
    speakers = [clip.speaker for clip in clips if clip.emotion != sounds.NOT_SPEECH]
    return {
        who: [f"{who}-{i:02d}.npz" for i in range(-(-speakers.count(who) // N_CLIPS))]
        for who in sorted(set(speakers))
    }


def cache_recordings(session: Any, clips: Sequence[sounds.Clip], folder: Path) -> None:
    """Encode the clips of a corpus within recordings, each written when it is complete.

    Args:
        session: of the graph of `default_cache.StreamPooler`.
        clips: of one corpus.
        folder: for the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for who, files in list_recordings(clips).items():
        if all((folder / file).exists() for file in files):
            continue
        own = [clip for clip in clips if clip.speaker == who and clip.emotion != sounds.NOT_SPEECH]
        for file, (sound, placed) in zip(files, make_recordings(own), strict=True):
            states, level = encode_recording(session, sound)
            pooled = [pool(states[:, start:stop], level[start:stop]) for _, start, stop in placed]
            partial = folder / f"{file}.partial"
            with partial.open("wb") as out:
                np.savez(out, ids=[clip.id for clip, _, _ in placed], pooled=np.array(pooled, np.float32))
            partial.replace(folder / file)
        print(f"{folder.parent.name} {folder.name}: {who}", flush=True)


def make_recordings(
    own: Sequence[sounds.Clip],
) -> Iterator[tuple[Floats, list[tuple[sounds.Clip, int, int]]]]:
    """Yield recordings of whole seconds of one speaker, each with its clips and their frames, from and to."""
    rng = np.random.default_rng(zlib.crc32(f"around/{own[0].speaker}".encode()))

    def pause(low_s: float, high_s: float) -> Floats:
        return np.asarray(1e-4 * rng.standard_normal(int(rng.uniform(low_s, high_s) * SAMPLE_RATE)))

    order = rng.permutation(len(own))
    for first in range(0, len(own), N_CLIPS):
        parts, placed, n = [pause(1.0, 2.0)], [], 0
        for clip in (own[i] for i in order[first : first + N_CLIPS]):
            x = sounds.cut_clip(sounds.make_sound(clip, "clean"))[: 12 * SAMPLE_RATE]
            n = sum(map(len, parts))
            placed.append((clip, -(-n // FRAME), (n + len(x)) // FRAME))
            parts += [x, pause(0.2, 0.8)]
        n = sum(map(len, parts))
        parts.append(np.zeros(-n % SAMPLE_RATE))
        yield np.concatenate(parts).astype(np.float32), placed


def encode_recording(session: Any, sound: Floats) -> tuple[Floats, Floats]:
    """Encode a recording of whole seconds: states ``(layers, t, size)`` and levels in dB ``(t,)``."""
    n_columns = session.get_inputs()[2].shape[2]
    _, n_layers, _, size = session.get_outputs()[0].shape
    memory, rows = np.zeros((1, 0, n_columns), np.float32), []
    for block in sound.reshape(-1, 1, SAMPLE_RATE):
        inputs = {"waveform": block, "lengths": np.array([SAMPLE_RATE]), "memory": memory}
        _, memory = session.run(None, {**inputs, "span": np.array([[0, 1]])})
        rows.append(memory[0, -BLOCK:, -(n_layers * size + FRAME + 3) :])  # behind the keys and values
    columns = np.concatenate(rows)
    states = columns[:, : n_layers * size].reshape(-1, n_layers, size).transpose(1, 0, 2)
    return states, columns[:, -3]


def pool(states: Floats, level: Floats) -> Floats:
    """Average frames ``(layers, t, size)`` as `AdaptiveNet.pool` does."""
    config = AdaptiveConfig(len(EMOTIONS))
    active = 1 / (1 + np.exp(-(level - level.max() + config.active_db) / config.slope_db))
    weights = np.stack([np.full_like(level, 1 / len(level)), active / active.sum()])
    return np.asarray(weights @ states, np.float32)
