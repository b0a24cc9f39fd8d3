"""Write the graph of the shipped `fast` anew: the same weights behind the front end of today.

    python recipes/vox_graph.py BUNDLE OUT --version 2.1 --corpora DIR [--clips 300]

Weights are read from the graph of BUNDLE, in which batch norm is part of the layers before it. The hidden
layers of all members are one matrix. The scores of both graphs are compared on clips from all corpora below
DIR, whole or cut to pieces, and the largest difference is printed.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from emovox import audio
from emovox.bundles import MODEL_FILE, load_bundle, write_bundle
from emovox.nets.front_end import FrontEnd, FrontEndConfig
from emovox.training.export import to_onnx

FRONT = FrontEndConfig(lags=(3, 12), quantile_step=3, delta_quantiles=False)
CLIP, LEAST = 5.0, -20.0  # as Vox standardises, and Discriminant bounds


class StackedVox(nn.Module):
    """`Vox` for inference, with the weights ``names -> tensor`` of its graph."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.front = FrontEnd(FRONT)
        n = sum(name.endswith("enter.weight") for name in weights)
        heads = [f"heads.{i}." for i in range(n)]
        layers = [*(head + "enter" for head in heads), *(head + "linear" for head in heads)]
        enter = torch.cat([weights[f"{name}.weight"] for name in layers])
        self.enter = nn.Linear(enter.shape[1], len(enter))
        self.enter.weight.data = enter
        self.enter.bias.data = torch.cat([weights[f"{name}.bias"] for name in layers])
        self.leave = nn.Parameter(torch.stack([weights[f"{head}leave.weight"].T for head in heads]))
        self.bias = nn.Parameter(torch.stack([weights[f"{head}leave.bias"] for head in heads]))
        self.mean, self.scale = (nn.Parameter(weights[name]) for name in ("mean", "scale"))
        self.cells = nn.Parameter(weights["permute"])
        self.cell_bias = nn.Parameter(weights["discriminant.bias"])
        self.label_mask = nn.Parameter(weights["discriminant.absent"])

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        z = ((self.front(waveform, lengths) - self.mean) * self.scale).clamp(-CLIP, CLIP)
        n, size, n_labels = self.leave.shape
        rows = self.enter(z[:, : self.enter.in_features])
        hidden = nn.functional.silu(rows[:, : n * size]).reshape(-1, n, 1, size)
        votes = (hidden @ self.leave)[:, :, 0] + self.bias + rows[:, n * size :].reshape(-1, n, n_labels)
        cells = (z @ self.cells + self.cell_bias).log_softmax(1)
        labels = (cells[:, None] + self.label_mask).logsumexp(2).clamp(min=LEAST)
        return 0.5 * votes.log_softmax(2).mean(1) + 0.5 * labels


def read_clips(corpora: Path, n: int) -> list[np.ndarray]:
    """``n`` clips from all corpora, whole or a piece of at least 0.3 s, of at most 12 s."""
    dice = random.Random(0)
    files = dice.sample(sorted(p for p in corpora.rglob("*") if p.suffix in (".wav", ".flac", ".opus")), n)
    clips = []
    for file in files:
        sound = audio.read(file)[: 12 * audio.SAMPLE_RATE]
        n_samples = round(dice.choice((1.0, dice.random())) * len(sound))
        start = dice.randint(0, len(sound) - n_samples)
        clips.append(sound[start : start + max(n_samples, round(0.3 * audio.SAMPLE_RATE))])
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=300)
    options = parser.parse_args()
    clips = read_clips(options.corpora, options.clips)
    old = load_bundle(options.bundle)
    graph = onnx.load(options.bundle / MODEL_FILE).graph
    weights = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    model = to_onnx(StackedVox(weights), [clips[0], clips[1]], name=old.spec.name)
    write_bundle(options.out, model, replace(old.spec, version=options.version, created=""))
    new = load_bundle(options.out)
    pairs = [(old.run([clip]).logits[0], new.run([clip]).logits[0]) for clip in clips]
    logits = np.array([np.abs(a - b).max() for a, b in pairs])
    scores = np.array([np.abs(softmax(a) - softmax(b)).max() for a, b in pairs])
    answers = sum(a.argmax() != b.argmax() for a, b in pairs)
    n_nodes = len(onnx.load(options.out / MODEL_FILE).graph.node)
    print(f"{len(graph.node)} nodes, now {n_nodes}; {len(clips)} clips, {answers} answers changed")
    figures = {"logits": logits, "scores": scores}
    for name, found in figures.items():
        print(
            f"{name}: differ by {found.max():.1e} at most, by 1e-5 or more in {(found >= 1e-5).sum()} clips"
        )
    print(json.dumps({name: float(found.max()) for name, found in figures.items()} | {"nodes": n_nodes}))


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits.astype(np.float64) - logits.max())
    return e / e.sum()


if __name__ == "__main__":
    main()
