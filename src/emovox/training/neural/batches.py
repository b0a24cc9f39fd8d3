"""What is done to a batch in training, and what its loss is: mixup, SpecAugment, hidden labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from emovox.nets.layers import frame_mask
from emovox.training.neural.vectors import HIDDEN_LOGIT

__all__ = ["Lesson", "loss_of", "mixed", "spec_augmented"]


@dataclass(frozen=True, eq=False)
class Lesson:
    """A batch: what is heard and what is to be learnt."""

    z: Tensor
    """``(b, t, d)`` standardised frames, or ``(b, n)`` samples."""
    lengths: Tensor
    target: Tensor
    """``(b, n_labels)``: chances, which sum to 1."""
    shown: Tensor
    """``(b, n_labels)``: labels that the clip's corpus can show."""
    weights: Tensor
    """``(b,)``: what each clip counts."""


def loss_of(logits: Tensor, lesson: Lesson) -> Tensor:
    """Cross entropy over the labels that could have been shown, in the weighted mean."""
    seen = logits.float().masked_fill(~lesson.shown, HIDDEN_LOGIT)
    each = -(lesson.target * seen.log_softmax(1)).sum(1)
    loss: Tensor = (each * lesson.weights).sum() / lesson.weights.sum()
    return loss


def mixed(lesson: Lesson, alpha: float) -> Lesson:
    """Mixup (Zhang et al., 2018): each clip blended with another, targets alike, shown labels joined."""
    b = len(lesson.z)
    share = torch.distributions.Beta(alpha, alpha).sample((b,)).to(lesson.z)
    other = torch.randperm(b, device=lesson.z.device)
    wide = share.reshape(b, *[1] * (lesson.z.dim() - 1))
    return Lesson(
        wide * lesson.z + (1 - wide) * lesson.z[other],
        torch.maximum(lesson.lengths, lesson.lengths[other]),
        share[:, None] * lesson.target + (1 - share[:, None]) * lesson.target[other],
        lesson.shown | lesson.shown[other],
        share * lesson.weights + (1 - share) * lesson.weights[other],
    )


def spec_augmented(z: Tensor, lengths: Tensor, *, time_share: float, column_share: float) -> Tensor:
    """SpecAugment (Park et al., 2019): two stretches of time and one of columns become the mean, 0.

    Args:
        z: standardised frames ``(b, t, d)``.
        lengths: ``(b,)``.
        time_share: no stretch is longer than this share of its clip.
        column_share: nor wider than this share of the columns.
    """
    b, t, d = z.shape
    hidden = ~frame_mask(z, lengths)[..., None].expand(b, t, d)
    for _ in range(2 if time_share else 0):
        hidden = hidden | _stretch(lengths, t, time_share)[:, :, None]
    if column_share:
        widths = torch.full((b,), d, device=z.device)
        hidden = hidden | _stretch(widths, d, column_share)[:, None]
    return z.masked_fill(hidden, 0.0)


def _stretch(sizes: Tensor, n: int, share: float) -> Tensor:
    """``(b, n)``: one stretch in each row, within the row's size ``(b,)``."""
    width = torch.rand(len(sizes), device=sizes.device) * share * sizes
    start = torch.rand(len(sizes), device=sizes.device) * (sizes - width)
    place = torch.arange(n, device=sizes.device)[None]
    return (place >= start[:, None]) & (place < (start + width)[:, None])
