"""The default model's net: functionals of the voice, an ensemble of small perceptrons over them.

Each member is a linear map plus one hidden layer; their log-probabilities are averaged. The front end
has no trained weights, so that training works on cached vectors and takes minutes on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from emovox.nets.framed import check_ranges
from emovox.nets.functionals import Functionals, FunctionalsConfig

__all__ = ["Vox", "VoxConfig", "VoxHead"]


@dataclass(frozen=True)
class VoxConfig:
    """Sizes; ``clip`` bounds the standardised features, in standard deviations."""

    n_labels: int = 9
    n_members: int = 2
    hidden: int = 256
    input_dropout: float = 0.4
    dropout: float = 0.5
    clip: float = 5.0
    front: FunctionalsConfig = field(default_factory=FunctionalsConfig)

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)


_RANGES = {
    "n_labels": (1, 1e4),
    "n_members": (1, 100),
    "hidden": (1, 1e5),
    "input_dropout": (0, 0.99),
    "dropout": (0, 0.99),
    "clip": (1e-3, 1e9),
}


class VoxHead(nn.Module):
    """One member: standardised features ``(b, d)`` -> ``hidden (b, h)`` and logits ``(b, n_labels)``."""

    def __init__(self, n_in: int, config: VoxConfig) -> None:
        super().__init__()
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.linear = nn.Linear(n_in, config.n_labels)
        self.enter = nn.Linear(n_in, config.hidden)
        self.norm = nn.BatchNorm1d(config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.leave = nn.Linear(config.hidden, config.n_labels)
        nn.init.zeros_(self.linear.weight)

    def embed(self, features: Tensor) -> Tensor:
        """The hidden layer's activations, ``(b, hidden)``."""
        entered = self.enter(features)
        if self.training and len(entered) == 1:  # one clip, the last of an epoch, has no deviation
            self.norm.eval()
        hidden: Tensor = nn.functional.silu(self.norm(entered))
        self.norm.train(self.training)
        return hidden

    def forward(self, features: Tensor) -> Tensor:
        features = self.input_dropout(features)
        logits: Tensor = self.leave(self.dropout(self.embed(features))) + self.linear(features)
        return logits


class Vox(nn.Module):
    """``waveform (b, n)``, ``lengths (b,)`` -> logits ``(b, n_labels)`` (mean log-probabilities)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: VoxConfig | None = None) -> None:
        super().__init__()
        self.config = config or VoxConfig()
        self.front = Functionals(self.config.front)
        self.register_buffer("mean", torch.zeros(self.front.n_out))
        self.register_buffer("scale", torch.ones(self.front.n_out))
        self.heads = nn.ModuleList(
            VoxHead(self.front.n_out, self.config) for _ in range(self.config.n_members)
        )

    def standardised(self, features: Tensor) -> Tensor:
        """Raw functionals -> clipped standard deviations from the training mean."""
        return ((features - self.mean) * self.scale).clamp(-self.config.clip, self.config.clip)

    def classify(self, features: Tensor) -> Tensor:
        """Raw functionals ``(b, d)`` -> logits."""
        z = self.standardised(features)
        return torch.stack([head(z).log_softmax(1) for head in self.heads]).mean(0)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.front(waveform, lengths))
