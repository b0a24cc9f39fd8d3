"""What several nets share: masks over frames and statistics that respect them.

All shapes are ``(b, t, ...)``: batch, frames, the rest. A mask is a boolean ``(b, t)``; what it hides
never changes a result, so that a clip alone and the same clip inside a padded batch agree.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "BIG",
    "frame_mask",
    "masked_max",
    "masked_mean",
    "masked_moments",
    "masked_quantiles",
    "masked_slope",
]

BIG = 1e9


def frame_mask(n_frames: Tensor, t: int) -> Tensor:
    """``(b,)`` frame counts -> ``(b, t)`` mask of the frames that exist."""
    return torch.arange(t, device=n_frames.device)[None] < n_frames[:, None]


def masked_mean(z: Tensor, mask: Tensor) -> Tensor:
    """Mean over the frames of ``z`` ``(b, t, d)`` that ``mask`` shows; 0 where it shows none."""
    m = mask.to(z.dtype)
    return _summed(m, z) / m.sum(1, keepdim=True).clamp(min=1)


def masked_max(z: Tensor, mask: Tensor) -> Tensor:
    """Maximum over the frames of ``z`` ``(b, t)`` that ``mask`` shows."""
    return z.masked_fill(~mask, -BIG).amax(1)


def masked_moments(z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and skewness of ``z`` ``(b, t, d)``, each ``(b, d)``."""
    mean = masked_mean(z, mask)
    centred = z - mean[:, None]
    std = masked_mean(centred**2, mask).clamp(min=1e-10).sqrt()
    skew = masked_mean(centred**3, mask) / (std + 1e-3) ** 3
    return mean, std, skew


def masked_quantiles(z: Tensor, mask: Tensor, quantiles: tuple[float, ...]) -> Tensor:
    """Quantiles (linear interpolation, as numpy's default) of ``z`` ``(b, t, d)``: ``(b, q * d)``."""
    last = (mask.sum(1, keepdim=True) - 1).clamp(min=0)
    ordered = torch.where(mask[..., None], z, BIG).sort(dim=1).values
    place = last.to(z.dtype) * torch.tensor(quantiles, dtype=z.dtype, device=z.device)
    low = place.floor()
    index = torch.cat([low.long(), torch.minimum(low.long() + 1, last)], 1)
    below, above = ordered.gather(1, index[..., None].expand(-1, -1, z.shape[2])).chunk(2, dim=1)
    found = below + (above - below) * (place - low)[..., None]
    return torch.where(mask.any(1)[:, None], found.flatten(1), 0.0)


def masked_slope(z: Tensor, mask: Tensor) -> Tensor:
    """Least-squares slope of ``z`` ``(b, t, d)`` over the shown frames, in units a whole length."""
    m = mask.to(z.dtype)
    n = m.sum(1, keepdim=True)
    place = (m.cumsum(1) - 1) / (n - 1).clamp(min=1) * 2 - 1
    place = place - (place * m).sum(1, keepdim=True) / n.clamp(min=1)
    place = place * m
    centred = z - masked_mean(z, mask)[:, None]
    return _summed(place, centred) / (place**2).sum(1, keepdim=True).clamp(min=1e-3) * 2


def _summed(weights: Tensor, z: Tensor) -> Tensor:
    """``weights (b, t)`` and ``z (b, t, d)`` -> ``(b, d)``, as a product of matrices."""
    return (weights[:, None] @ z)[:, 0]
