"""What the nets on frames share: settings, standardiser, pooling and head; and the simplest of them, ``mlp``.

A net on frames adds `FrameNet.encode` and a config that extends `FrameConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import ClassVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.layers import (
    POOLINGS,
    MaskedBatchNorm,
    Pooling,
    PoolingName,
    Standardizer,
    apply_mask,
    count_frames,
    frame_mask,
)

__all__ = [
    "FrameConfig",
    "FrameNet",
    "Head",
    "Perceptron",
    "PerceptronConfig",
    "SingleFrameNet",
    "ValueNet",
    "check_ranges",
]

Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class FrameConfig:
    """Settings of every net on frames.

    Raises:
        ConfigError: a value is out of its range; the message names both.
    """

    n_in: int = 1
    """Columns of the features; set from the feature set."""
    n_labels: int = 2
    """Set from the clips."""
    pooling: PoolingName = "attention"
    head: int = 64
    """Units between pooling and logits; 0 for none."""
    dropout: float = 0.3
    clip: float = 8.0
    """Standardised columns are clipped to this many standard deviations."""

    _RANGES: ClassVar[Ranges] = {}
    """Ranges of the settings that a net adds."""

    def __post_init__(self) -> None:
        check_ranges(self, {**_RANGES, **self._RANGES})
        if self.pooling not in POOLINGS:
            raise ConfigError(f"pooling is {self.pooling!r}; expected one of {', '.join(POOLINGS)}")


_RANGES: Ranges = {
    "n_in": (1, 1e6),
    "n_labels": (1, 1e4),
    "head": (0, 1e5),
    "dropout": (0, 0.99),
    "clip": (1e-3, 1e9),
}


def check_ranges(config: object, ranges: Ranges) -> None:
    """Check types and ranges of the numbers and tuples of numbers of a dataclass.

    Raises:
        ConfigError: a value has another type than its field, or is out of range.
    """
    hints = get_type_hints(type(config))
    for field in fields(config):  # type: ignore[arg-type]
        value, hint = getattr(config, field.name), hints[field.name]
        is_tuple = get_origin(hint) is tuple
        kind = get_args(hint)[0] if is_tuple else hint
        if is_tuple != isinstance(value, tuple) or (kind is bool and not isinstance(value, bool)):
            expected = "a list" if is_tuple else "true or false" if kind is bool else "one value"
            raise ConfigError(f"{field.name} is {value!r}; expected {expected}")
        if kind not in (int, float):
            continue
        low, high = ranges[field.name]
        for number in value if is_tuple else (value,):
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            is_number = is_number and (kind is float or isinstance(number, int))
            if not (is_number and low <= number <= high):  # nan is in no range
                expected = "whole numbers" if kind is int else "numbers"
                raise ConfigError(f"{field.name} is {value!r}; expected {expected} from {low:g} to {high:g}")


class Head(nn.Module):
    """``z (b, t, n_in)``, ``n_frames (b,)`` -> logits ``(b, n_labels)``, by pooling and a hidden layer."""

    def __init__(self, n_in: int, pooling: PoolingName, hidden: int, dropout: float, n_labels: int) -> None:
        super().__init__()
        self.pool = Pooling(n_in, pooling)
        self.hidden = nn.Linear(self.pool.n_out, hidden) if hidden else None
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden or self.pool.n_out, n_labels)

    def forward(self, z: Tensor, n_frames: Tensor) -> Tensor:
        row = self.pool(z, n_frames)
        if self.hidden is not None:
            row = nn.functional.silu(self.hidden(self.dropout(row)))
        logits: Tensor = self.output(self.dropout(row))
        return logits


class FrameNet(nn.Module):
    """``features (b, t, n_in)``, ``lengths (b,)`` -> logits ``(b, n_labels)``; nan is missing."""

    def __init__(self, config: FrameConfig, n_encoded: int) -> None:
        super().__init__()
        self.standardizer = Standardizer(config.n_in, config.clip)
        self.head = Head(n_encoded, config.pooling, config.head, config.dropout, config.n_labels)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        """Encode standardised frames ``(b, t, n_in)`` as ``(b, t', n_encoded)``, of which ``(b,)`` exist."""
        raise NotImplementedError

    def standardize(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Standardise raw frames; zero beyond the end of a clip."""
        return apply_mask(self.standardizer(features), frame_mask(features, lengths))

    def classify(self, z: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of standardised frames."""
        logits: Tensor = self.head(*self.encode(z, lengths))
        return logits

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        lengths = count_frames(features, lengths)
        return self.classify(self.standardize(features, lengths), lengths)


class SingleFrameNet(nn.Module):
    """A net on frames for one row per clip: ``features (b, n_in)`` -> logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor) -> Tensor:
        lengths = torch.ones_like(features[:, 0]).long()
        logits: Tensor = self.net(features[:, None], lengths)
        return logits


class ValueNet(nn.Module):
    """A net whose last outputs are standardised values: returns logits and values, or values alone.

    Args:
        net: any net; its outputs are ``(b, n_labels + n_values)``.
        n_labels: outputs that are logits; may be 0.
        mean: of the values in the training, ``(n_values,)``.
        deviation: likewise.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, net: nn.Module, n_labels: int, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.net, self.n_labels = net, n_labels
        self.register_buffer("mean", mean.float())
        self.register_buffer("deviation", deviation.float())

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        outputs = self.net(x) if lengths is None else self.net(x, lengths)
        values = outputs[:, self.n_labels :] * self.deviation + self.mean
        return (outputs[:, : self.n_labels], values) if self.n_labels else values


@dataclass(frozen=True, kw_only=True)
class PerceptronConfig(FrameConfig):
    """Settings of ``mlp``: units of the dense layers."""

    layers: tuple[int, ...] = (128, 128)
    pooling: PoolingName = "statistics"

    _RANGES: ClassVar[Ranges] = {"layers": (1, 1e5)}


class Perceptron(FrameNet):
    """Dense layers over each frame, then pooling; with one row per clip, the usual perceptron."""

    def __init__(self, config: PerceptronConfig) -> None:
        sizes = (config.n_in, *config.layers)
        super().__init__(config, sizes[-1])
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.norms = nn.ModuleList(MaskedBatchNorm(size) for size in sizes[1:])
        self.dropout = nn.Dropout(config.dropout)

    def encode(self, z: Tensor, n_frames: Tensor) -> tuple[Tensor, Tensor]:
        mask = frame_mask(z, n_frames)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            z = self.dropout(nn.functional.silu(norm(layer(z), mask)))
        return apply_mask(z, mask), n_frames
