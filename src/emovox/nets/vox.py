"""``vox``: the net of model version 2, small perceptrons and a discriminant over functionals.

Each member is a linear map plus one hidden layer. Their log-probabilities are averaged, and mixed with those
of a linear discriminant where there is one. The front end has no trained weights, so that training runs on
cached vectors and takes minutes on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from emovox.errors import ConfigError
from emovox.nets.base import check_ranges
from emovox.nets.front_end import FrontEnd, FrontEndConfig

__all__ = ["IMPOSSIBLE", "Discriminant", "Vox", "VoxConfig", "VoxHead"]

IMPOSSIBLE = -1e4
"""The log-probability of what cannot be: finite, since minus infinity makes nan in some runtimes."""


@dataclass(frozen=True)
class VoxConfig:
    """Settings of ``vox``."""

    n_labels: int = 9
    n_members: int = 2
    hidden: int = 256
    input_dropout: float = 0.4
    dropout: float = 0.5
    clip: float = 5.0
    """Standardised functionals are clipped to this many standard deviations."""
    member_columns: int | None = None
    """Members take the first so many functionals; ``None``: all."""
    cell_labels: tuple[int, ...] = ()
    """Label of each cell (corpus and label) of the discriminant; empty for no discriminant."""
    cell_corpora: tuple[int, ...] = ()
    """Corpus of each cell; required if ``corpus_trust`` is below 1."""
    corpus_trust: float = 1.0
    """Exponent of the discriminant's probabilities of corpora: with 0 all corpora are equally likely."""
    discriminant_weight: float = 0.5
    """Weight of the discriminant's log-probabilities; the members have the rest."""
    front: FrontEndConfig = field(default_factory=FrontEndConfig)

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES)
        if self.cell_corpora and len(self.cell_corpora) != len(self.cell_labels):
            raise ConfigError(
                f"cell_corpora names the corpora of {len(self.cell_corpora)} cells; there are "
                f"{len(self.cell_labels)}"
            )
        if self.corpus_trust < 1 and len(self.cell_corpora) < len(self.cell_labels):
            raise ConfigError(f"corpus_trust {self.corpus_trust:g} requires cell_corpora")


_RANGES = {
    "n_labels": (1, 1e4),
    "n_members": (1, 100),
    "hidden": (1, 1e5),
    "input_dropout": (0, 0.99),
    "dropout": (0, 0.99),
    "clip": (1e-3, 1e9),
    "cell_labels": (0, 1e4),
    "cell_corpora": (0, 1e4),
    "corpus_trust": (0, 1),
    "discriminant_weight": (0, 1),
}


class VoxHead(nn.Module):
    """One member: standardised features ``(b, d)`` -> logits ``(b, n_labels)``."""

    def __init__(self, n_in: int, config: VoxConfig) -> None:
        super().__init__()
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.linear = nn.Linear(n_in, config.n_labels)
        self.hidden = nn.Linear(n_in, config.hidden)
        self.norm = nn.BatchNorm1d(config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, config.n_labels)
        nn.init.zeros_(self.linear.weight)

    def embed(self, features: Tensor) -> Tensor:
        """Return the activations of the hidden layer, ``(b, hidden)``."""
        hidden = self.hidden(features)
        if self.training and len(hidden) == 1:  # a batch of one clip has no deviation
            self.norm.eval()
        activations: Tensor = nn.functional.silu(self.norm(hidden))
        self.norm.train(self.training)
        return activations

    def forward(self, features: Tensor) -> Tensor:
        features = self.input_dropout(features)
        logits: Tensor = self.output(self.dropout(self.embed(features))) + self.linear(features)
        return logits


class Discriminant(nn.Module):
    """Linear discriminant over cells: standardised features ``(b, d)`` -> log-probabilities of labels.

    A cell is a label within a corpus; the probability of a label is the sum over its cells. This is a mixture
    discriminant with one covariance (Hastie & Tibshirani, 1996).

    Room and language tell the corpus of a clip far better than the voice tells the emotion, so a clip of an
    unseen corpus would be classified by the cells of whichever corpus happens to sound alike. With a
    ``corpus_trust`` below 1 the probabilities of corpora are raised to that power before labels are summed
    over them: a clip that is plainly of one corpus still is, other clips use all corpora.
    """

    weight: Tensor
    bias: Tensor
    label_mask: Tensor
    corpus_mask: Tensor
    cell_corpus: Tensor

    def __init__(
        self,
        n_in: int,
        cell_labels: tuple[int, ...],
        n_labels: int,
        cell_corpora: tuple[int, ...] = (),
        corpus_trust: float = 1.0,
    ) -> None:
        super().__init__()
        self.corpus_trust = corpus_trust
        self.register_buffer("weight", torch.zeros(len(cell_labels), n_in))
        self.register_buffer("bias", torch.zeros(len(cell_labels)))
        self.register_buffer("label_mask", _log_membership(cell_labels, n_labels), persistent=False)
        corpus_mask = _log_membership(cell_corpora, max(cell_corpora, default=-1) + 1)
        self.register_buffer("corpus_mask", corpus_mask, persistent=False)
        self.register_buffer("cell_corpus", (corpus_mask == 0).float(), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        cells = (features @ self.weight.T + self.bias).log_softmax(1)
        if self.corpus_trust < 1:
            corpora = (cells[:, None] + self.corpus_mask).logsumexp(2)
            cells = cells + ((self.corpus_trust * corpora).log_softmax(1) - corpora) @ self.cell_corpus
        labels: Tensor = (cells[:, None] + self.label_mask).logsumexp(2)
        # A label without a cell is unlikely, not impossible: the members may know it.
        return labels.clamp(min=-20.0)


def _log_membership(groups: tuple[int, ...], n_groups: int) -> Tensor:
    """``(n_groups, n_cells)``: 0 where a cell is in the group, `IMPOSSIBLE` elsewhere."""
    mask = torch.full((n_groups, len(groups)), IMPOSSIBLE)
    mask[list(groups), range(len(groups))] = 0.0
    return mask


class Vox(nn.Module):
    """``waveform (b, n)``, ``lengths (b,)`` -> logits ``(b, n_labels)`` (mean log-probabilities)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: VoxConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or VoxConfig()
        self.front = FrontEnd(c.front)
        self.register_buffer("mean", torch.zeros(self.front.n_out))
        self.register_buffer("scale", torch.ones(self.front.n_out))
        self.n_member_columns = c.member_columns or self.front.n_out
        self.heads = nn.ModuleList(VoxHead(self.n_member_columns, c) for _ in range(c.n_members))
        self.discriminant = (
            Discriminant(self.front.n_out, c.cell_labels, c.n_labels, c.cell_corpora, c.corpus_trust)
            if c.cell_labels
            else None
        )

    def standardize(self, features: Tensor) -> Tensor:
        """Scale raw functionals ``(b, d)`` by mean and deviation of the training, and clip them."""
        return ((features - self.mean) * self.scale).clamp(-self.config.clip, self.config.clip)

    def average_members(self, features: Tensor) -> Tensor:
        """Return the members' mean log-probabilities of raw functionals ``(b, d)``."""
        z = self.standardize(features)[:, : self.n_member_columns]
        return torch.stack([head(z).log_softmax(1) for head in self.heads]).mean(0)

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits of raw functionals ``(b, d)``."""
        members = self.average_members(features)
        if self.discriminant is None:
            return members
        weight = self.config.discriminant_weight
        mixed: Tensor = (1 - weight) * members + weight * self.discriminant(self.standardize(features))
        return mixed

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.front(waveform, lengths))
