"""``conformer``: blocks of attention and depthwise convolution (Gulati et al., 2020).

Time is first halved twice. The only positions are those that the depthwise convolutions give, so that clips
of any length are processed alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.base import FrameConfig, FrameNet
from emovox.nets.layers import LARGE, Convolution, apply_mask, frame_mask

__all__ = ["Conformer", "ConformerConfig"]


@dataclass(frozen=True, kw_only=True)
class ConformerConfig(FrameConfig):
    """Settings of ``conformer``."""

    channels: int = 64
    n_heads: int = 4
    n_blocks: int = 2
    kernel: int = 15
    """Frames of the depthwise convolution."""
    expansion: int = 4
    """Width of the feed-forward layers, in channels."""
    dropout: float = 0.1

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "channels": (1, 1e5),
        "n_heads": (1, 1e3),
        "n_blocks": (1, 100),
        "kernel": (1, 999),
        "expansion": (1, 100),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % self.n_heads or self.kernel % 2 == 0:
            raise ConfigError(
                f"channels is {self.channels}, n_heads {self.n_heads}, kernel {self.kernel}; expected "
                "channels that divide by n_heads, and an odd kernel"
            )


class _Attention(nn.Module):
    """Multi-head self-attention over the frames that exist."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        c = config
        self.n_heads = c.n_heads
        self.norm = nn.LayerNorm(c.channels)
        self.qkv = nn.Linear(c.channels, 3 * c.channels)
        self.output = nn.Linear(c.channels, c.channels)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        b, t, d = z.shape
        parts = self.qkv(self.norm(z)).reshape(b, t, 3, self.n_heads, d // self.n_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (b, heads, t, d / heads)
        scores = query @ key.transpose(2, 3) / (d // self.n_heads) ** 0.5
        weights = scores.masked_fill(~mask[:, None, None], -LARGE).softmax(3)
        context = (self.dropout(weights) @ value).transpose(1, 2).reshape(b, t, d)
        out: Tensor = self.dropout(self.output(context))
        return out


class _Block(nn.Module):
    """Half a feed-forward step, attention, convolution, half a feed-forward step, layer norm."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        c = config
        self.feed_forward = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(c.channels),
                nn.Linear(c.channels, c.expansion * c.channels),
                nn.SiLU(),
                nn.Dropout(c.dropout),
                nn.Linear(c.expansion * c.channels, c.channels),
                nn.Dropout(c.dropout),
            )
            for _ in range(2)
        )
        self.attention = _Attention(c)
        self.convolution_norm = nn.LayerNorm(c.channels)
        self.gate = nn.Linear(c.channels, 2 * c.channels)
        self.depthwise = Convolution(c.channels, c.channels, c.kernel, groups=c.channels, dropout=c.dropout)
        self.pointwise = nn.Linear(c.channels, c.channels)
        self.norm = nn.LayerNorm(c.channels)

    def forward(self, z: Tensor, n_frames: Tensor) -> Tensor:
        mask = frame_mask(z, n_frames)
        z = z + self.feed_forward[0](z) / 2
        z = z + self.attention(z, mask)
        gated = nn.functional.glu(self.gate(self.convolution_norm(z)), dim=2)
        z = z + self.pointwise(self.depthwise(gated, n_frames)[0])
        z = z + self.feed_forward[1](z) / 2
        return apply_mask(self.norm(z), mask)


class Conformer(FrameNet):
    """Two halving convolutions, then blocks of attention and convolution."""

    def __init__(self, config: ConformerConfig) -> None:
        c = config
        super().__init__(c, c.channels)
        self.subsampling = nn.ModuleList(
            Convolution(n_in, c.channels, 5, stride=2) for n_in in (c.n_in, c.channels)
        )
        self.blocks = nn.ModuleList(_Block(c) for _ in range(c.n_blocks))

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.subsampling:
            z, n_frames = convolution(z, n_frames)
        for block in self.blocks:
            z = block(z, n_frames)
        return z, n_frames
