"""Masked statistics and layers that the nets share.

Shapes are ``(b, t, d)``: batch, frames, channels. A mask is a boolean ``(b, t)`` of the frames that exist.
Every layer leaves out the padding, so that a clip has the same output alone and in a batch of longer ones:
statistics count existing frames only, and masked frames are zero between layers, which is what a convolution
finds beyond the end of a clip that is alone.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

__all__ = [
    "LARGE",
    "POOLINGS",
    "Convolution",
    "MaskedBatchNorm",
    "Pooling",
    "PoolingName",
    "Recurrent",
    "Standardizer",
    "apply_mask",
    "count_frames",
    "frame_mask",
    "masked_max",
    "masked_mean",
    "masked_moments",
    "masked_quantiles",
    "masked_slope",
    "pool_length",
    "reverse_frames",
]

LARGE = 1e9
"""Stands for infinity, which some graph runtimes multiply by zero to nan."""

PoolingName = Literal["mean", "statistics", "attention", "last"]
POOLINGS: tuple[str, ...] = ("mean", "statistics", "attention", "last")


# --- masks and masked statistics --------------------------------------------------------------------


def frame_mask(z: Tensor, n_frames: Tensor) -> Tensor:
    """Return the mask ``(b, t)`` of the first ``n_frames (b,)`` frames of ``z (b, t, ...)``."""
    # Counted along z itself: the exporter would give a range up to a halved length another dimension.
    flat = z.flatten(2)[..., 0] if z.dim() > 2 else z
    return torch.ones_like(flat, dtype=torch.float32).cumsum(1) <= n_frames[:, None]


def count_frames(features: Tensor, n_frames: Tensor) -> Tensor:
    """Return how many of the first ``n_frames (b,)`` frames of ``features (b, t, d)`` precede a constant end.

    Sets that pad recordings to one length give many equal frames after the sound. Over them a recurrent net
    forgets, and a mean is diluted. One of them is kept.
    """
    values = torch.nan_to_num(features)
    before = torch.cat([values[:, :1], values[:, :-1]], 1)
    position = torch.ones_like(values[..., 0]).cumsum(1)  # see `frame_mask`
    changes = ((values - before).abs().amax(2) > 0).to(values.dtype) * (position <= n_frames[:, None])
    return torch.minimum(n_frames, (position * changes).amax(1).clamp(min=1).to(n_frames.dtype))


def apply_mask(z: Tensor, mask: Tensor) -> Tensor:
    """Return ``z (b, t, d)`` with zeros outside ``mask``."""
    return z * mask[..., None].to(z.dtype)


def pool_length(n_frames: Tensor, stride: int) -> Tensor:
    """Return how many of ``n_frames (b,)`` are left by pooling with ``stride``; the last may cover fewer."""
    return torch.div(n_frames + stride - 1, stride, rounding_mode="floor")


def masked_mean(z: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the masked-in frames of ``z (b, t, d)``; 0 where there are none."""
    m = mask.to(z.dtype)
    return _sum_weighted(m, z) / m.sum(1, keepdim=True).clamp(min=1)


def masked_max(z: Tensor, mask: Tensor) -> Tensor:
    """Return the maximum over the masked-in frames of ``z (b, t)``."""
    return z.masked_fill(~mask, -LARGE).amax(1)


def masked_moments(z: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, standard deviation and skewness of ``z (b, t, d)``, each ``(b, d)``."""
    mean = masked_mean(z, mask)
    centred = z - mean[:, None]
    std = masked_mean(centred**2, mask).clamp(min=1e-10).sqrt()
    skew = masked_mean(centred**3, mask) / (std + 1e-3) ** 3
    return mean, std, skew


def masked_quantiles(z: Tensor, mask: Tensor, quantiles: tuple[float, ...]) -> Tensor:
    """Return quantiles ``(b, q * d)`` of ``z (b, t, d)``, interpolated linearly as by numpy."""
    last = (mask.sum(1, keepdim=True) - 1).clamp(min=0)
    ordered = torch.where(mask[..., None], z, LARGE).sort(dim=1).values
    position = last.to(z.dtype) * torch.tensor(quantiles, dtype=z.dtype, device=z.device)
    low = position.floor()
    index = torch.cat([low.long(), torch.minimum(low.long() + 1, last)], 1)
    below, above = ordered.gather(1, index[..., None].expand(-1, -1, z.shape[2])).chunk(2, dim=1)
    values = below + (above - below) * (position - low)[..., None]
    return torch.where(mask.any(1)[:, None], values.flatten(1), 0.0)


def masked_slope(z: Tensor, mask: Tensor) -> Tensor:
    """Return the least-squares slope of ``z (b, t, d)`` over the masked-in frames, per whole length."""
    m = mask.to(z.dtype)
    n = m.sum(1, keepdim=True)
    position = (m.cumsum(1) - 1) / (n - 1).clamp(min=1) * 2 - 1
    position = position - (position * m).sum(1, keepdim=True) / n.clamp(min=1)
    position = position * m
    centred = z - masked_mean(z, mask)[:, None]
    return _sum_weighted(position, centred) / (position**2).sum(1, keepdim=True).clamp(min=1e-3) * 2


def _sum_weighted(weights: Tensor, z: Tensor) -> Tensor:
    """``weights (b, t)`` and ``z (b, t, d)`` -> ``(b, d)``, as a product of matrices."""
    return (weights[:, None] @ z)[:, 0]


# --- layers -----------------------------------------------------------------------------------------


class Standardizer(nn.Module):
    """Scale columns by mean and deviation of the training; a missing value (nan) becomes the mean.

    Its statistics are fitted on training clips alone and are part of the net, hence of the graph.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_in: int, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(n_in))
        self.register_buffer("scale", torch.ones(n_in))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Take mean and deviation ``(d,)`` of the training's frames."""
        self.mean.copy_(mean)
        self.scale.copy_(1 / deviation)

    def forward(self, features: Tensor) -> Tensor:
        z = ((features - self.mean) * self.scale).clamp(-self.clip, self.clip)
        return torch.where(torch.isnan(z), 0.0, z)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation of ``z (b, t, ..., d)`` whose statistics leave out the padding."""

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_channels)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        if not self.training:  # each frame by itself: no need to gather the existing ones
            mean, variance = self.norm.get_buffer("running_mean"), self.norm.get_buffer("running_var")
            return (z - mean) * (self.norm.weight * torch.rsqrt(variance + self.norm.eps)) + self.norm.bias
        rows = z[mask]
        out = torch.zeros_like(z)
        out[mask] = self.norm(rows.reshape(-1, z.shape[-1])).reshape(rows.shape).to(z.dtype)
        return out


class Convolution(nn.Module):
    """Convolution over time with an odd kernel, batch norm, SiLU, dropout and max pooling by ``stride``.

    ``z (b, t, n_in)``, ``n_frames (b,)`` -> ``(b, ceil(t / stride), n_out)`` and the frames that are left.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stride = stride
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv1d(n_in, n_out, kernel, padding=padding, dilation=dilation, groups=groups)
        self.norm = MaskedBatchNorm(n_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        mask = frame_mask(z, n_frames)
        z = self.conv(apply_mask(z, mask).transpose(1, 2)).transpose(1, 2)
        z = self.dropout(nn.functional.silu(self.norm(z, mask)))
        if self.stride == 1:
            return apply_mask(z, mask), n_frames
        z = z.masked_fill(~mask[..., None], -LARGE).transpose(1, 2)
        z = nn.functional.pad(z, (0, self.stride - 1), value=-LARGE)[:, :, None]
        # In two dimensions, since the exporter does not take max_pool1d.
        z = nn.functional.max_pool2d(z, (1, self.stride))[:, :, 0].transpose(1, 2)
        n_frames = pool_length(n_frames, self.stride)
        return torch.where(frame_mask(z, n_frames)[..., None], z, 0.0), n_frames


class Recurrent(nn.Module):
    """Layers of LSTM or GRU: ``z (b, t, n_in)`` -> ``(b, t, n_out)``, zero outside the clip.

    No exporter takes ``bidirectional=True`` over packed sequences. Each direction is a layer of its own here;
    the backward one begins at the clip's own end.
    """

    def __init__(
        self,
        cell: Literal["lstm", "gru"],
        n_in: int,
        hidden: int,
        n_layers: int,
        *,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        kind: type[nn.LSTM] | type[nn.GRU] = nn.LSTM if cell == "lstm" else nn.GRU
        self.n_out = hidden * (2 if bidirectional else 1)
        sizes = [n_in, *[self.n_out] * (n_layers - 1)]
        self.forwards = nn.ModuleList(kind(size, hidden, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(
            kind(size, hidden, batch_first=True) for size in sizes if bidirectional
        )
        self.dropout = nn.Dropout(dropout)
        for layer in (*self.forwards, *self.backwards):
            _init_recurrent(layer)

    def forward(self, z: Tensor, n_frames: Tensor) -> Tensor:
        mask = frame_mask(z, n_frames)
        for i, forwards in enumerate(self.forwards):
            z = self.dropout(z) if i else z
            outputs = [_run_cell(forwards, z)]
            if len(self.backwards):
                reverse = _run_cell(self.backwards[i], reverse_frames(z, n_frames))
                outputs.append(reverse_frames(reverse, n_frames))
            z = apply_mask(torch.cat(outputs, 2), mask)
        return z


@torch.no_grad()
def _init_recurrent(layer: nn.Module) -> None:
    """Initialise as Keras does: orthogonal recurrent weights, and forget gates that begin open.

    With PyTorch's own uniform weights a state fades within a few frames, so that over hundreds of them little
    is learnt (Jozefowicz et al., 2015).
    """
    for name, weight in layer.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(weight)
            continue
        for gate in weight.chunk(4 if isinstance(layer, nn.LSTM) else 3):
            (nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_)(gate)
    if isinstance(layer, nn.LSTM):
        layer.get_parameter("bias_ih_l0")[layer.hidden_size : 2 * layer.hidden_size] = 1.0


def reverse_frames(z: Tensor, n_frames: Tensor) -> Tensor:
    """Reverse the first ``n_frames (b,)`` frames of ``z (b, t, d)``, each clip by itself."""
    number = torch.ones_like(z[..., 0], dtype=torch.float32).cumsum(1).long()  # see `frame_mask`
    source = (n_frames[:, None] - number).clamp(min=0)
    return z.gather(1, source[..., None].expand(-1, -1, z.shape[2]))


def _run_cell(cell: nn.Module, z: Tensor) -> Tensor:
    """Run one layer of LSTM or GRU over ``z (b, t, n_in)``."""
    assert isinstance(cell, nn.LSTM | nn.GRU)
    if not torch.compiler.is_exporting():
        states: Tensor = cell(z)[0]
        return states
    # The tracer would unroll it for one length. Written as ONNX's own node, which orders the gates otherwise.
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


class Pooling(nn.Module):
    """Frames ``(b, t, d)`` -> one row ``(b, n_out)``.

    ``statistics`` is mean and deviation (Snyder et al., 2018); ``attention`` a learnt weighted mean (Bahdanau
    et al., 2015; for emotion Mirsamadi et al., 2017); ``last`` the last frame.
    """

    def __init__(self, n_in: int, pooling: PoolingName) -> None:
        super().__init__()
        self.pooling = pooling
        self.n_out = n_in * (2 if pooling == "statistics" else 1)
        self.attention = nn.Linear(n_in, 1) if pooling == "attention" else None

    def forward(self, z: Tensor, n_frames: Tensor) -> Tensor:
        mask = frame_mask(z, n_frames)
        if self.attention is not None:
            weights = self.attention(z)[..., 0].masked_fill(~mask, -LARGE).softmax(1)
            weighted: Tensor = z * weights[..., None]
            return weighted.sum(1)
        if self.pooling == "last":
            last = (n_frames - 1).clamp(min=0)[:, None, None].expand(-1, 1, z.shape[2])
            return z.gather(1, last)[:, 0]
        if self.pooling == "mean":
            return masked_mean(z, mask)
        mean, deviation, _ = masked_moments(z, mask)
        return torch.cat([mean, deviation], 1)
