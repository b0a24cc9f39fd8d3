"""The default model's net: functionals of the voice, small perceptrons and a discriminant over them.

Each member is a linear map plus one hidden layer; their log-probabilities are averaged, and those of a linear
discriminant join them where there is one. The front end has no trained weights, so that training works on
cached vectors and takes minutes on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.base import check_ranges
from emovox.nets.functionals import Functionals, FunctionalsConfig

__all__ = ["NEVER", "Discriminant", "Vox", "VoxConfig", "VoxHead"]

NEVER = -1e4
"""The log-probability of what cannot be: finite, so that a graph of float32 keeps its head."""


@dataclass(frozen=True)
class VoxConfig:
    """Sizes; ``clip`` bounds the standardised features, in standard deviations."""

    n_labels: int = 9
    n_members: int = 2
    hidden: int = 256
    input_dropout: float = 0.4
    dropout: float = 0.5
    clip: float = 5.0
    member_columns: int | None = None
    """The members hear that many functionals, the first ones; ``None``: all."""
    cells: tuple[int, ...] = ()
    """The label of each cell of the discriminant; none, no discriminant."""
    homes: tuple[int, ...] = ()
    """The corpus of each cell; needed where ``corpus_trust`` is not 1."""
    corpus_trust: float = 1.0
    """How far the discriminant is believed on which corpus a clip is of: 1, wholly; 0, all are as likely."""
    discriminant_weight: float = 0.5
    """What its log-probabilities count beside the members' mean."""
    front: FunctionalsConfig = field(default_factory=FunctionalsConfig)

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)
        if self.homes and len(self.homes) != len(self.cells):
            raise ConfigError(
                f"homes names the corpora of {len(self.homes)} cells; there are {len(self.cells)}"
            )
        if self.corpus_trust < 1 and len(self.homes) < len(self.cells):
            raise ConfigError(f"corpus_trust {self.corpus_trust:g} needs homes, the corpus of each cell")


_RANGES = {
    "n_labels": (1, 1e4),
    "n_members": (1, 100),
    "hidden": (1, 1e5),
    "input_dropout": (0, 0.99),
    "dropout": (0, 0.99),
    "clip": (1e-3, 1e9),
    "cells": (0, 1e4),
    "homes": (0, 1e4),
    "corpus_trust": (0, 1),
    "discriminant_weight": (0, 1),
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


class Discriminant(nn.Module):
    """Cells of one corpus and label each: standardised features ``(b, d)`` -> log-probabilities of labels.

    A label is as likely as its cells together: several means a class, one covariance (Hastie & Tibshirani,
    1996).

    Room and language tell the corpus of a clip far more surely than a voice its emotion, so a clip of none of
    them would be judged by the cells of the one that happens to sound alike. With a ``corpus_trust`` under 1
    the probabilities of corpora are flattened (raised to that power) before labels are summed over them: what
    is plainly of one corpus still is, what is of none asks them all.
    """

    weight: Tensor
    bias: Tensor
    absent: Tensor
    elsewhere: Tensor
    is_of: Tensor

    def __init__(
        self,
        n_in: int,
        cells: tuple[int, ...],
        n_labels: int,
        homes: tuple[int, ...] = (),
        corpus_trust: float = 1.0,
    ) -> None:
        super().__init__()
        self.corpus_trust = corpus_trust
        self.register_buffer("weight", torch.zeros(len(cells), n_in))
        self.register_buffer("bias", torch.zeros(len(cells)))
        self.register_buffer("absent", _allowed(cells, n_labels), persistent=False)
        elsewhere = _allowed(homes, max(homes, default=-1) + 1)
        self.register_buffer("elsewhere", elsewhere, persistent=False)
        self.register_buffer("is_of", (elsewhere == 0).float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        cells = (features @ self.weight.T + self.bias).log_softmax(1)
        if self.corpus_trust < 1:
            corpora = (cells[:, None] + self.elsewhere).logsumexp(2)
            cells = cells + ((self.corpus_trust * corpora).log_softmax(1) - corpora) @ self.is_of
        labels: Tensor = (cells[:, None] + self.absent).logsumexp(2)
        # A label without a cell is unlikely, not impossible: the members may know it.
        return labels.clamp(min=-20.0)


def _allowed(kinds: tuple[int, ...], n_kinds: int) -> Tensor:
    """``(n_kinds, n_cells)``: 0 where a cell is of that kind, ``NEVER`` elsewhere."""
    allowed = torch.full((n_kinds, len(kinds)), NEVER)
    allowed[list(kinds), range(len(kinds))] = 0.0
    return allowed


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
        self.n_heard = self.config.member_columns or self.front.n_out
        self.heads = nn.ModuleList(VoxHead(self.n_heard, self.config) for _ in range(self.config.n_members))
        c = self.config
        self.discriminant = (
            Discriminant(self.front.n_out, c.cells, c.n_labels, c.homes, c.corpus_trust) if c.cells else None
        )

    def standardised(self, features: Tensor) -> Tensor:
        """Raw functionals -> clipped standard deviations from the training mean."""
        return ((features - self.mean) * self.scale).clamp(-self.config.clip, self.config.clip)

    def vote(self, features: Tensor) -> Tensor:
        """Raw functionals ``(b, d)`` -> the members' mean log-probabilities."""
        heard = self.standardised(features)[:, : self.n_heard]
        return torch.stack([head(heard).log_softmax(1) for head in self.heads]).mean(0)

    def classify(self, features: Tensor) -> Tensor:
        """Raw functionals ``(b, d)`` -> logits: members and discriminant."""
        votes = self.vote(features)
        if self.discriminant is None:
            return votes
        share = self.config.discriminant_weight
        mixed: Tensor = (1 - share) * votes + share * self.discriminant(self.standardised(features))
        return mixed

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.front(waveform, lengths))
