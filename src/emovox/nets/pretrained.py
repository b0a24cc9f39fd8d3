"""Pretrained encoders of waveforms on padded batches: a clip has the same states alone and among longer ones.

The weights and blocks are those of transformers (wav2vec2, HuBERT, WavLM, data2vec-audio). They are called
from here, since transformers' own forward pass depends on the padding in three places: the group norm over
time, the chain of positional convolutions of data2vec, and the batch norm before those of HuBERT. Layers
are never dropped in training, frames are not masked, and the convolutions from samples to frames are never
trained.

Sources: Baevski et al., 2020 (wav2vec 2.0); Hsu et al., 2021 (HuBERT); Chen et al., 2022 (WavLM); Baevski et
al., 2022 (data2vec).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from emovox.errors import ConfigError
from emovox.nets.checkpoints import is_whisper, load_transformers_encoder
from emovox.nets.layers import LARGE, apply_mask, frame_mask
from emovox.nets.whisper import Level, WhisperEncoder, load_encoder

__all__ = ["RelativeAttention", "WaveEncoder", "load_pretrained", "normalize_groups", "normalize_samples"]


def load_pretrained(
    path: Path, *, n_layers: int | None = None, level: Level = "peak"
) -> WaveEncoder | WhisperEncoder:
    """Load a pretrained encoder: ``waveform (b, n)``, ``lengths (b,)`` -> states of every layer, and their
    mask.

    Args:
        path: what `emovox.nets.checkpoints.find_checkpoint` returned.
        n_layers: blocks to keep, from the first; all by default.
        level: how a Whisper's input is scaled, see `emovox.nets.whisper.WhisperConfig`.

    Raises:
        ConfigError: the checkpoint cannot be read, or has fewer blocks.
        MissingExtraError: the extra ``ssl`` is not installed.
    """
    if is_whisper(path):
        return load_encoder(path, n_layers=n_layers, level=level)
    model, preprocessor = load_transformers_encoder(path)
    return WaveEncoder(model, normalize=bool(preprocessor.do_normalize), n_layers=n_layers)


class WaveEncoder(nn.Module):
    """``waveform (b, n)``, ``lengths (b,)`` -> states ``(b, t, d)`` of every layer, and their mask ``(b,
    t)``.

    Layer 0 is the input of the transformer, layer i the output of its i-th block; the last is normalised
    where the encoder has a final normalisation.

    Args:
        model: a model of transformers, whose parts become this module's.
        normalize: whether it takes sound of mean 0 and deviation 1.
        n_layers: blocks to keep; all by default.

    Raises:
        ConfigError: it has fewer blocks.
    """

    max_samples: int | None = None

    def __init__(self, model: Any, *, normalize: bool, n_layers: int | None = None) -> None:
        super().__init__()
        body, config = model.encoder, model.config
        depth = len(body.layers)
        if n_layers is not None and not 0 <= n_layers <= depth:
            raise ConfigError(f"n_layers is {n_layers}; the checkpoint has {depth} layers")
        self.normalize = normalize
        self.size = int(config.hidden_size)
        self.convolutions: nn.ModuleList = model.feature_extractor.conv_layers
        self.projection: nn.Module = model.feature_projection
        self.positions: nn.Module = body.pos_conv_embed
        self.norm: nn.Module = body.layer_norm
        self.dropout: nn.Module = body.dropout
        self.layers: nn.ModuleList = body.layers[:n_layers]
        self.is_pre_norm = bool(getattr(config, "do_stable_layer_norm", False))
        self.has_final_norm = self.is_pre_norm and len(self.layers) == depth
        self.is_relative = config.model_type == "wavlm"
        if self.is_relative:
            for layer in self.layers:
                layer.attention = RelativeAttention(layer.attention)
        for module in self.positions.modules():
            if isinstance(module, nn.Conv1d) and parametrize.is_parametrized(module):
                parametrize.remove_parametrizations(
                    module, "weight"
                )  # the weight itself is trained and exported
        self.position_norm: nn.Module | None = getattr(self.positions, "batch_norm", None)
        if self.position_norm is not None:  # applied in `_encode_positions`, which masks its output
            self.positions.batch_norm = None
        self.kernels = tuple(int(size) for size in config.conv_kernel)
        self.strides = tuple(int(hop) for hop in config.conv_stride)

    @property
    def receptive_field(self) -> int:
        """Samples of a frame."""
        hops = [prod(self.strides[:i]) for i in range(len(self.kernels))]
        return 1 + sum((kernel - 1) * hop for kernel, hop in zip(self.kernels, hops, strict=True))

    def frozen_modules(self) -> Iterable[nn.Module]:
        """Return the parts that are never trained."""
        return (self.convolutions, *(() if self.position_norm is None else (self.position_norm,)))

    def final_modules(self) -> Iterable[nn.Module]:
        """Return the parts after the last block."""
        return (self.norm,) if self.has_final_norm else ()

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        z, n_frames = self._extract_frames(waveform, lengths)
        projected = self.projection(z)
        z = projected[0] if isinstance(projected, tuple) else projected
        mask = frame_mask(z, n_frames)
        z = apply_mask(z, mask)
        z = z + self._encode_positions(z, mask)
        z = self.dropout(z if self.is_pre_norm else self.norm(z))
        states, bias, attention_mask = [z], None, mask[:, None, None]
        for layer in self.layers:
            if self.is_relative:
                z, bias = layer(z, attention_mask=attention_mask, position_bias=bias)
            else:
                out = layer(z, attention_mask=attention_mask)
                z = out[0] if isinstance(out, tuple) else out  # depends on the version of transformers
            states.append(z)
        if self.has_final_norm:
            states[-1] = self.norm(z)
        return states, mask

    def _extract_frames(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``(b, t, c)``, one frame at least: shorter clips are padded with silence."""
        x = nn.functional.pad(waveform, (0, self.receptive_field))
        mask = frame_mask(x, lengths)
        x = (normalize_samples(x, mask) if self.normalize else torch.where(mask, x, 0.0))[:, None]
        n_frames = lengths.clamp(min=self.receptive_field)
        steps: list[Any] = list(self.convolutions)
        for step, kernel, stride in zip(steps, self.kernels, self.strides, strict=True):
            n_frames = torch.div(n_frames - kernel, stride, rounding_mode="floor") + 1
            norm = getattr(step, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                x = step.activation(normalize_groups(step.conv(x), n_frames, norm))
            else:
                x = step(x)
        return x.transpose(1, 2), n_frames

    def _encode_positions(self, z: Tensor, mask: Tensor) -> Tensor:
        """Positional convolutions, each with zeros beyond the end of a clip."""
        chain = getattr(self.positions, "layers", None)
        if chain is not None:
            for layer in chain:
                z = layer(apply_mask(z, mask).transpose(1, 2)).transpose(1, 2)
            return z
        if self.position_norm is not None:
            z = apply_mask(self.position_norm(z.transpose(1, 2)).transpose(1, 2), mask)
        encoded: Tensor = self.positions(z)
        return encoded


def normalize_samples(x: Tensor, mask: Tensor) -> Tensor:
    """Scale samples ``(b, n)`` to mean 0 and deviation 1 over those in the mask; zero elsewhere."""
    n = mask.to(x.dtype).sum(1, keepdim=True).clamp(min=1)
    x = torch.where(mask, x, 0.0)
    centred = torch.where(mask, x - x.sum(1, keepdim=True) / n, 0.0)
    return centred / ((centred**2).sum(1, keepdim=True) / n + 1e-7).sqrt()


def normalize_groups(x: Tensor, n_frames: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Group norm of ``x (b, c, t)`` with one channel per group, over the first ``n_frames (b,)`` frames."""
    mask = frame_mask(x.transpose(1, 2), n_frames)[:, None]
    n = n_frames[:, None, None].to(x.dtype)
    mean = torch.where(mask, x, 0.0).sum(2, keepdim=True) / n
    variance = torch.where(mask, (x - mean) ** 2, 0.0).sum(2, keepdim=True) / n
    return (x - mean) * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]


class RelativeAttention(nn.Module):
    """Attention of WavLM with a gated bias by distance (Chen et al., 2022, after Chi et al., 2021).

    transformers passes the weights of its layers to one function of torch, which would leave out adapters on
    these layers.
    """

    buckets: Tensor

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.n_heads, self.dropout = int(attention.num_heads), float(attention.dropout)
        self.q_proj, self.k_proj = attention.q_proj, attention.k_proj
        self.v_proj, self.out_proj = attention.v_proj, attention.out_proj
        self.gru_rel_pos_linear = attention.gru_rel_pos_linear
        self.gru_rel_pos_const = attention.gru_rel_pos_const
        self.rel_attn_embed = getattr(attention, "rel_attn_embed", None)  # of the first layer, used by all
        self.max_distance = int(attention.max_distance)
        distances = torch.arange(-self.max_distance, self.max_distance + 1)
        buckets = attention._relative_positions_bucket(distances)
        self.register_buffer("buckets", buckets, persistent=False)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor, position_bias: Tensor | None, index: int = 0
    ) -> tuple[Tensor, None, Tensor]:
        """``(b, t, d)``, mask ``(b, 1, 1, t)`` and the bias ``(h, t, t)`` -> ``(b, t, d)`` and the bias."""
        z = hidden_states
        if position_bias is None:
            position_bias = self.compute_bias(z)
        shape = (*z.shape[:2], self.n_heads, -1)
        parts = self.gru_rel_pos_linear(z.reshape(shape).transpose(1, 2))
        first, second = (part.sum(-1, keepdim=True).sigmoid() for part in parts.chunk(2, -1))
        gate = first * (second * self.gru_rel_pos_const - 1) + 2
        q, k, v = (
            project(z).reshape(shape).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = (gate * position_bias[None]).masked_fill(~attention_mask, -LARGE).to(q.dtype)
        dropout = self.dropout if self.training else 0.0
        context = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(context.transpose(1, 2).flatten(2)), None, position_bias

    def compute_bias(self, z: Tensor) -> Tensor:
        """Return the bias ``(h, t, t)`` by the distance between two frames of ``z (b, t, d)``."""
        assert self.rel_attn_embed is not None
        place = torch.ones_like(z[0, :, 0], dtype=torch.float32).cumsum(0)  # see `frame_mask`
        distance = (place[None] - place[:, None]).clamp(-self.max_distance, self.max_distance).long()
        bias: Tensor = self.rel_attn_embed(self.buckets[distance + self.max_distance]).permute(2, 0, 1)
        return bias
