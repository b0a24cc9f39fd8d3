"""``mlp``: each frame by itself through dense layers, then a pooling; of one row a clip, the usual MLP."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from emovox.nets.base import FrameConfig, FrameNet
from emovox.nets.layers import MaskedNorm, Pooling, existing, hidden_as_zero

__all__ = ["Perceptron", "PerceptronConfig"]


@dataclass(frozen=True, kw_only=True)
class PerceptronConfig(FrameConfig):
    """Units of the layers that each frame goes through."""

    layers: tuple[int, ...] = (128, 128)
    pooling: Pooling = "statistics"

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {"layers": (1, 1e5)}


class Perceptron(FrameNet):
    """Dense layers over each frame."""

    def __init__(self, config: PerceptronConfig) -> None:
        sizes = (config.n_in, *config.layers)
        super().__init__(config, sizes[-1])
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.norms = nn.ModuleList(MaskedNorm(size) for size in sizes[1:])

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        mask = existing(z, n_frames)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            z = self.dropout(nn.functional.silu(norm(layer(z), mask)))
        return hidden_as_zero(z, mask), n_frames
