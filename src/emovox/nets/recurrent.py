"""``lstm``, ``bilstm`` and ``gru``: recurrent nets over frames (Hochreiter 1997, Cho 2014)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from emovox.errors import ConfigError
from emovox.nets.base import FrameConfig, FrameNet
from emovox.nets.layers import Recurrent

__all__ = ["BiLstmConfig", "GruConfig", "RecurrentConfig", "RecurrentNet"]


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(FrameConfig):
    """Settings of ``lstm``: cell, units per direction, layers."""

    cell: Literal["lstm", "gru"] = "lstm"
    hidden: int = 128
    n_layers: int = 2
    bidirectional: bool = False

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {"hidden": (1, 1e5), "n_layers": (1, 100)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell not in ("lstm", "gru"):
            raise ConfigError(f"cell is {self.cell!r}; expected lstm or gru")

    @property
    def n_out(self) -> int:
        """Channels of an encoded frame."""
        return self.hidden * (2 if self.bidirectional else 1)


@dataclass(frozen=True, kw_only=True)
class BiLstmConfig(RecurrentConfig):
    """Settings of ``bilstm``."""

    bidirectional: bool = True


@dataclass(frozen=True, kw_only=True)
class GruConfig(RecurrentConfig):
    """Settings of ``gru``."""

    cell: Literal["lstm", "gru"] = "gru"


class RecurrentNet(FrameNet):
    """Layers of LSTM or GRU."""

    def __init__(self, config: RecurrentConfig) -> None:
        c = config
        super().__init__(c, c.n_out)
        self.recurrent = Recurrent(
            c.cell, c.n_in, c.hidden, c.n_layers, bidirectional=c.bidirectional, dropout=c.dropout
        )

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        return self.recurrent(z, n_frames), n_frames
