"""The recurrent `seed-*` configs beside a plain loop as Keras would train it, on the same features and split:

    python benchmarks/recurrent_nets.py --corpora DIR
    python benchmarks/recurrent_nets.py --corpora DIR --configs seed-clstm --protocols random --epochs 40

DIR holds the folder ravdess. The plain loop knows nothing of the package: clips padded with zeros to the
longest, no masks, the last output of the padded sequence, Adam at a constant 1e-3, cross entropy, the epoch
with the best validation UAR. Ours is the config as it is. Printed are accuracy and UAR on the test part,
and accuracy on the training part, which shows whether a net fits at all.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import finish
from torch import Tensor, nn

from emovox.datasets import Dataset
from emovox.datasets.split_plan import make_split
from emovox.evaluation import metrics
from emovox.training.neural.clips import ClipSet
from emovox.training.neural.trainer import predict_logits
from emovox.training.trainers import make_clip_sets, make_config, make_trainer

CONFIGS = ("seed-rnn13", "seed-lstm", "seed-clstm")
PROTOCOLS = ("random", "emobox/ravdess/1")
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "seed-rnn13": {"hidden": 128, "n_layers": 2, "dense": 64},
    "seed-lstm": {"hidden": 128, "n_layers": 2},
    "seed-clstm": {"channels": (64, 64), "hidden": 64, "n_layers": 1},
}
TOLERANCE = 3.0
"""Points of accuracy that ours may be below the plain loop."""


class KerasLike(nn.Module):
    """Conv1D and MaxPooling1D, LSTM, Dense, with Keras's initial weights."""

    def __init__(
        self,
        n_in: int,
        n_labels: int,
        *,
        channels: tuple[int, ...] = (),
        hidden: int,
        n_layers: int,
        dense: int = 0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        convolutions: list[nn.Module] = []
        for n_out in channels:
            convolutions += [
                nn.Conv1d(n_in, n_out, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool1d(2),
                nn.Dropout(dropout),
            ]
            n_in = n_out
        self.convolutions = nn.Sequential(*convolutions)
        self.lstm = nn.LSTM(n_in, hidden, n_layers, batch_first=True, dropout=dropout if n_layers > 1 else 0)
        for name, weight in self.lstm.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(weight)
                if "ih" in name:
                    weight.data[hidden : 2 * hidden] = 1
            else:
                for gate in weight.data.chunk(4):
                    (nn.init.orthogonal_ if "hh" in name else nn.init.xavier_uniform_)(gate)
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if dense:
            layers += [nn.Linear(hidden, dense), nn.ReLU()]
        self.output = nn.Sequential(*layers, nn.Linear(dense or hidden, n_labels))

    def forward(self, x: Tensor) -> Tensor:
        z = self.convolutions(x.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.output(self.lstm(z)[0][:, -1])
        return logits


def train_plainly(
    training: ClipSet, validation: ClipSet, test: ClipSet, architecture: dict[str, Any], epochs: int
) -> tuple[Tensor, Tensor]:
    """Train as a student project would; return the logits of test and training clips at the best epoch."""
    frames = np.concatenate(training.variants[0])
    mean, deviation = frames.mean(0), frames.std(0) + 1e-6
    length = max(len(clip) for clips in (training, validation, test) for clip in clips.variants[0])

    def pad(clips: ClipSet) -> tuple[Tensor, Tensor]:
        x = np.zeros((len(clips), length, frames.shape[1]), np.float32)
        for row, clip in zip(x, clips.variants[0], strict=True):
            row[: len(clip)] = (clip - mean) / deviation
        return torch.from_numpy(x), torch.from_numpy(clips.labels)

    (x, y), (x_validation, y_validation), (x_test, _) = map(pad, (training, validation, test))
    torch.manual_seed(0)
    net = KerasLike(x.shape[2], training.corpus_labels.shape[1], **architecture)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    best, logits = -1.0, (x, x)
    for _ in range(epochs):
        net.train()
        for rows in torch.randperm(len(y)).split(32):
            loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        net.eval()
        with torch.inference_mode():
            uar = metrics.uar(y_validation.tolist(), net(x_validation).argmax(1).tolist())
            if uar > best:
                best, logits = uar, (net(x_test), net(x))
    return logits


def compare(manifest: Any, name: str, protocol: str, epochs: int | None) -> dict[str, dict[str, float]]:
    """Train one config both ways and score them on the test part."""
    root = Path(__file__).parents[1]
    config = make_config(root / "configs" / f"{name}.yaml", {"train.tensorboard": False})
    labels = [label for label in config.labels.split(",") if label != "all"]
    clips = manifest.keep(lambda u: not labels or u.emotion in labels)
    split = make_split(clips, protocol).splits[0]
    trainer = make_trainer(config)
    inputs = trainer.load(clips, split)
    _, training, validation = make_clip_sets(inputs)
    swapped = replace(split, validation=split.test, test=split.validation)
    _, _, test = make_clip_sets(replace(inputs, split=swapped))
    assert validation is not None
    assert test is not None
    began = time.process_time()
    fitted = trainer.fit(inputs).model
    seconds = time.process_time() - began
    ours = [torch.from_numpy(predict_logits(fitted, one)) for one in (test, training)]
    began = time.process_time()
    plain = train_plainly(training, validation, test, ARCHITECTURES[name], epochs or config.train.epochs)
    result = {}
    for who, (logits, seen), cost in (
        ("ours", ours, seconds),
        ("plain", plain, time.process_time() - began),
    ):
        predicted = logits.argmax(1).numpy()
        result[who] = {
            "test_accuracy": round(100 * float((predicted == test.labels).mean()), 1),
            "test_uar": round(100 * metrics.uar(test.labels.tolist(), predicted.tolist()), 1),
            "training_accuracy": round(100 * float((seen.argmax(1).numpy() == training.labels).mean()), 1),
            "cpu_s": round(cost, 1),
        }
    return result


def main() -> int:
    """Compare, print, and return 0 if ours is nowhere more than `TOLERANCE` points below the plain loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--configs", default=",".join(CONFIGS))
    parser.add_argument("--protocols", default=",".join(PROTOCOLS))
    parser.add_argument("--epochs", type=int, help="of the plain loop; the config's unless given")
    options = parser.parse_args()
    torch.set_num_threads(1)
    manifest = Dataset.load([str(options.corpora / "ravdess")], corpus="ravdess").manifest
    results: dict[str, Any] = {}
    print(f"{'config':12} {'protocol':18} {'loop':6} {'test acc':>8} {'UAR':>6} {'training':>9} {'CPU s':>6}")
    for name in options.configs.split(","):
        for protocol in options.protocols.split(","):
            found = compare(manifest, name, protocol, options.epochs)
            results[f"{name} {protocol}"] = found
            for who, row in found.items():
                print(
                    f"{name:12} {protocol:18} {who:6} {row['test_accuracy']:8} {row['test_uar']:6} "
                    f"{row['training_accuracy']:9} {row['cpu_s']:6}",
                    flush=True,
                )
    targets = {
        key: row["ours"]["test_accuracy"] >= row["plain"]["test_accuracy"] - TOLERANCE
        for key, row in results.items()
    }
    return finish("recurrent_nets", {"results": results}, targets)


if __name__ == "__main__":
    sys.exit(main())
