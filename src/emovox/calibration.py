"""How sure may a model be? The temperature that makes its probabilities honest (numpy only)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from emovox.errors import ConfigError

__all__ = ["fit_temperature", "log_softmax"]


def log_softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log-probabilities over the last axis."""
    z = logits - logits.max(-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(-1, keepdims=True)))


def fit_temperature(
    logits: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64] | None = None,
) -> float:
    """The temperature in 0.2 to 5 that minimises the log-loss (Guo et al., 2017) on clips not trained on.

    Args:
        logits: ``(n, n_labels)``.
        labels: ``(n,)`` indices.
        weights: ``(n,)``, how much each clip counts; evenly when ``None``.

    Raises:
        ConfigError: there are no clips.
    """
    if not len(labels):
        raise ConfigError("no clips to fit the temperature on; expected some that were not trained on")
    rows = np.arange(len(labels))
    grid = np.exp(np.linspace(np.log(0.2), np.log(5.0), 400))
    losses = [-np.average(log_softmax(logits / t)[rows, labels], weights=weights) for t in grid]
    return float(grid[int(np.argmin(losses))])
