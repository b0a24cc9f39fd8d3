"""Convolutional nets: ``cnn1d``, ``clstm``, ``tcn`` over time; ``cnn2d``, ``crnn`` over time and columns.

``clstm`` runs an LSTM over convolutions (Trigeorgis et al., 2016), ``crnn`` over a picture of the frames (Shi
et al., 2017). ``tcn`` is a stack of dilated residual convolutions (Bai, Kolter & Koltun, 2018), not causal
here. In two dimensions the columns must be neighbours, as log-mel bands are; for a mixture of features
`Cnn1d` serves better.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.base import FrameConfig, FrameNet
from emovox.nets.layers import LARGE, Convolution, MaskedBatchNorm, Recurrent, frame_mask, pool_length

__all__ = [
    "Clstm",
    "ClstmConfig",
    "Cnn1d",
    "Cnn1dConfig",
    "Cnn2d",
    "Cnn2dConfig",
    "Crnn",
    "CrnnConfig",
    "Tcn",
    "TcnConfig",
]

_RANGES: dict[str, tuple[float, float]] = {
    "channels": (1, 1e5),
    "kernel": (1, 999),
    "stride": (1, 100),
    "hidden": (1, 1e5),
    "n_layers": (1, 100),
    "n_blocks": (1, 16),
}


# --- over time --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Cnn1dConfig(FrameConfig):
    """Settings of ``cnn1d``: channels of each convolution, each followed by max pooling by ``stride``."""

    channels: tuple[int, ...] = (64, 128, 128)
    kernel: int = 5
    stride: int = 2

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = _RANGES

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels or self.kernel % 2 == 0:
            raise ConfigError(
                f"channels is {self.channels}, kernel {self.kernel}; expected one at least, and an odd kernel"
            )


@dataclass(frozen=True, kw_only=True)
class ClstmConfig(Cnn1dConfig):
    """Settings of ``clstm``: convolutions, then an LSTM."""

    channels: tuple[int, ...] = (64, 64)
    hidden: int = 64
    n_layers: int = 1
    bidirectional: bool = False


@dataclass(frozen=True, kw_only=True)
class TcnConfig(FrameConfig):
    """Settings of ``tcn``: residual blocks; the dilation doubles from block to block."""

    channels: int = 64
    kernel: int = 3
    n_blocks: int = 6

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = _RANGES

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel is {self.kernel}; expected an odd one")


class Cnn1d(FrameNet):
    """Convolutions over time, across all columns."""

    def __init__(self, config: Cnn1dConfig) -> None:
        super().__init__(config, config.channels[-1])
        self.convolutions = _make_convolutions(config)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.convolutions:
            z, n_frames = convolution(z, n_frames)
        return z, n_frames


class Clstm(FrameNet):
    """Convolutions over time, then an LSTM."""

    def __init__(self, config: ClstmConfig) -> None:
        c = config
        super().__init__(c, c.hidden * (2 if c.bidirectional else 1))
        self.convolutions = _make_convolutions(c)
        self.recurrent = _make_lstm(c.channels[-1], c)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.convolutions:
            z, n_frames = convolution(z, n_frames)
        return self.recurrent(z, n_frames), n_frames


class Tcn(FrameNet):
    """Dilated convolutions with residual connections."""

    def __init__(self, config: TcnConfig) -> None:
        c = config
        super().__init__(c, c.channels)
        self.projection = nn.Linear(c.n_in, c.channels)
        self.blocks = nn.ModuleList(
            Convolution(c.channels, c.channels, c.kernel, dilation=2**n, dropout=c.dropout)
            for n in range(c.n_blocks)
        )

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        z = self.projection(z)
        for block in self.blocks:
            z = z + block(z, n_frames)[0]
        return z, n_frames


def _make_convolutions(config: Cnn1dConfig) -> nn.ModuleList:
    sizes = (config.n_in, *config.channels)
    return nn.ModuleList(
        Convolution(n_in, n_out, config.kernel, stride=config.stride, dropout=config.dropout)
        for n_in, n_out in pairwise(sizes)
    )


# --- over time and columns --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Cnn2dConfig(FrameConfig):
    """Settings of ``cnn2d``: channels of each 3 by 3 convolution, each followed by max pooling by 2."""

    channels: tuple[int, ...] = (16, 32, 64)

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = _RANGES

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels:
            raise ConfigError("channels is empty; expected one at least")

    @property
    def n_flat(self) -> int:
        """Numbers per frame after the convolutions."""
        height = self.n_in
        for _ in self.channels:
            height = -(-height // 2)
        return height * self.channels[-1]


@dataclass(frozen=True, kw_only=True)
class CrnnConfig(Cnn2dConfig):
    """Settings of ``crnn``: convolutions, then an LSTM."""

    hidden: int = 64
    n_layers: int = 1
    bidirectional: bool = True


class _Convolutions2d(nn.Module):
    """``z (b, t, d)``, ``n_frames (b,)`` -> ``(b, t', n_flat)`` and the frames that are left."""

    def __init__(self, config: Cnn2dConfig) -> None:
        super().__init__()
        sizes = (1, *config.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, padding=1) for n_in, n_out in pairwise(sizes)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(n) for n in config.channels)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        z = z[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            mask = frame_mask(z[:, 0], n_frames)
            z = norm(convolution(z).permute(0, 2, 3, 1), mask)  # channels last: (b, t, d, c)
            z = nn.functional.silu(z).masked_fill(~mask[..., None, None], -LARGE).permute(0, 3, 1, 2)
            z = nn.functional.max_pool2d(nn.functional.pad(z, (0, z.shape[3] % 2, 0, 1), value=-LARGE), 2)
            n_frames = pool_length(n_frames, 2)
            z = z.masked_fill(~frame_mask(z[:, 0], n_frames)[:, None, :, None], 0.0)
            z = self.dropout(z)
        return z.permute(0, 2, 1, 3).flatten(2), n_frames


class Cnn2d(FrameNet):
    """Convolutions over time and columns."""

    def __init__(self, config: Cnn2dConfig) -> None:
        super().__init__(config, config.n_flat)
        self.convolutions = _Convolutions2d(config)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        encoded: tuple[Tensor, Tensor] = self.convolutions(z, n_frames)
        return encoded


class Crnn(FrameNet):
    """Convolutions over time and columns, then an LSTM."""

    def __init__(self, config: CrnnConfig) -> None:
        c = config
        super().__init__(c, c.hidden * (2 if c.bidirectional else 1))
        self.convolutions = _Convolutions2d(c)
        self.recurrent = _make_lstm(c.n_flat, c)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        z, n_frames = self.convolutions(z, n_frames)
        return self.recurrent(z, n_frames), n_frames


def _make_lstm(n_in: int, config: ClstmConfig | CrnnConfig) -> Recurrent:
    c = config
    return Recurrent("lstm", n_in, c.hidden, c.n_layers, bidirectional=c.bidirectional, dropout=c.dropout)
