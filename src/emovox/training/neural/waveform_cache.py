"""Sounds to train on, kept in a file rather than in memory, which hours of sound would fill."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

import numpy as np

from emovox._arrays import Floats

__all__ = ["Shelf"]


class Shelf:
    """Takes sounds one by one, and gives them all; its file has no name and goes with the last of them."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._spans: dict[str, tuple[int, int]] = {}
        self._n = 0

    def put(self, key: str, x: Floats) -> None:
        """Keep ``x (n,)``."""
        self._file.write(np.ascontiguousarray(x, np.float32).tobytes())
        self._spans[key] = (self._n, self._n + len(x))
        self._n += len(x)

    def all(self) -> Mapping[str, Floats]:
        """What was put here, read from the file where it is looked at; no more is taken then."""
        with self._file as file:
            file.flush()
            whole: Floats = np.memmap(file, np.float32, "r") if self._n else np.zeros(0, np.float32)
        return {key: whole[first:last] for key, (first, last) in self._spans.items()}
