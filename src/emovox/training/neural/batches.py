"""Training batches: mixup, SpecAugment, targets and the loss over the labels that a corpus contains.

Several corpora are trained on together although each has only some of the labels. A label that a corpus lacks
is masked out of the softmax of its clips, so that its absence teaches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emovox.nets.layers import frame_mask

__all__ = [
    "MASKED_LOGIT",
    "Batch",
    "compute_loss",
    "concordance_loss",
    "mix_clips",
    "soft_targets",
    "spec_augment",
]

MASKED_LOGIT = -30.0

_LEAST_SPREAD = 1e-6
"""Keeps the concordance of constants finite."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs and targets of one step."""

    x: Tensor
    """``(b, t, d)`` standardised frames, ``(b, n)`` samples or ``(b, d)`` rows."""
    lengths: Tensor
    """``(b,)``."""
    target: Tensor
    """``(b, n_labels)``: probabilities that sum to 1."""
    label_mask: Tensor
    """``(b, n_labels)``: labels that the clip's corpus contains."""
    weights: Tensor
    """``(b,)`` in the loss."""
    values: Tensor | None = None
    """``(b, n_values)`` standardised; nan is missing."""


def soft_targets(
    labels: Tensor, label_mask: Tensor, smoothing: float, shares: Tensor | None = None
) -> Tensor:
    """Return one-hot targets, or ``shares``, ``(b, n_labels)``, smoothed over the labels of the mask."""
    hard = nn.functional.one_hot(labels, label_mask.shape[1]).float() if shares is None else shares
    return hard * (1 - smoothing) + smoothing * label_mask.float() / label_mask.sum(1, keepdim=True)


def concordance_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Return 1 less the concordance (CCC, Lin, 1989) over the batch, averaged over the values.

    A value that fewer than two clips of the batch have counts 0.

    Args:
        predicted: ``(b, n_values)``.
        true: ``(b, n_values)``; nan is missing.
    """
    known = ~true.isnan()
    n = known.sum(0).clamp(min=1)

    def mean(x: Tensor) -> Tensor:
        return torch.where(known, x, 0.0).sum(0) / n

    predicted = predicted.float()
    true = torch.where(known, true, 0.0)
    x, y = mean(true), mean(predicted)
    covariance = mean((true - x) * (predicted - y))
    spread = mean((true - x).square()) + mean((predicted - y).square()) + (x - y).square()
    losses = 1 - 2 * covariance / (spread + _LEAST_SPREAD)
    used = known.sum(0) > 1
    return torch.where(used, losses, 0.0).sum() / used.sum().clamp(min=1)


def compute_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the weighted mean of the cross entropy over the labels of each clip's corpus."""
    masked = logits.float().masked_fill(~batch.label_mask, MASKED_LOGIT)
    losses = -(batch.target * masked.log_softmax(1)).sum(1)
    loss: Tensor = (losses * batch.weights).sum() / batch.weights.sum()
    return loss


def mix_clips(batch: Batch, share: Tensor, other: Tensor) -> Batch:
    """Blend each clip with another by mixup (Zhang et al., 2018).

    Args:
        batch: its targets are blended alike, its label masks joined.
        share: weight ``(b,)`` of each clip; its partner has the rest.
        other: row ``(b,)`` of the partner.
    """
    column = share[:, None]
    wide = share.reshape(-1, *[1] * (batch.x.dim() - 1))
    return Batch(
        wide * batch.x + (1 - wide) * batch.x[other],
        torch.maximum(batch.lengths, batch.lengths[other]),
        column * batch.target + (1 - column) * batch.target[other],
        batch.label_mask | batch.label_mask[other],
        share * batch.weights + (1 - share) * batch.weights[other],
        None if batch.values is None else column * batch.values + (1 - column) * batch.values[other],
    )


def spec_augment(z: Tensor, lengths: Tensor, *, time_share: float, column_share: float) -> Tensor:
    """Replace two stretches of time and one of columns by the mean, 0 (SpecAugment, Park et al., 2019).

    Args:
        z: standardised frames ``(b, t, d)``.
        lengths: ``(b,)``.
        time_share: longest stretch, as a share of the clip.
        column_share: widest stretch, as a share of the columns.
    """
    b, t, d = z.shape
    masked = ~frame_mask(z, lengths)[..., None].expand(b, t, d)
    for _ in range(2 if time_share else 0):
        masked = masked | _draw_stretch(lengths, t, time_share)[:, :, None]
    if column_share:
        widths = torch.full((b,), d, device=z.device)
        masked = masked | _draw_stretch(widths, d, column_share)[:, None]
    return z.masked_fill(masked, 0.0)


def _draw_stretch(sizes: Tensor, n: int, share: float) -> Tensor:
    """Draw one stretch per row, within the row's size ``(b,)``, as a mask ``(b, n)``."""
    width = torch.rand(len(sizes), device=sizes.device) * share * sizes
    start = torch.rand(len(sizes), device=sizes.device) * (sizes - width)
    position = torch.arange(n, device=sizes.device)[None]
    return (position >= start[:, None]) & (position < (start + width)[:, None])
