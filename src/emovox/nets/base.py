"""What every net on frames is: a standardiser, an encoder of frames, a pooling, a head.

A file of this room gives the encoder, ``encode(z (b, t, d), n_frames (b,)) -> (b, t', d'), (b,)``, and the
settings, which extend `FrameConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.layers import POOLINGS, Pool, Pooling, Standardiser, existing, hidden_as_zero

__all__ = ["FrameConfig", "FrameNet", "OneRow", "check_ranges"]


@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """What all nets on frames can be told.

    Raises:
        ConfigError: a value is out of its range; the message names both.
    """

    n_in: int = 1
    """Columns of the features; known from the set."""
    n_labels: int = 2
    """Known from the clips."""
    pooling: Pooling = "attention"
    head: int = 64
    """Units between pooling and logits; 0 for none."""
    dropout: float = 0.3
    clip: float = 8.0
    """Standard deviations beyond which a column is cut."""

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {}
    """Of the settings that a net adds."""

    def __post_init__(self) -> None:
        check_ranges(self, {**_RANGES, **self._RANGES})
        if self.pooling not in POOLINGS:
            raise ConfigError(f"pooling is {self.pooling!r}; expected one of {', '.join(POOLINGS)}")


_RANGES: dict[str, tuple[float, float]] = {
    "n_in": (1, 1e6),
    "n_labels": (1, 1e4),
    "head": (0, 1e5),
    "dropout": (0, 0.99),
    "clip": (1e-3, 1e9),
}


def check_ranges(config: object, ranges: dict[str, tuple[float, float]]) -> None:
    """Raise ConfigError where a number of the dataclass ``config`` has another type or is out of range."""
    hints = get_type_hints(type(config))
    for one in fields(config):  # type: ignore[arg-type]
        value, hint = getattr(config, one.name), hints[one.name]
        many = get_origin(hint) is tuple
        kind = get_args(hint)[0] if many else hint
        if many != isinstance(value, tuple) or (kind is bool and not isinstance(value, bool)):
            what = "a list" if many else "true or false" if kind is bool else "one value"
            raise ConfigError(f"{one.name} is {value!r}; expected {what}")
        if kind not in (int, float):
            continue
        low, high = ranges[one.name]
        for number in value if many else (value,):
            right = isinstance(number, int | float) and not isinstance(number, bool)
            right = right and (kind is float or isinstance(number, int))
            if not (right and low <= number <= high):  # nan is in no range
                what = "whole numbers" if kind is int else "numbers"
                raise ConfigError(f"{one.name} is {value!r}; expected {what} from {low:g} to {high:g}")


class FrameNet(nn.Module):
    """``features (b, t, n_in)``, ``lengths (b,)`` -> logits ``(b, n_labels)``; nan is missing."""

    def __init__(self, config: FrameConfig, n_encoded: int) -> None:
        super().__init__()
        self.standardise = Standardiser(config.n_in, config.clip)
        self.pool = Pool(n_encoded, config.pooling)
        hidden = config.head or self.pool.n_out
        self.enter = nn.Linear(self.pool.n_out, hidden) if config.head else None
        self.dropout = nn.Dropout(config.dropout)
        self.leave = nn.Linear(hidden, config.n_labels)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised frames ``(b, t, n_in)`` -> ``(b, t', n_encoded)`` and how many of them exist."""
        raise NotImplementedError

    def standardised(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Raw frames -> what is encoded; zero past a clip's end."""
        mask = existing(features, lengths)
        return hidden_as_zero(self.standardise(features), mask)

    def classify(self, z: Tensor, lengths: Tensor) -> Tensor:
        """Standardised frames -> logits."""
        encoded, n_frames = self.encode(z, lengths)
        row = self.pool(encoded, n_frames)
        if self.enter is not None:
            row = nn.functional.silu(self.enter(self.dropout(row)))
        logits: Tensor = self.leave(self.dropout(row))
        return logits

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.standardised(features, lengths), lengths)

    @torch.no_grad()
    def learn_scale(self, mean: Tensor, deviation: Tensor) -> None:
        """Take mean and deviation ``(n_in,)`` of the training's frames."""
        self.standardise.set(mean, deviation)


class OneRow(nn.Module):
    """A net on frames that is given one row a clip: ``features (b, n_in)`` -> logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor) -> Tensor:
        lengths = torch.ones_like(features[:, 0]).long()
        logits: Tensor = self.net(features[:, None], lengths)
        return logits
