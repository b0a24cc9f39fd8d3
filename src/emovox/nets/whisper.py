"""Whisper's encoder, from the waveform: its log-mel spectrogram inside the graph, then transformers' blocks.

It hears exactly 30 s (`WhisperEncoder.hears`): what is shorter ends in silence, which its blocks see, as they
did when they were taught, and whose frames are not counted. So padding never changes an answer.

Source: Radford et al., 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from emovox.nets.layers import frame_mask

__all__ = ["LogMel", "WhisperEncoder"]


class LogMel(nn.Module):
    """``waveform (b, n)`` of a fixed length -> ``(b, n_mels, n // hop)``, as transformers' extractor has it.

    Args:
        ear: a ``WhisperFeatureExtractor``, for its filters and sizes.
    """

    kernels: Tensor
    filters: Tensor

    def __init__(self, ear: Any) -> None:
        super().__init__()
        self.hop, self.window = int(ear.hop_length), int(ear.n_fft)
        angles = (
            2
            * math.pi
            / self.window
            * torch.outer(torch.arange(self.window // 2 + 1), torch.arange(self.window))
        )
        waves = torch.cat([angles.double().cos(), angles.double().sin()])
        kernels = waves * torch.hann_window(self.window, dtype=torch.float64)
        self.register_buffer("kernels", kernels.float()[:, None], persistent=False)
        self.register_buffer("filters", torch.from_numpy(ear.mel_filters).float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        half = self.window // 2
        x = nn.functional.pad(waveform[:, None], (half, half), mode="reflect")
        real, imaginary = nn.functional.conv1d(x, self.kernels, stride=self.hop)[..., :-1].chunk(2, dim=1)
        mel = (real**2 + imaginary**2).transpose(1, 2) @ self.filters
        levels = mel.clamp(min=1e-10).log10()
        loudest = levels.amax((1, 2), keepdim=True)
        scaled: Tensor = (torch.maximum(levels, loudest - 8) + 4) / 4
        return scaled.transpose(1, 2)


class WhisperEncoder(nn.Module):
    """``waveform (b, n)``, ``lengths (b,)`` -> every layer ``(b, t, d)``, and frames ``(b,)`` that exist.

    What comes after the first 30 s is not heard.

    Args:
        model: the encoder of a Whisper of transformers, whose parts become this module's.
        ear: its ``WhisperFeatureExtractor``.
    """

    def __init__(self, model: Any, ear: Any) -> None:
        super().__init__()
        config = model.config
        self.size = int(config.d_model)
        self.log_mel = LogMel(ear)
        self.stride = self.log_mel.hop * 2
        self.hears = int(config.max_source_positions) * self.stride
        self.convolutions = nn.ModuleList([model.conv1, model.conv2])
        self.positions: nn.Module = model.embed_positions
        self.dropout = nn.Dropout(config.dropout)
        self.layers: nn.ModuleList = model.layers
        self.norm: nn.Module = model.layer_norm

    def untaught(self) -> Iterable[nn.Module]:
        """Parts whose weights stay as they are in any case; the places are sines."""
        return self.convolutions, self.positions

    def last(self) -> Iterable[nn.Module]:
        """What comes after the last block."""
        return (self.norm,)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        z = self.log_mel(self.whole(waveform, lengths))
        for convolution in self.convolutions:
            z = nn.functional.gelu(convolution(z))
        z = self.dropout(z.transpose(1, 2) + self.positions.get_parameter("weight"))
        found = [z]
        for layer in self.layers:
            out = layer(z, None)
            z = out[0] if isinstance(out, tuple) else out  # as the version of transformers has it
            found.append(z)
        found[-1] = self.norm(z)
        n_frames = torch.div(lengths + self.stride - 1, self.stride, rounding_mode="floor")
        return found, n_frames.clamp(1, self.hears // self.stride)

    def whole(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """``(b, hears)``: the clip, then silence."""
        x = torch.where(frame_mask(waveform, lengths), waveform, 0.0)
        silence = torch.zeros_like(x[:, :1]).expand(-1, self.hears)
        return torch.cat([x, silence], 1)[:, : self.hears]
