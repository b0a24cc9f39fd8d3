"""Calibrate probabilities with a temperature, and set the confidence below which a model abstains.

Needs numpy alone. Both are set on clips that were not trained on, of other speakers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emovox._arrays import Doubles
from emovox.errors import ConfigError

__all__ = ["FEWEST", "Calibration", "abstention", "calibrated", "fit_temperature", "log_softmax"]

FEWEST = 30
"""Clips that a temperature needs: with a handful, all of them right, any model would be certain."""


_STEP = np.log(25) / 399
"""Step between the logarithms of the temperatures that are tried: 0.8 %."""

_SUREST = 0.99
"""The highest threshold below which a model abstains."""


def log_softmax(logits: Doubles) -> Doubles:
    """Log-probabilities over the last axis."""
    z = logits - logits.max(-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(-1, keepdims=True)))


def fit_temperature(
    logits: Doubles,
    labels: npt.NDArray[np.int64],
    weights: Doubles | None = None,
    shares: Doubles | None = None,
) -> float:
    """Find the temperature in 0.02 to 50 that minimises the log-loss (Guo et al., 2017).

    Args:
        logits: ``(n, n_labels)``.
        labels: ``(n,)`` indices.
        weights: ``(n,)``, how much each clip counts; evenly when ``None``.
        shares: soft labels ``(n, n_labels)``, whose cross entropy is minimised in the place of the log-loss.

    Raises:
        ConfigError: there are no clips.
    """
    if not len(labels):
        raise ConfigError("no clips to fit the temperature on; expected some that were not trained on")
    rows = np.arange(len(labels))

    def best(steps: npt.NDArray[np.int64]) -> int:
        """The step of the lowest loss."""

        def loss(step: int) -> float:
            scores = log_softmax(logits / np.exp(_STEP * (step + 0.5)))
            of_clips = scores[rows, labels] if shares is None else (shares * scores).sum(1)
            return float(-np.average(of_clips, weights=weights))

        losses = [loss(step) for step in steps]
        return int(steps[int(np.argmin(losses))])

    near = best(np.arange(-480, 481, 20))  # the loss is convex in 1 / temperature: it has one valley
    around = np.arange(max(near - 20, -480), min(near + 20, 480) + 1)
    return float(np.exp(_STEP * (best(around) + 0.5)))


def abstention(confidence: Doubles, coverage: float, weights: Doubles | None = None) -> float:
    """Find the confidence above which a share ``coverage`` of the clips gets a label; 0 if all of them do.

    At most 0.99: a model that was sure of every validation clip would otherwise abstain everywhere else.

    Args:
        confidence: ``(n,)``, of the likeliest label, 0 to 1.
        coverage: over 0, at most 1.
        weights: ``(n,)``, how much each clip counts; evenly when ``None``.
    """
    if coverage >= 1:
        return 0.0
    counts = np.ones(len(confidence)) if weights is None else weights
    order = np.argsort(confidence)
    place = np.searchsorted(np.cumsum(counts[order]) / counts.sum(), 1 - coverage)
    return min(float(confidence[order][place]), _SUREST)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Temperature and threshold of a model."""

    temperature: float = 1.0
    threshold: float = 0.0
    """Below this confidence it abstains."""
    notes: tuple[str, ...] = ()
    """For people, if there were too few clips."""


def calibrated(
    logits: Doubles, labels: npt.NDArray[np.int64], coverage: float = 0.9, shares: Doubles | None = None
) -> Calibration:
    """Set temperature and threshold on logits ``(n, n_labels)``; neither with fewer than `FEWEST` clips.

    Args:
        labels: ``(n,)`` indices.
        coverage: share of the clips that get a label.
        shares: soft labels ``(n, n_labels)``, if the clips have some.
    """
    if len(labels) < FEWEST:
        few = f"{len(labels)} validation clips are too few for calibration (expected {FEWEST} or more)"
        return Calibration(notes=(f"{few}: probabilities stay as they are, and it never abstains",))
    temperature = fit_temperature(logits, labels, shares=shares)
    confidence = np.exp(log_softmax(logits / temperature)).max(1)
    return Calibration(temperature, abstention(confidence, coverage))
