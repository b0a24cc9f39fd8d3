"""How fast does each net train, beside a plain loop of torch over the same clips?

    OMP_NUM_THREADS=1 python benchmarks/training.py --nets gru,cnn1d

Made frames of 3 s (94 frames of 40 columns). One JSON line last.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from torch import nn

from emovox.config import TrainingConfig
from emovox.nets.table import NETS, make
from emovox.train.clips import ClipSet, drawn, padded
from emovox.train.trainer import fit_net

N_CLIPS, N_FRAMES, N_COLUMNS, N_LABELS = 256, 94, 40, 8
EPOCHS = TrainingConfig(epochs=4, label_smoothing=0.0, balance="none", tensorboard=False)


def clips() -> ClipSet:
    rng = np.random.default_rng(0)
    heard = [rng.standard_normal((N_FRAMES, N_COLUMNS)).astype(np.float32) for _ in range(N_CLIPS)]
    labels = np.arange(N_CLIPS) % N_LABELS
    return ClipSet([heard], labels, np.zeros(N_CLIPS, np.int64), np.ones((1, N_LABELS), bool))


def plain(net: nn.Module, data: ClipSet) -> float:
    """Clips a second of the loop that anyone would write, after its first epoch."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for epoch in range(EPOCHS.epochs):
        if epoch == 1:
            started = time.perf_counter()
        order = drawn(None, len(data), 0, epoch)
        for rows in np.array_split(order, len(order) // EPOCHS.batch_size):
            x, lengths = padded([data.variants[0][row] for row in rows])
            loss = nn.functional.cross_entropy(net(x, lengths), torch.from_numpy(data.labels[rows]))
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), EPOCHS.gradient_norm)
            optimiser.step()
    return (EPOCHS.epochs - 1) * len(data) / (time.perf_counter() - started)


def ours(net: nn.Module, data: ClipSet) -> float:
    """Clips a second of `fit_net`, after its first epoch."""
    ends: list[float] = []
    fit_net(net, data, None, EPOCHS, tell=lambda epoch: ends.append(time.perf_counter()))
    return (EPOCHS.epochs - 1) * len(data) / (ends[-1] - ends[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    frames = [name for name, entry in NETS.items() if entry.takes == "frames"]
    parser.add_argument("--nets", default=",".join(frames))
    data, result = clips(), {}
    print(f"{'net':10} {'ours':>8} {'plain':>8} {'ratio':>6}   clips/s, {torch.get_num_threads()} thread(s)")
    for name in parser.parse_args().nets.split(","):
        one, other = (make(name, n_in=N_COLUMNS, n_labels=N_LABELS) for _ in range(2))
        result[name] = {"ours": round(ours(one, data), 1), "plain": round(plain(other, data), 1)}
        ratio = result[name]["ours"] / result[name]["plain"]
        print(f"{name:10} {result[name]['ours']:8.1f} {result[name]['plain']:8.1f} {ratio:6.2f}", flush=True)
    print(json.dumps({"benchmark": "training", "clips_per_s": result}))


if __name__ == "__main__":
    main()
