"""Training of a small net on rows in memory, by steps and without validation: the recipe of ``vox``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from emovox.errors import ConfigError
from emovox.training.config import TrainingConfig
from emovox.training.neural.batches import Batch, compute_loss, mix_clips, soft_targets

__all__ = ["MIN_DEVIATION", "VectorSet", "fit_vectors"]

MIN_DEVIATION = 1e-3
"""A column that varies less is constant but for rounding, and is not scaled: a graph rounds differently."""


@dataclass(frozen=True)
class VectorSet:
    """Rows to train on."""

    variants: Sequence[npt.NDArray[np.float32]]
    """Each ``(n, d)``: first as recorded, then augmented."""
    labels: npt.NDArray[np.int64]
    """``(n,)``."""
    corpora: npt.NDArray[np.int64]
    """``(n,)``."""
    corpus_labels: npt.NDArray[np.bool_]
    """``(n_corpora, n_labels)``: labels that a corpus contains."""
    weights: npt.NDArray[np.float64]
    """``(n,)``: sampling probabilities."""

    def statistics(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the weighted mean and deviation ``(d,)`` over all variants; 1 for a constant column."""
        drawn = self.weights > 0
        weights = (self.weights[drawn] / len(self.variants)).astype(np.float32)
        # About a centre, in float32: float64 copies of all variants would cost more than the training.
        centre = self.variants[0][drawn][:1]
        first = np.zeros(centre.shape[1])
        second = np.zeros(centre.shape[1])
        for variant in self.variants:
            rows = variant[drawn] - centre
            first += weights @ rows
            second += weights @ np.square(rows)
        deviation = np.sqrt(np.maximum(second - first**2, 1e-12))
        mean = (centre[0] + first).astype(np.float32)
        deviation[deviation < MIN_DEVIATION] = 1.0
        return mean, deviation.astype(np.float32)


def fit_vectors(
    net: nn.Module,
    data: VectorSet,
    config: TrainingConfig,
    *,
    steps: int,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> nn.Module:
    """Train ``net`` (rows ``(b, d)`` -> logits) in place and return it in evaluation mode.

    The same seed, data and number of threads give the same weights.

    Args:
        net: takes rows ``(b, d)``.
        data: rows, labels and sampling probabilities.
        config: of its settings the batch size, learning rate, weight decay, warm-up, label smoothing, mixup,
            ``clean`` and ``gradient_norm`` are used.
        steps: optimiser steps.
        seed: of sampling and dropout.
        progress: called with (step, loss) at every hundredth step.

    Raises:
        ConfigError: ``steps`` is below 1.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}; expected at least 1")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    variants = [torch.from_numpy(np.ascontiguousarray(v)) for v in data.variants]
    labels, corpora = torch.from_numpy(data.labels), torch.from_numpy(data.corpora)
    corpus_labels = torch.from_numpy(data.corpus_labels)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    # OneCycleLR divides by the length of the warm-up less one, so one of a single step is left out.
    warm_up = config.warm_up if config.warm_up * steps > 1 else 0.0
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, steps, pct_start=warm_up)
    n, b = len(variants), config.batch_size
    net.train()
    for step in range(1, steps + 1):
        rows = torch.from_numpy(rng.choice(len(data.weights), b, p=data.weights))
        which = np.zeros(b, np.int64)  # of the variants, for each row
        if n > 1:
            which = np.where(rng.random(b) < config.clean, 0, rng.integers(1, n, b))
        x = torch.stack([variants[v][row] for v, row in zip(which, rows, strict=True)]).float()
        mask = corpus_labels[corpora[rows]]
        target = soft_targets(labels[rows], mask, config.label_smoothing)
        batch = Batch(x, torch.ones(b), target, mask, torch.ones(b))
        if config.mixup > 0:
            share = torch.from_numpy(rng.beta(config.mixup, config.mixup, b).astype(np.float32))
            batch = mix_clips(batch, share, torch.from_numpy(rng.permutation(b)))
        loss = compute_loss(net(batch.x), batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), config.gradient_norm)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            progress(step, float(loss.detach()))
    return net.eval()
