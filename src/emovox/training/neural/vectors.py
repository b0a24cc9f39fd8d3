"""How a net is trained: balanced draws, masked labels, mixup, one learning-rate cycle.

Several corpora are trained on together although each shows only some of the labels. A label that a corpus
cannot show is masked out of that clip's softmax: the net is never taught that Germans are never calm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from emovox._arrays import Bools, Doubles, Floats
from emovox.errors import ConfigError

__all__ = [
    "HIDDEN_LOGIT",
    "LEAST_DEVIATION",
    "TrainConfig",
    "TrainSet",
    "balanced_weights",
    "fit",
    "label_mask",
    "soft_targets",
]

HIDDEN_LOGIT = -30.0

LEAST_DEVIATION = 1e-3
"""A feature that varies less is constant but for rounding, and is left unscaled: a graph rounds otherwise."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run; times are optimiser steps."""

    steps: int = 2500
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: float = 0.1
    label_smoothing: float = 0.1
    mixup: float = 0.3
    clean: float = 0.25
    """Share of draws from the recordings as they are, the rest from their augmented variants."""
    gradient_norm: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:  # nan is in no range
                raise ConfigError(f"train.{name} is {getattr(self, name)}; expected {low:g} to {high:g}")


_RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 1e9),
    "batch_size": (2, 1e6),
    "learning_rate": (1e-9, 10),
    "weight_decay": (0, 10),
    "warm_up": (0, 0.99),
    "label_smoothing": (0, 1),
    "mixup": (0, 100),
    "clean": (0, 1),
    "gradient_norm": (1e-9, 1e9),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True)
class TrainSet:
    """Clips to train on.

    ``variants`` are arrays ``(n, d)`` of inputs, the first unaugmented; ``labels`` and ``corpora`` ``(n,)``
    are indices; ``shown (n_corpora, n_labels)`` says which labels a corpus can show; ``weights (n,)`` are the
    chances of being drawn.
    """

    variants: Sequence[Floats]
    labels: npt.NDArray[np.int64]
    corpora: npt.NDArray[np.int64]
    shown: Bools
    weights: Doubles

    def statistics(self) -> tuple[Floats, Floats]:
        """Mean and deviation ``(d,)`` of what will be drawn, over all variants; 1 if nearly none."""
        drawn = self.weights > 0
        weights = (self.weights[drawn] / len(self.variants)).astype(np.float32)
        # Around a centre, in float32: float64 copies of all variants would cost more than the training.
        centre = self.variants[0][drawn][:1]
        first = np.zeros(centre.shape[1])
        second = np.zeros(centre.shape[1])
        for variant in self.variants:
            rows = variant[drawn] - centre
            first += weights @ rows
            second += weights @ np.square(rows)
        deviation = np.sqrt(np.maximum(second - first**2, 1e-12))
        mean = (centre[0] + first).astype(np.float32)
        deviation[deviation < LEAST_DEVIATION] = 1.0
        return mean, deviation.astype(np.float32)


def label_mask(labels: npt.NDArray[np.int64], corpora: npt.NDArray[np.int64], n_labels: int) -> Bools:
    """Which labels occur in each corpus: ``(n_corpora, n_labels)``."""
    shown = np.zeros((int(corpora.max()) + 1, n_labels), bool)
    shown[corpora, labels] = True
    return shown


def balanced_weights(
    labels: npt.NDArray[np.int64],
    corpora: npt.NDArray[np.int64],
    training: Bools,
    shares: Mapping[int, float],
) -> Doubles:
    """Chances of being drawn: corpora by ``shares``, labels evenly within a corpus. They sum to 1."""
    weights = np.zeros(len(labels))
    for corpus, share in shares.items():
        here = training & (corpora == corpus)
        present = np.unique(labels[here])
        for label in present:
            rows = here & (labels == label)
            weights[rows] = share / len(present) / rows.sum()
    if not weights.sum() > 0:
        raise ConfigError("nothing to train on: no training clip has a corpus with a positive share")
    return np.asarray(weights / weights.sum())


def soft_targets(labels: Tensor, shown: Tensor, smoothing: float) -> Tensor:
    """One-hot ``(b, n_labels)``, smoothed over the labels that could have been shown."""
    hard = nn.functional.one_hot(labels, shown.shape[1]).float()
    return hard * (1 - smoothing) + smoothing * shown.float() / shown.sum(1, keepdim=True)


def fit(
    net: nn.Module,
    data: TrainSet,
    config: TrainConfig,
    *,
    progress: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Train ``net`` (inputs ``(b, d)`` -> logits) in place; returned in evaluation mode.

    The same seed, data and number of threads give the same weights. ``progress(step, loss)`` is called
    every hundredth step.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    variants = [torch.from_numpy(np.ascontiguousarray(v)) for v in data.variants]
    labels, corpora = torch.from_numpy(data.labels), torch.from_numpy(data.corpora)
    shown = torch.from_numpy(data.shown)
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    # A warm-up of a step or less is none: OneCycleLR would divide by its length less one.
    warm_up = config.warm_up if config.warm_up * config.steps > 1 else 0.0
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, config.steps, pct_start=warm_up
    )
    net.train()
    for step in range(config.steps):
        rows = torch.from_numpy(rng.choice(len(data.weights), config.batch_size, p=data.weights))
        x = _draw(variants, rows, config.clean, rng)
        can = shown[corpora[rows]]
        target = soft_targets(labels[rows], can, config.label_smoothing)
        if config.mixup > 0:
            x, target, can = _mixed(x, target, can, config.mixup, rng)
        logits = net(x).masked_fill(~can, HIDDEN_LOGIT)
        loss = -(target * logits.log_softmax(1)).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), config.gradient_norm)
        optimiser.step()
        schedule.step()
        if progress is not None and (step + 1) % 100 == 0:
            progress(step + 1, float(loss.detach()))
    return net.eval()


def _draw(variants: list[Tensor], rows: Tensor, clean: float, rng: np.random.Generator) -> Tensor:
    """Each row from the clean recording or from one of its augmented variants."""
    n = len(variants)
    which = np.zeros(len(rows), np.int64)
    if n > 1:
        which = np.where(rng.random(len(rows)) < clean, 0, rng.integers(1, n, len(rows)))
    x = variants[0][rows]
    for k in range(1, n):
        chosen = torch.from_numpy(which == k)
        x[chosen] = variants[k][rows[chosen]]
    return x.float()


def _mixed(
    x: Tensor, target: Tensor, can: Tensor, alpha: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mixup (Zhang et al., 2018): inputs and targets blended, masks joined."""
    share = torch.from_numpy(rng.beta(alpha, alpha, len(x)).astype(np.float32))[:, None]
    other = torch.from_numpy(rng.permutation(len(x)))
    return (
        share * x + (1 - share) * x[other],
        share * target + (1 - share) * target[other],
        can | can[other],
    )
