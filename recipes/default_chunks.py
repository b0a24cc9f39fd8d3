"""Can overlapping windows share encoded frames? Clips encoded alone and within chunks, and heads for both.

    python recipes/default_chunks.py encode  --corpora DIR --checkpoint model.bin   # resumable
    python recipes/default_chunks.py compare --corpora DIR    # corpora left out, inner folds of RAVDESS

A long recording could be encoded once, in chunks of 12 s, and each window be a mean over the frames it
spans. Here chunks are glued from whole clips of a speaker, cut to their speech, with pauses, and with parts
of other clips at both ends, so that a clip begins anywhere in its chunk. Its states are the means over its
own frames, by each of `WAYS`. No test fold is opened: corpora are left out and tested on every second
speaker, and RAVDESS's inner folds are those of the first fold's training actors. In float32; heads are
trained without changed sounds, on the same clips for all ways.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from default_cache import LAYERS, make_net
from default_heads import Rows, fit_labels, join, score_uar
from default_measure import score_unseen
from default_sounds import Clip, cut_clip, list_clips, make_sound

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.datasets import scan
from emovox.datasets.emobox import emobox_split
from emovox.labels import EMOTIONS
from emovox.nets.adaptive import AdaptiveNet, weigh_active
from emovox.nets.whisper import HOP

SHARES = {"emodb": 1, "ravdess": 2, "banglaser": 5, "nemo": 16}
"""Every n-th clip of each speaker."""
WAYS = ("alone", "chunk", "blocks", "around")
"""``alone``: the clip by itself, as heads are trained today. ``chunk``: every frame sees all of its chunk.
``blocks``: a frame sees its block of a second and the two before, as in a stream that keeps keys and values;
positions grow from the chunk's start. ``around``: the same, positions start anew every 3 s."""
CHUNK_S, CLIP_S = 12, 9
FRAME = 2 * HOP
BLOCK = SAMPLE_RATE // FRAME
N_FRAMES = CHUNK_S * BLOCK
GROUP = 20
LOUDEST = 1.5  # log10 of the loudest mel value after `LogMel` with level "mel"


def choose_clips(root: Path, corpus: str) -> list[list[Clip]]:
    """Choose some clips of each speaker, in random order."""
    clips = [clip for clip in list_clips(root, corpus) if clip.emotion in EMOTIONS]
    rng = np.random.default_rng(3)
    chosen = []
    for speaker in sorted({clip.speaker for clip in clips}):
        own = [clip for clip in clips if clip.speaker == speaker]
        order = rng.permutation(len(own))
        chosen.append([own[i] for i in order[: -(-len(own) // SHARES[corpus])]])
    return chosen


def make_chunks(root: Path, corpus: str) -> Iterator[tuple[Floats, list[tuple[Clip, int, Floats]]]]:
    """Yield chunks, each with its whole clips: the clip, its first sample and its sound."""
    for own in choose_clips(root, corpus):
        rng = np.random.default_rng(zlib.crc32(own[0].speaker.encode()))
        sounds = [cut_clip(make_sound(clip, "clean"))[: CLIP_S * SAMPLE_RATE] for clip in own]
        i = 0
        while i < len(own):
            before = sounds[rng.integers(len(own))]
            n = int(min(len(before), rng.uniform(0, 2.5) * SAMPLE_RATE))
            parts, placed = [before[len(before) - n :], _make_pause(rng)], []
            while i < len(own) and (not placed or _length(parts) + len(sounds[i]) <= CHUNK_S * SAMPLE_RATE):
                sound = sounds[i][: CHUNK_S * SAMPLE_RATE - _length(parts)]
                placed.append((own[i], _length(parts), sound))
                parts += [sound, _make_pause(rng)]
                i += 1
            while _length(parts) < CHUNK_S * SAMPLE_RATE:
                parts += [sounds[rng.integers(len(own))], _make_pause(rng)]
            yield np.concatenate(parts)[: CHUNK_S * SAMPLE_RATE].astype(np.float32), placed


def _make_pause(rng: np.random.Generator) -> Floats:
    n = int(rng.uniform(0.2, 0.8) * SAMPLE_RATE)
    return (rng.standard_normal(n) * 1e-4).astype(np.float32)


def _length(parts: Sequence[Floats]) -> int:
    return sum(map(len, parts))


class ChunkEncoder:
    """States of sounds by each of `WAYS`."""

    def __init__(self, net: AdaptiveNet) -> None:
        self._encoder, self._config = net.encoder, net.config

    def encode(self, sound: Floats, way: str, phase: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode a sound ``(n,)``.

        Args:
            sound: a clip, or a chunk.
            way: one of `WAYS`.
            phase: frames of the first block that are before the sound, 0 to 49.

        Returns:
            States ``(layers, t, size)``, and the log-mel spectrogram ``(1, 2t, n_mels)`` with one gain.
        """
        encoder, n = self._encoder, len(sound) // FRAME
        mel, _ = encoder.log_mel(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))
        mel = mel[:, : 2 * n]
        place = torch.arange(n)
        block = torch.div(place + phase, BLOCK, rounding_mode="floor")
        bias, scaled = torch.zeros(n, n), mel
        if way in ("blocks", "around"):
            behind = block[:, None] - block[None]
            bias = torch.where((behind >= 0) & (behind <= 2), 0.0, -1e9)
            # A stream scales by the loudest value so far, which is not above that of the whole chunk.
            values = mel[0] * 4 - 4
            loudest = torch.stack(
                [values[(block <= b).repeat_interleave(2)].max() for b in range(int(block[-1]) + 1)]
            )
            values = values + (LOUDEST - loudest[block]).repeat_interleave(2)[:, None]
            scaled = ((values.clamp(min=LOUDEST - 8) + 4) / 4)[None]
        gelu = torch.nn.functional.gelu
        z = gelu(encoder.conv2(gelu(encoder.conv1(scaled.transpose(1, 2))))).transpose(1, 2)
        z = z + encoder.positions[place % (3 * BLOCK) if way == "around" else place]
        states = []
        for layer in encoder.layers:
            z = layer(z, bias)
            states.append(z[0])
        return torch.stack(states), mel

    def pool(self, states: torch.Tensor, mel: torch.Tensor, start: int, stop: int) -> Floats:
        """Average frames ``start`` to ``stop`` as `AdaptiveNet.pool` does: ``(layers, 2, size)``."""
        exists = torch.ones(1, stop - start)
        part = mel[:, 2 * start : 2 * stop]
        active = weigh_active(
            part, torch.ones(part.shape[:2]), exists > 0, self._config.active_db, self._config.slope_db
        )
        weights = torch.cat([exists / exists.sum(), active])
        return (weights @ states[:, start:stop]).numpy()


@torch.inference_mode()
def encode_corpus(root: Path, cache: Path, corpus: str, encoder: ChunkEncoder) -> None:
    """Encode the chunks of a corpus in groups, each written when it is complete."""
    folder = cache / "chunks" / corpus
    folder.mkdir(parents=True, exist_ok=True)
    chunks = make_chunks(root, corpus)
    number = 0
    while group := list(islice(chunks, GROUP)):
        file, number = folder / f"{number:04d}.npz", number + 1
        if file.exists():
            continue
        clips: list[Clip] = []
        pooled = []
        for sound, placed in group:
            phase = zlib.crc32(placed[0][0].id.encode()) % BLOCK
            whole = {way: encoder.encode(sound, way, phase) for way in WAYS[1:]}
            for clip, start, own in placed:
                alone = encoder.pool(*encoder.encode(own, "alone"), 0, len(own) // FRAME)
                span = -(-start // FRAME), (start + len(own)) // FRAME
                pooled.append([alone, *(encoder.pool(*whole[way], *span) for way in WAYS[1:])])
                clips.append(clip)
        partial = file.with_suffix(".partial")
        with partial.open("wb") as out:
            np.savez(
                out,
                ids=[clip.id for clip in clips],
                speakers=[clip.speaker for clip in clips],
                labels=[EMOTIONS.index(clip.emotion) for clip in clips],
                pooled=np.array(pooled, np.float32),
            )
        partial.replace(file)
        print(f"{corpus}: {number * GROUP} chunks", flush=True)


def read_ways(cache: Path, corpus: str) -> dict[str, Rows]:
    """Read the states of a corpus by `WAYS`."""
    parts = [np.load(file) for file in sorted((cache / "chunks" / corpus).glob("*.npz"))]
    ids, speakers, labels, pooled = (
        np.concatenate([part[name] for part in parts]) for name in ("ids", "speakers", "labels", "pooled")
    )
    names = np.array([corpus] * len(ids))
    return {way: Rows(pooled[:, i], ids, labels, speakers, names) for i, way in enumerate(WAYS)}


def compare(root: Path, cache: Path) -> dict[str, Any]:
    """Train heads on clips, on one way of chunks, and on both; test each on the clips and on that way."""
    rows = {corpus: read_ways(cache, corpus) for corpus in SHARES}
    trained = {"alone": WAYS, **{way: ("alone", way) for way in WAYS[1:]}}
    trained |= {f"alone+{way}": ("alone", way) for way in WAYS[1:]}
    actors = list_inner_actors(root, rows["ravdess"]["alone"])
    found: dict[str, Any] = {}
    for name, tested in trained.items():
        ways = name.split("+")
        for way in tested:
            found[f"{name} -> {way}"] = {}
        for corpus in SHARES:
            head = fit_labels(join([rows[c][way] for c in SHARES if c != corpus for way in ways]))
            for way in tested:
                test = rows[corpus][way]
                test = test[np.isin(test.speakers, np.unique(test.speakers)[::2])]
                scores = {n: round(score_unseen(head, test, n), 1) for n in (0, 20)}
                found[f"{name} -> {way}"][corpus] = scores
        for way, score in score_inner(rows, ways, tested, actors).items():
            found[f"{name} -> {way}"]["inner"] = round(score, 1)
            print(f"{name} -> {way}: {found[f'{name} -> {way}']}", flush=True)
    return found


def list_inner_actors(root: Path, ravdess: Rows) -> list[str]:
    """List the training actors of RAVDESS's first fold."""
    manifest, _ = scan("ravdess", root / "ravdess")
    split = emobox_split(manifest, 1, corpus="ravdess")
    held_out = np.unique(ravdess.speakers[np.isin(ravdess.ids, split.test)])
    return [str(speaker) for speaker in np.unique(ravdess.speakers) if speaker not in held_out]


def score_inner(
    rows: dict[str, dict[str, Rows]], ways: Sequence[str], tested: Sequence[str], actors: Sequence[str]
) -> dict[str, float]:
    """Score RAVDESS's nine labels in five inner folds, with all corpora in training."""
    parts: dict[str, list[Rows]] = {way: [] for way in tested}
    for fold in range(5):
        train = [rows[corpus][way] for corpus in SHARES for way in ways]
        kept = [speaker for speaker in actors if speaker not in actors[fold::5]]
        train = [r[np.isin(r.speakers, kept) | (r.corpora != "ravdess")] for r in train]
        head = fit_labels(join(train))
        for way in tested:
            test = rows["ravdess"][way]
            test = test[np.isin(test.speakers, actors[fold::5])]
            parts[way].append(replace(test, pooled=head(test).argmax(1)[:, None].astype(np.float32)))
    return {
        way: score_uar((r := join(p)).labels, r.pooled[:, 0].astype(np.int64)) for way, p in parts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("encode", "compare"))
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/default"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "compare":
        print(json.dumps(compare(options.corpora, options.cache)))
        return
    encoder = ChunkEncoder(make_net(options.checkpoint, LAYERS, len(EMOTIONS)))
    for corpus in SHARES:
        encode_corpus(options.corpora, options.cache, corpus, encoder)


if __name__ == "__main__":
    main()
