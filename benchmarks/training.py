"""Clips a second in training, for each net, beside a plain PyTorch loop on the same net:

    python benchmarks/training.py
    python benchmarks/training.py --nets gru,cnn1d --epochs 9

Made frames of 3 s (94 frames of 40 columns), one thread. The two take turns, an epoch each, and are timed by
the processor time of this process, so that a busy machine slows neither more than the other; the ratio is the
median over the pairs of epochs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from measure import finish
from torch import nn

from emovox.nets.registry import NETS, make_net
from emovox.training.config import TrainingConfig
from emovox.training.neural.clips import ClipSet, draw_epoch, pad_clips
from emovox.training.neural.trainer import fit_net

N_CLIPS, N_FRAMES, N_COLUMNS, N_LABELS = 512, 94, 40, 8
LEAST = 0.9
"""Of the plain loop's clips a second."""
TRAINING = TrainingConfig(label_smoothing=0.0, balance="none", tensorboard=False)


def clips() -> ClipSet:
    rng = np.random.default_rng(0)
    heard = [rng.standard_normal((N_FRAMES, N_COLUMNS)).astype(np.float32) for _ in range(N_CLIPS)]
    labels = np.arange(N_CLIPS) % N_LABELS
    return ClipSet([heard], labels, np.zeros(N_CLIPS, np.int64), np.ones((1, N_LABELS), bool))


def plain(net: nn.Module, data: ClipSet) -> Callable[[int], None]:
    """An epoch of the loop that anyone would write."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def teach(epoch: int) -> None:
        net.train()
        order = draw_epoch(None, len(data), 0, epoch)
        for rows in np.array_split(order, len(order) // TRAINING.batch_size):
            x, lengths = pad_clips([data.variants[0][row] for row in rows])
            loss = nn.functional.cross_entropy(net(x, lengths), torch.from_numpy(data.labels[rows]))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), TRAINING.gradient_norm)
            optimiser.step()

    return teach


def pairs(name: str, data: ClipSet, epochs: int) -> Iterator[tuple[float, float]]:
    """Processor seconds of an epoch, ours and the plain loop's, in turns; the first pair is left out."""
    one, other = (make_net(name, n_in=N_COLUMNS, n_labels=N_LABELS) for _ in range(2))
    teach, found = plain(other, data), list[tuple[float, float]]()
    began = 0.0

    def in_turn(epoch: Any) -> None:
        nonlocal began
        ended = time.process_time()
        teach(epoch.number)
        found.append((ended - began, time.process_time() - ended))
        began = time.process_time()

    settings = TrainingConfig(epochs=epochs + 1, label_smoothing=0.0, balance="none", tensorboard=False)
    fit_net(one, data, None, settings, on_epoch=in_turn)
    yield from found[1:]


def main() -> int:
    """Measure, print, and return 0 when every net keeps up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    frames = [name for name, entry in NETS.items() if entry.input == "frames"]
    parser.add_argument("--nets", default=",".join(frames))
    parser.add_argument("--epochs", type=int, default=7, help="pairs of epochs")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data, result = clips(), {}
    print(f"{'net':10} {'ours':>8} {'plain':>8} {'ratio':>6}   clips a second of processor time, one thread")
    for name in asked.nets.split(","):
        times = list(pairs(name, data, asked.epochs))
        ours, theirs = (N_CLIPS / statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        result[name] = {"ours": round(ours, 1), "plain": round(theirs, 1), "ratio": round(ratio, 3)}
        print(f"{name:10} {ours:8.1f} {theirs:8.1f} {ratio:6.2f}", flush=True)
    targets = {f"{name}: {LEAST:g} of the plain loop": row["ratio"] >= LEAST for name, row in result.items()}
    return finish("training", {"clips_per_s": result}, targets)


if __name__ == "__main__":
    sys.exit(main())
