"""``cnn1d``, ``clstm`` and ``tcn``: patterns along time, found wherever they are.

``clstm`` hands what convolutions find to an LSTM (Trigeorgis et al., 2016). ``tcn`` is a stack of dilated
convolutions with residuals (Bai, Kolter & Koltun, 2018), here not causal: a clip is heard to its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.base import FrameConfig, FrameNet
from emovox.nets.layers import Convolution, Recurrent

__all__ = ["Clstm", "ClstmConfig", "Cnn1d", "Cnn1dConfig", "Tcn", "TcnConfig"]


@dataclass(frozen=True, kw_only=True)
class Cnn1dConfig(FrameConfig):
    """Channels of each convolution; after each, the largest of ``stride`` frames stays."""

    channels: tuple[int, ...] = (64, 128, 128)
    kernel: int = 5
    stride: int = 2

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "channels": (1, 1e5),
        "kernel": (1, 999),
        "stride": (1, 100),
        "hidden": (1, 1e5),
        "n_layers": (1, 100),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels or self.kernel % 2 == 0:
            raise ConfigError(
                f"channels is {self.channels}, kernel {self.kernel}; expected one at least, and an odd kernel"
            )


@dataclass(frozen=True, kw_only=True)
class ClstmConfig(Cnn1dConfig):
    """Convolutions, then an LSTM."""

    channels: tuple[int, ...] = (64, 64)
    hidden: int = 64
    n_layers: int = 1
    both: bool = False


@dataclass(frozen=True, kw_only=True)
class TcnConfig(FrameConfig):
    """Residual blocks; the dilation doubles from one to the next."""

    channels: int = 64
    kernel: int = 3
    n_blocks: int = 6

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "channels": (1, 1e5),
        "kernel": (1, 999),
        "n_blocks": (1, 16),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel is {self.kernel}; expected an odd one")


def _stack(config: Cnn1dConfig) -> nn.ModuleList:
    sizes = (config.n_in, *config.channels)
    return nn.ModuleList(
        Convolution(n_in, n_out, config.kernel, stride=config.stride, dropout=config.dropout)
        for n_in, n_out in pairwise(sizes)
    )


class Cnn1d(FrameNet):
    """Convolutions along time over all columns."""

    def __init__(self, config: Cnn1dConfig) -> None:
        super().__init__(config, config.channels[-1])
        self.convolutions = _stack(config)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.convolutions:
            z, n_frames = convolution(z, n_frames)
        return z, n_frames


class Clstm(FrameNet):
    """Convolutions, and a memory that walks along what they find."""

    def __init__(self, config: ClstmConfig) -> None:
        c = config
        super().__init__(c, c.hidden * (2 if c.both else 1))
        self.convolutions = _stack(c)
        self.memory = Recurrent("lstm", c.channels[-1], c.hidden, c.n_layers, both=c.both, dropout=c.dropout)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.convolutions:
            z, n_frames = convolution(z, n_frames)
        return self.memory(z, n_frames), n_frames


class Tcn(FrameNet):
    """Dilated convolutions, each added to what it heard."""

    def __init__(self, config: TcnConfig) -> None:
        c = config
        super().__init__(c, c.channels)
        self.first = nn.Linear(c.n_in, c.channels)
        self.blocks = nn.ModuleList(
            Convolution(c.channels, c.channels, c.kernel, dilation=2**n, dropout=c.dropout)
            for n in range(c.n_blocks)
        )

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        z = self.first(z)
        for block in self.blocks:
            z = z + block(z, n_frames)[0]
        return z, n_frames
