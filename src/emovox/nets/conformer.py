"""``conformer``: attention for what is far, convolution for what is near (Gulati et al., 2020).

Time is first halved twice. There are no positions but those that the depthwise convolutions hear, so a clip
of any length is judged as the net was taught.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.base import FrameConfig, FrameNet
from emovox.nets.blocks import BIG
from emovox.nets.layers import Convolution, existing, hidden_as_zero

__all__ = ["Conformer", "ConformerConfig"]


@dataclass(frozen=True, kw_only=True)
class ConformerConfig(FrameConfig):
    """Channels, heads of the attention, blocks, frames of the depthwise convolution."""

    channels: int = 64
    n_heads: int = 4
    n_blocks: int = 2
    kernel: int = 15
    widen: int = 4
    """The dense layers between are so many times as wide."""
    dropout: float = 0.1

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "channels": (1, 1e5),
        "n_heads": (1, 1e3),
        "n_blocks": (1, 100),
        "kernel": (1, 999),
        "widen": (1, 100),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % self.n_heads or self.kernel % 2 == 0:
            raise ConfigError(
                f"channels is {self.channels}, n_heads {self.n_heads}, kernel {self.kernel}; expected "
                "channels that divide by n_heads, and an odd kernel"
            )


class _Attention(nn.Module):
    """Each frame hears all frames that exist."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        c = config
        self.n_heads = c.n_heads
        self.norm = nn.LayerNorm(c.channels)
        self.enter = nn.Linear(c.channels, 3 * c.channels)
        self.leave = nn.Linear(c.channels, c.channels)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:
        b, t, d = z.shape
        parts = self.enter(self.norm(z)).reshape(b, t, 3, self.n_heads, d // self.n_heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (b, heads, t, d / heads)
        likeness = query @ key.transpose(2, 3) / (d // self.n_heads) ** 0.5
        share = likeness.masked_fill(~mask[:, None, None], -BIG).softmax(3)
        heard = (self.dropout(share) @ value).transpose(1, 2).reshape(b, t, d)
        out: Tensor = self.dropout(self.leave(heard))
        return out


class _Block(nn.Module):
    """Half a dense step, attention, convolution, half a dense step, a norm."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        c = config
        self.dense = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(c.channels),
                nn.Linear(c.channels, c.widen * c.channels),
                nn.SiLU(),
                nn.Dropout(c.dropout),
                nn.Linear(c.widen * c.channels, c.channels),
                nn.Dropout(c.dropout),
            )
            for _ in range(2)
        )
        self.attention = _Attention(c)
        self.before = nn.LayerNorm(c.channels)
        self.gate = nn.Linear(c.channels, 2 * c.channels)
        self.near = Convolution(c.channels, c.channels, c.kernel, groups=c.channels, dropout=c.dropout)
        self.mix = nn.Linear(c.channels, c.channels)
        self.norm = nn.LayerNorm(c.channels)

    def forward(self, z: Tensor, n_frames: Tensor) -> Tensor:
        mask = existing(z, n_frames)
        z = z + self.dense[0](z) / 2
        z = z + self.attention(z, mask)
        z = z + self.mix(self.near(nn.functional.glu(self.gate(self.before(z)), dim=2), n_frames)[0])
        z = z + self.dense[1](z) / 2
        return hidden_as_zero(self.norm(z), mask)


class Conformer(FrameNet):
    """Blocks of attention and convolution."""

    def __init__(self, config: ConformerConfig) -> None:
        c = config
        super().__init__(c, c.channels)
        self.halving = nn.ModuleList(
            Convolution(n_in, c.channels, 5, stride=2) for n_in in (c.n_in, c.channels)
        )
        self.blocks = nn.ModuleList(_Block(c) for _ in range(c.n_blocks))

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        for halve in self.halving:
            z, n_frames = halve(z, n_frames)
        for block in self.blocks:
            z = block(z, n_frames)
        return z, n_frames
