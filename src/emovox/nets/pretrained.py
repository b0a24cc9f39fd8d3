"""Pretrained encoders of waveforms on padded batches: a clip says the same alone and among longer ones.

The weights and the blocks are transformers' (wav2vec2, HuBERT, WavLM, data2vec-audio); the order in which
they are called is ours, for theirs hears the padding in three places: in the group norm over time, in
data2vec's chain of positional convolutions, and in the batch norm before HuBERT's. Whole layers are never
dropped in training, nor are frames masked. The convolutions that make frames of samples are never taught.

Sources: Baevski et al., 2020 (wav2vec 2.0); Hsu et al., 2021 (HuBERT); Chen et al., 2022 (WavLM); Baevski et
al., 2022 (data2vec).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from emovox.nets.layers import LARGE, apply_mask, frame_mask

__all__ = ["RelativeAttention", "WaveEncoder", "group_normed", "standardised"]


class WaveEncoder(nn.Module):
    """``waveform (b, n)``, ``lengths (b,)`` -> every layer ``(b, t, d)``, and frames ``(b,)`` that exist.

    Layer 0 is what enters the transformer, the last what leaves it, normalised where the encoder does so.

    Args:
        model: a model of transformers, whose parts become this module's.
        normalise: whether it wants sound of mean 0 and deviation 1.
    """

    hears: int | None = None
    """How many samples it takes at most."""

    def __init__(self, model: Any, *, normalise: bool) -> None:
        super().__init__()
        body, config = model.encoder, model.config
        self.normalise = normalise
        self.size = int(config.hidden_size)
        self.convolutions: nn.ModuleList = model.feature_extractor.conv_layers
        self.project: nn.Module = model.feature_projection
        self.positions: nn.Module = body.pos_conv_embed
        self.norm: nn.Module = body.layer_norm
        self.dropout: nn.Module = body.dropout
        self.layers: nn.ModuleList = body.layers
        self.is_normed_last = bool(getattr(config, "do_stable_layer_norm", False))
        self.is_relative = config.model_type == "wavlm"
        if self.is_relative:
            for layer in self.layers:
                layer.attention = RelativeAttention(layer.attention)
        for convolution in _convolutions(self.positions):
            if parametrize.is_parametrized(convolution):  # the weight itself is taught, and exported
                parametrize.remove_parametrizations(convolution, "weight")
        self.before: nn.Module | None = getattr(self.positions, "batch_norm", None)
        if self.before is not None:  # see `_placed`
            self.positions.batch_norm = None
        self.kernels = tuple(int(size) for size in config.conv_kernel)
        self.strides = tuple(int(hop) for hop in config.conv_stride)

    @property
    def field(self) -> int:
        """Samples of which a frame is made."""
        hops = [prod(self.strides[:i]) for i in range(len(self.kernels))]
        return 1 + sum((kernel - 1) * hop for kernel, hop in zip(self.kernels, hops, strict=True))

    def untaught(self) -> Iterable[nn.Module]:
        """Parts whose weights stay as they are in any case."""
        return (self.convolutions, *(() if self.before is None else (self.before,)))

    def last(self) -> Iterable[nn.Module]:
        """What comes after the last block."""
        return (self.norm,) if self.is_normed_last else ()

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        z, n_frames = self._frames(waveform, lengths)
        projected = self.project(z)
        z = projected[0] if isinstance(projected, tuple) else projected
        mask = frame_mask(z, n_frames)
        z = apply_mask(z, mask)
        z = z + self._placed(z, mask)
        z = self.dropout(z if self.is_normed_last else self.norm(z))
        found, bias, seen = [z], None, mask[:, None, None]
        for layer in self.layers:
            if self.is_relative:
                z, bias = layer(z, attention_mask=seen, position_bias=bias)
            else:
                out = layer(z, attention_mask=seen)
                z = out[0] if isinstance(out, tuple) else out  # as the version of transformers has it
            found.append(z)
        if self.is_normed_last:
            found[-1] = self.norm(z)
        return found, n_frames

    def _frames(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``(b, t, c)``, one frame at least: what is shorter than one ends in silence."""
        x = nn.functional.pad(waveform, (0, self.field))
        mask = frame_mask(x, lengths)
        x = (standardised(x, mask) if self.normalise else torch.where(mask, x, 0.0))[:, None]
        n_frames = lengths.clamp(min=self.field)
        steps: list[Any] = list(self.convolutions)
        for step, kernel, stride in zip(steps, self.kernels, self.strides, strict=True):
            n_frames = torch.div(n_frames - kernel, stride, rounding_mode="floor") + 1
            norm = getattr(step, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                x = step.activation(group_normed(step.conv(x), n_frames, norm))
            else:
                x = step(x)
        return x.transpose(1, 2), n_frames

    def _placed(self, z: Tensor, mask: Tensor) -> Tensor:
        """What the convolutions say of the frames' places; each hears zeros after a clip's end."""
        chain = getattr(self.positions, "layers", None)
        if chain is not None:
            for layer in chain:
                z = layer(apply_mask(z, mask).transpose(1, 2)).transpose(1, 2)
            return z
        if self.before is not None:
            z = apply_mask(self.before(z.transpose(1, 2)).transpose(1, 2), mask)
        placed: Tensor = self.positions(z)
        return placed


def _convolutions(positions: nn.Module) -> list[nn.Module]:
    return [module for module in positions.modules() if isinstance(module, nn.Conv1d)]


def standardised(x: Tensor, mask: Tensor) -> Tensor:
    """Samples ``(b, n)`` with the mean 0 and the deviation 1 of those that exist; zero elsewhere."""
    n = mask.to(x.dtype).sum(1, keepdim=True).clamp(min=1)
    x = torch.where(mask, x, 0.0)
    centred = torch.where(mask, x - x.sum(1, keepdim=True) / n, 0.0)
    return centred / ((centred**2).sum(1, keepdim=True) / n + 1e-7).sqrt()


def group_normed(x: Tensor, n_frames: Tensor, norm: nn.GroupNorm) -> Tensor:
    """``x (b, c, t)``, each channel by the mean and deviation of its ``n_frames (b,)`` first frames."""
    mask = frame_mask(x.transpose(1, 2), n_frames)[:, None]
    n = n_frames[:, None, None].to(x.dtype)
    mean = torch.where(mask, x, 0.0).sum(2, keepdim=True) / n
    variance = torch.where(mask, (x - mean) ** 2, 0.0).sum(2, keepdim=True) / n
    return (x - mean) * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]


class RelativeAttention(nn.Module):
    """WavLM's attention, whose bias by distance each frame gates (Chen et al., 2022, after Chi et al., 2021).

    transformers' own hands the weights of its layers to one function of torch: adapters on these layers
    would not be heard.
    """

    buckets: Tensor

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.n_heads, self.dropout = int(attention.num_heads), float(attention.dropout)
        self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
        self.v_proj, self.out_proj = attention.v_proj, attention.out_proj
        self.gru_rel_pos_linear = attention.gru_rel_pos_linear
        self.gru_rel_pos_const = attention.gru_rel_pos_const
        self.rel_attn_embed = getattr(attention, "rel_attn_embed", None)  # the first layer's serves all
        self.furthest = int(attention.max_distance)
        distances = torch.arange(-self.furthest, self.furthest + 1)
        buckets = attention._relative_positions_bucket(distances)
        self.register_buffer("buckets", buckets, persistent=False)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, position_bias: Tensor | None, index: int = 0
    ) -> tuple[Tensor, None, Tensor]:
        """``(b, t, d)``, mask ``(b, 1, 1, t)`` and the bias ``(h, t, t)`` -> ``(b, t, d)`` and the bias."""
        z = hidden_states
        if position_bias is None:
            position_bias = self.bias(z)
        shape = (*z.shape[:2], self.n_heads, -1)
        parts = self.gru_rel_pos_linear(z.reshape(shape).transpose(1, 2))
        first, second = (part.sum(-1, keepdim=True).sigmoid() for part in parts.chunk(2, -1))
        gate = first * (second * self.gru_rel_pos_const - 1) + 2
        q, k, v = (
            project(z).reshape(shape).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = (gate * position_bias[None]).masked_fill(~attention_mask, -LARGE).to(q.dtype)
        dropout = self.dropout if self.training else 0.0
        heard = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(heard.transpose(1, 2).flatten(2)), None, position_bias

    def bias(self, z: Tensor) -> Tensor:
        """``(h, t, t)``: what each head adds for the distance between two frames of ``z (b, t, d)``."""
        assert self.rel_attn_embed is not None
        place = torch.ones_like(z[0, :, 0], dtype=torch.float32).cumsum(0)  # see `frame_mask`
        distance = (place[None] - place[:, None]).clamp(-self.furthest, self.furthest).long()
        bias: Tensor = self.rel_attn_embed(self.buckets[distance + self.furthest]).permute(2, 0, 1)
        return bias
