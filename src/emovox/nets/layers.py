"""Layers that nets on frames share, each of which passes over the frames that a clip does not have.

Shapes are ``(b, t, d)``: batch, frames, channels; a mask is a boolean ``(b, t)``. Between layers, frames that
are hidden are zero, which is what a convolution hears beyond the end of a clip that stands alone. So a clip
says the same alone and in a batch of longer ones.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from emovox.nets.blocks import BIG, masked_mean, masked_moments

__all__ = [
    "POOLINGS",
    "Convolution",
    "MaskedNorm",
    "Norm",
    "Pool",
    "Pooling",
    "Recurrent",
    "Standardiser",
    "existing",
    "hidden_as_zero",
    "n_pooled",
    "reversed_in_time",
]

Pooling = Literal["mean", "statistics", "attention", "last"]
POOLINGS: tuple[str, ...] = ("mean", "statistics", "attention", "last")
Norm = Literal["batch", "none"]


def existing(z: Tensor, n_frames: Tensor) -> Tensor:
    """Mask ``(b, t)`` of the first ``n_frames (b,)`` of ``z (b, t, ...)``.

    It counts along ``z`` itself: of a range up to a halved length the exporter makes one of another length.
    """
    flat = z.flatten(2)[..., 0] if z.dim() > 2 else z
    return torch.ones_like(flat, dtype=torch.float32).cumsum(1) <= n_frames[:, None]


def hidden_as_zero(z: Tensor, mask: Tensor) -> Tensor:
    """``z (b, t, d)`` with zeros where ``mask`` hides."""
    return z * mask[..., None].to(z.dtype)


def n_pooled(n_frames: Tensor, stride: int) -> Tensor:
    """How many frames are left of ``n_frames (b,)`` by a stride: the last may cover fewer."""
    return torch.div(n_frames + stride - 1, stride, rounding_mode="floor")


class Standardiser(nn.Module):
    """Columns as standard deviations from their mean in the training; missing ones are the mean.

    Learnt by `fit`, once, from training frames alone; it is part of the net, hence of the graph.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_in: int, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(n_in))
        self.register_buffer("scale", torch.ones(n_in))

    def set(self, mean: Tensor, deviation: Tensor) -> None:
        """Take the statistics ``(d,)`` of the training."""
        self.mean.copy_(mean)
        self.scale.copy_(1 / deviation)

    def forward(self, features: Tensor) -> Tensor:
        z = ((features - self.mean) * self.scale).clamp(-self.clip, self.clip)
        return torch.where(torch.isnan(z), 0.0, z)


class MaskedNorm(nn.Module):
    """Batch normalisation whose statistics are those of the frames that exist; last axis = channels."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_channels)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        """``z (b, t, ..., d)``."""
        if not self.training:  # a map of each frame by itself
            scale = self.norm.weight * torch.rsqrt(self._buffer("running_var") + self.norm.eps)
            return (z - self._buffer("running_mean")) * scale + self.norm.bias
        rows = z[mask]
        out = torch.zeros_like(z)
        out[mask] = self.norm(rows.reshape(-1, z.shape[-1])).reshape(rows.shape).to(z.dtype)
        return out

    def _buffer(self, name: str) -> Tensor:
        buffer: Tensor = getattr(self.norm, name)
        return buffer


class Convolution(nn.Module):
    """Along time, of an odd kernel: convolution, norm, activation, dropout, pooling by ``stride``."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        norm: Norm = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = stride
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv1d(n_in, n_out, kernel, padding=padding, dilation=dilation, groups=groups)
        self.norm = MaskedNorm(n_out) if norm == "batch" else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        """``z (b, t, n_in)``, ``n_frames (b,)`` -> ``(b, ceil(t / stride), n_out)`` and the counts left."""
        mask = existing(z, n_frames)
        z = self.conv(hidden_as_zero(z, mask).transpose(1, 2)).transpose(1, 2)
        if self.norm is not None:
            z = self.norm(z, mask)
        z = self.dropout(nn.functional.silu(z))
        if self.stride == 1:
            return hidden_as_zero(z, mask), n_frames
        z = z.masked_fill(~mask[..., None], -BIG).transpose(1, 2)
        z = nn.functional.pad(z, (0, self.stride - 1), value=-BIG)[:, :, None]
        z = nn.functional.max_pool2d(z, (1, self.stride))[:, :, 0].transpose(1, 2)  # 1d is not exported
        n_frames = n_pooled(n_frames, self.stride)
        return torch.where(existing(z, n_frames)[..., None], z, 0.0), n_frames


def reversed_in_time(z: Tensor, n_frames: Tensor) -> Tensor:
    """The frames that exist in reverse, so that each clip begins at its own end; ``(b, t, d)``."""
    passed = torch.ones_like(z[..., 0], dtype=torch.float32).cumsum(1).long()  # see `existing`
    place = (n_frames[:, None] - passed).clamp(min=0)
    return z.gather(1, place[..., None].expand(-1, -1, z.shape[2]))


class Recurrent(nn.Module):
    """LSTM or GRU in layers; both ways, the second from each clip's own end.

    Not ``bidirectional=True`` over packed sequences, which no exporter takes: two one-way layers instead.
    """

    def __init__(
        self,
        cell: Literal["lstm", "gru"],
        n_in: int,
        hidden: int,
        n_layers: int,
        *,
        both: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM if cell == "lstm" else nn.GRU
        self.n_out = hidden * (2 if both else 1)
        sizes = [n_in, *[self.n_out] * (n_layers - 1)]
        self.forwards = nn.ModuleList(kind(size, hidden, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(kind(size, hidden, batch_first=True) for size in sizes if both)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor, n_frames: Tensor) -> Tensor:
        """``(b, t, n_in)`` -> ``(b, t, n_out)``, zero where a clip has no frame."""
        mask = existing(z, n_frames)
        for n, forwards in enumerate(self.forwards):
            z = self.dropout(z) if n else z
            ways = [_walked(forwards, z)]
            if len(self.backwards):
                back = _walked(self.backwards[n], reversed_in_time(z, n_frames))
                ways.append(reversed_in_time(back, n_frames))
            z = hidden_as_zero(torch.cat(ways, 2), mask)
        return z


def _walked(cell: nn.Module, z: Tensor) -> Tensor:
    """``z (b, t, n_in)`` through one layer of LSTM or GRU: ``(b, t, hidden)``."""
    assert isinstance(cell, nn.LSTM | nn.GRU)
    if not torch.compiler.is_exporting():
        walked: Tensor = cell(z)[0]
        return walked
    # Traced, it would be unrolled, for one length: one node of ONNX instead, whose gates stand otherwise.
    kind, order = ("LSTM", (0, 3, 1, 2)) if isinstance(cell, nn.LSTM) else ("GRU", (1, 0, 2))
    parts = [cell.get_parameter(f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    by_gate = [part.reshape(len(order), cell.hidden_size, -1)[list(order)] for part in parts]
    weights = [gates.reshape(part.shape) for gates, part in zip(by_gate, parts, strict=True)]
    settings: dict[str, Any] = {"hidden_size": cell.hidden_size}
    if kind == "GRU":
        settings["linear_before_reset"] = 1
    out: Tensor = torch.onnx.ops.symbolic(
        kind,
        [z.transpose(0, 1), weights[0][None], weights[1][None], torch.cat(weights[2:])[None]],
        settings,
        dtype=z.dtype,
        shape=[z.shape[1], 1, z.shape[0], cell.hidden_size],
        version=14,
    )
    return out[:, 0].transpose(0, 1)


class Pool(nn.Module):
    """Frames ``(b, t, d)`` -> one row ``(b, n_out)``.

    ``statistics``: mean and deviation (Snyder et al., 2018); ``attention``: a mean weighted by what each
    frame is worth (Bahdanau et al., 2015; for emotion Mirsamadi et al., 2017); ``last``: the last frame.
    """

    def __init__(self, n_in: int, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.n_out = n_in * (2 if pooling == "statistics" else 1)
        self.worth = nn.Linear(n_in, 1) if pooling == "attention" else None

    def forward(self, z: Tensor, n_frames: Tensor) -> Tensor:
        mask = existing(z, n_frames)
        if self.worth is not None:
            worth = self.worth(z)[..., 0].masked_fill(~mask, -BIG).softmax(1)
            weighted: Tensor = z * worth[..., None]
            return weighted.sum(1)
        if self.pooling == "last":
            last = (n_frames - 1).clamp(min=0)[:, None, None].expand(-1, 1, z.shape[2])
            return z.gather(1, last)[:, 0]
        if self.pooling == "mean":
            return masked_mean(z, mask)
        mean, deviation, _ = masked_moments(z, mask)
        return torch.cat([mean, deviation], 1)
