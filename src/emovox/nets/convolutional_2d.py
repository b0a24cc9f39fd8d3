"""``cnn2d`` and ``crnn``: frames as a picture, time by columns, for features whose columns are neighbours.

On log-mel bands a pattern may stand higher or lower; on a mixture of families neighbours mean nothing, and
`cnn1d` serves better. ``crnn`` walks along the picture with an LSTM (Shi et al., 2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.base import FrameConfig, FrameNet
from emovox.nets.blocks import BIG
from emovox.nets.layers import MaskedNorm, Recurrent, existing, n_pooled

__all__ = ["Cnn2d", "Cnn2dConfig", "Crnn", "CrnnConfig"]


@dataclass(frozen=True, kw_only=True)
class Cnn2dConfig(FrameConfig):
    """Channels of each 3 by 3 convolution; each halves both sides of the picture."""

    channels: tuple[int, ...] = (16, 32, 64)

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "channels": (1, 1e5),
        "hidden": (1, 1e5),
        "n_layers": (1, 100),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels:
            raise ConfigError("channels is empty; expected one at least")

    @property
    def n_flat(self) -> int:
        """Numbers a frame when the picture is flat again."""
        height = self.n_in
        for _ in self.channels:
            height = -(-height // 2)
        return height * self.channels[-1]


@dataclass(frozen=True, kw_only=True)
class CrnnConfig(Cnn2dConfig):
    """The picture, then an LSTM."""

    hidden: int = 64
    n_layers: int = 1
    both: bool = True


class _Picture(nn.Module):
    """``z (b, t, d)`` -> ``(b, t', n_flat)``."""

    def __init__(self, config: Cnn2dConfig) -> None:
        super().__init__()
        sizes = (1, *config.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, padding=1) for n_in, n_out in pairwise(sizes)
        )
        self.norms = nn.ModuleList(MaskedNorm(n) for n in config.channels)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        z = z[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            mask = existing(z[:, 0], n_frames)
            z = norm(convolution(z).permute(0, 2, 3, 1), mask)  # channels last: (b, t, d, c)
            z = nn.functional.silu(z).masked_fill(~mask[..., None, None], -BIG).permute(0, 3, 1, 2)
            z = nn.functional.max_pool2d(nn.functional.pad(z, (0, z.shape[3] % 2, 0, 1), value=-BIG), 2)
            n_frames = n_pooled(n_frames, 2)
            z = z.masked_fill(~existing(z[:, 0], n_frames)[:, None, :, None], 0.0)
            z = self.dropout(z)
        return z.permute(0, 2, 1, 3).flatten(2), n_frames


class Cnn2d(FrameNet):
    """Convolutions over time and columns."""

    def __init__(self, config: Cnn2dConfig) -> None:
        super().__init__(config, config.n_flat)
        self.picture = _Picture(config)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        seen: tuple[Tensor, Tensor] = self.picture(z, n_frames)
        return seen


class Crnn(FrameNet):
    """Convolutions over time and columns, then a memory along time."""

    def __init__(self, config: CrnnConfig) -> None:
        c = config
        super().__init__(c, c.hidden * (2 if c.both else 1))
        self.picture = _Picture(c)
        self.memory = Recurrent("lstm", c.n_flat, c.hidden, c.n_layers, both=c.both, dropout=c.dropout)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        z, n_frames = self.picture(z, n_frames)
        return self.memory(z, n_frames), n_frames
