"""What may vary in each net, and how it is taught, when its settings are searched for.

A name is a setting of the net, as under ``model.params``, or one of its training, as ``train.learning_rate``.
"""

from __future__ import annotations

from collections.abc import Mapping

from emovox.training.classical.spaces import Choice, Range, Space

__all__ = ["COMMON", "NET_SPACES", "space_of_net"]

COMMON: Space = {
    "dropout": Range(0.0, 0.6),
    "head": Choice((0, 64, 128)),
    "train.learning_rate": Range(3e-4, 1e-2, log=True),
    "train.batch_size": Choice((16, 32, 64)),
    "train.weight_decay": Range(1e-4, 0.3, log=True),
}
"""Of all nets."""

_POOLING = Choice(("attention", "statistics", "mean"))
_MEMORY: Space = {
    "hidden": Range(32, 192, log=True, whole=True),
    "n_layers": Range(1, 3, whole=True),
    "pooling": Choice((*_POOLING.values, "last")),
}
_CHANNELS = Choice(((32, 64), (64, 64), (64, 128), (64, 128, 128)))

NET_SPACES: Mapping[str, Space] = {
    "mlp": {"layers": Choice(((64,), (128,), (128, 128), (256, 128)))},
    "lstm": _MEMORY,
    "bilstm": _MEMORY,
    "gru": _MEMORY,
    "cnn1d": {"channels": _CHANNELS, "kernel": Choice((3, 5, 7, 9)), "pooling": _POOLING},
    "cnn2d": {"channels": Choice(((16, 32), (16, 32, 64), (32, 64, 64))), "pooling": _POOLING},
    "clstm": {
        "channels": Choice(((32,), (64,), (64, 64))),
        "kernel": Choice((3, 5, 7)),
        "hidden": Range(32, 128, log=True, whole=True),
        "bidirectional": Choice((False, True)),
    },
    "crnn": {
        "channels": Choice(((16,), (16, 32), (32, 32))),
        "hidden": Range(32, 128, log=True, whole=True),
        "bidirectional": Choice((False, True)),
    },
    "tcn": {
        "channels": Choice((32, 64, 96)),
        "kernel": Choice((3, 5)),
        "n_blocks": Range(3, 7, whole=True),
        "pooling": _POOLING,
    },
    "conformer": {
        "channels": Choice((48, 64, 96)),
        "n_blocks": Range(1, 3, whole=True),
        "kernel": Choice((7, 15, 31)),
        "pooling": _POOLING,
    },
}
"""Net -> what may vary of it, beside `COMMON`."""


def space_of_net(name: str) -> Space:
    """All that may vary of a net; of one that is not in the table, what all have in common."""
    return {**NET_SPACES.get(name, {}), **COMMON}
