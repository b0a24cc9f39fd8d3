"""Linear heads of the recipe default.py, fitted on pooled hidden states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.evaluation import metrics
from emovox.labels import EMOTIONS

__all__ = ["Head", "Rows", "balance", "fit_labels", "fit_speech", "join", "score_uar"]

PENALTY = 1 / 12
"""What the squared norm of the labels' weights counts beside the mean loss, whatever the number of clips."""
FEW_PENALTY = 0.3
"""The same of heads of two corpora, as `permissive`."""
SPEECH_PENALTY = 0.1
"""That of the speech output."""
SHARES: Mapping[str, float] = {"ravdess": 1.5, "tess": 0.7}
"""What a corpus counts; 1 where it is not named. RAVDESS has 24 speakers and 8 labels, TESS 2 speakers."""
SPEECH_SHARES: Mapping[str, float] = {"mixed": 0.5, "esc10": 0.6}
"""Parts of the speech, and of the sounds that are not, which the speech output is fitted on; the others share
the rest evenly."""
LACKING = -30.0
"""Added to the logits of labels that a clip's corpus lacks, so that it does not count against them."""


@dataclass
class Rows:
    """Pooled states of clips ``(n, layers, 2, size)`` with ids, labels, speakers and corpora of the clips."""

    pooled: Floats
    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    """Indices of `EMOTIONS`; -1 for a sound without speech."""
    speakers: NDArray[np.str_]
    corpora: NDArray[np.str_]

    def __getitem__(self, chosen: NDArray[Any]) -> Rows:
        return Rows(*(value[chosen] for value in self.__dict__.values()))

    @property
    def x(self) -> Floats:
        return self.pooled.reshape(len(self.pooled), -1)


def join(parts: Sequence[Rows]) -> Rows:
    return Rows(
        *(np.concatenate(columns) for columns in zip(*(p.__dict__.values() for p in parts), strict=True))
    )


@dataclass
class Head:
    """A linear head on standardised pooled states."""

    mean: Floats
    scale: Floats
    weight: Floats
    bias: Floats

    def embed(self, rows: Rows) -> Floats:
        return (rows.x - self.mean) * self.scale

    def __call__(self, rows: Rows, offset: Floats | float = 0.0) -> Floats:
        embedded = self.embed(rows) - offset
        size = np.sqrt(np.mean(np.square(embedded), 1, keepdims=True))  # of `AdaptiveNet.classify`
        return np.asarray((embedded @ self.weight.T + self.bias) / size)


def score_uar(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Compute the UAR in per cent from indices of labels."""
    return 100 * metrics.uar([EMOTIONS[i] for i in labels], [EMOTIONS[i] for i in predicted])


def balance(rows: Rows) -> Floats:
    """Compute weights with mean 1: corpora count by `SHARES`, the labels of a corpus alike."""
    weights = np.zeros(len(rows.labels))
    for corpus in np.unique(rows.corpora):
        labels = np.unique(rows.labels[rows.corpora == corpus])
        for label in labels:
            cell = (rows.corpora == corpus) & (rows.labels == label)
            weights[cell] = SHARES.get(str(corpus), 1.0) / len(labels) / cell.sum()
    return (weights / weights.mean()).astype(np.float32)


def standardise(rows: Rows) -> tuple[Floats, Floats]:
    """Compute mean and inverse deviation of the columns over balanced clips."""
    share = balance(rows) / len(rows.labels)
    mean = share @ rows.x
    deviation = np.sqrt(np.maximum(share @ np.square(rows.x) - mean**2, 0)) + 1e-4
    return mean, 1 / deviation


def fit_labels(rows: Rows, penalty: float = PENALTY) -> Head:
    """Fit a logistic regression over nine labels; a corpus does not count against labels that it lacks."""
    mean, scale = standardise(rows)
    lacking = np.zeros((len(rows.labels), len(EMOTIONS)), np.float32)
    for corpus in np.unique(rows.corpora):
        own = rows.corpora == corpus
        lacking[np.ix_(own, ~np.isin(np.arange(len(EMOTIONS)), rows.labels[own]))] = LACKING
    weight, bias = _fit_logistic((rows.x - mean) * scale, rows.labels, balance(rows), lacking, penalty)
    return Head(mean, scale, weight, bias)


def _fit_logistic(
    x: Floats, labels: NDArray[np.int64], shares: Floats, added: Floats, penalty: float, steps: int = 40
) -> tuple[Floats, Floats]:
    """Fit a multinomial logistic regression by L-BFGS; ``added (n, k)`` is added to the logits."""
    inputs, targets = torch.from_numpy(x), torch.from_numpy(labels)
    share, prior = torch.from_numpy(shares / shares.sum()), torch.from_numpy(added)
    weight = torch.zeros(added.shape[1], x.shape[1], requires_grad=True)
    bias = torch.zeros(added.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = inputs @ weight.T + bias + prior
        entropy = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        value = (share * entropy).sum() + penalty * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return weight.detach().numpy(), bias.detach().numpy()


def fit_speech(speech: Rows, other: Rows, head: Head) -> tuple[Floats, float]:
    """Fit weights and bias of the logit of speech, for the embedding of the labels' head.

    Columns are standardised over speech and other sounds together: on the scale of speech alone nearly all
    speech of unseen corpora was classified as not speech.
    """
    x = np.concatenate([speech.x, other.x])
    target = (np.arange(len(x)) < len(speech.labels)).astype(np.int64)
    kinds = np.where(["+" in clip for clip in speech.ids], "mixed", speech.corpora)
    shares = np.concatenate([_divide(kinds), _divide(other.corpora)]) / 2
    mean = shares @ x
    scale = 1 / (np.sqrt(np.maximum(shares @ np.square(x) - mean**2, 0)) + 1e-4)
    rows = (x - mean) * scale
    weight, bias = _fit_logistic(rows, target, shares, np.zeros((len(x), 2), np.float32), SPEECH_PENALTY)
    on_states = (weight[1] - weight[0]) * scale
    return on_states / head.scale, float(bias[1] - bias[0] + (head.mean - mean) @ on_states)


def _divide(groups: NDArray[np.str_]) -> Floats:
    """Compute weights that sum to 1: groups count by `SPEECH_SHARES`."""
    names, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    shares = np.array([SPEECH_SHARES.get(str(name), 0.0) for name in names])
    shares[shares == 0] = (1 - shares.sum()) / max(1, (shares == 0).sum())
    return (shares / shares.sum() / counts)[index].astype(np.float32)
