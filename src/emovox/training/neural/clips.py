"""Clips to train on: sequences of any length, drawn into padded batches, the same ones for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emovox._arrays import Bools, Doubles, Floats, Ints
from emovox.errors import ConfigError
from emovox.training.neural.vectors import balanced_weights

__all__ = ["ClipSet", "drawn", "frame_statistics", "padded"]


@dataclass(frozen=True, eq=False)
class ClipSet:
    """What is heard, and what it expresses.

    Raises:
        ConfigError: there are no clips, one is empty, or the parts are of different sizes.
    """

    variants: Sequence[Sequence[Floats]]
    """Each holds all clips, ``(t, d)`` frames or ``(n,)`` samples; the first as they are, more augmented."""
    labels: npt.NDArray[np.int64]
    """``(n,)``."""
    corpora: npt.NDArray[np.int64]
    """``(n,)``."""
    shown: Bools
    """``(n_corpora, n_labels)``: which labels a corpus can show; others are not taught by its clips."""

    def __post_init__(self) -> None:
        n = len(self.labels)
        sizes = [len(self.corpora), *map(len, self.variants)]
        if not n or not self.variants or sizes != [n] * len(sizes):
            raise ConfigError(
                f"{n} labels, {sizes} corpora and clips; expected as many of each, and one at least"
            )
        if any(not len(clip) for variant in self.variants for clip in variant):
            raise ConfigError("a clip has no frames; expected one at least: leave out what is too short")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_columns(self) -> int:
        """Of frames; 1 of samples."""
        return self.variants[0][0].shape[1] if self.variants[0][0].ndim > 1 else 1

    @property
    def digest(self) -> str:
        """16 hex digits that name the clips: another set has others."""
        seen = hashlib.sha256()
        for part in (self.labels, self.corpora, self.shown):
            seen.update(np.ascontiguousarray(part).tobytes())
        for variant in self.variants:
            seen.update(np.array([len(clip) for clip in variant]).tobytes())
            seen.update(np.array([np.nansum(clip, dtype=np.float64) for clip in variant]).tobytes())
        return seen.hexdigest()[:16]

    def part(self, rows: Sequence[int] | Ints) -> ClipSet:
        """The clips of some rows."""
        heard = [[variant[row] for row in rows] for variant in self.variants]
        return ClipSet(heard, self.labels[rows], self.corpora[rows], self.shown)

    def chances(self) -> Doubles:
        """Of being drawn ``(n,)``, so that corpora are heard alike, and labels alike within each."""
        every = np.ones(len(self), bool)
        return balanced_weights(self.labels, self.corpora, every, dict.fromkeys(np.unique(self.corpora), 1.0))


def drawn(chances: Doubles | None, n: int, seed: int, epoch: int) -> Ints:
    """The ``n`` clips of an epoch, in order: drawn by ``chances``, or each once where that is None."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(n) if chances is None else rng.choice(n, n, p=chances)
    return np.asarray(order, np.intp)


def padded(clips: Sequence[Floats]) -> tuple[Tensor, Tensor]:
    """Clips ``(t, d)`` or ``(n,)`` as one batch, zeros behind the shorter, and their lengths ``(b,)``."""
    lengths = [len(clip) for clip in clips]
    batch = np.zeros((len(clips), max(lengths), *clips[0].shape[1:]), np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return torch.from_numpy(batch), torch.tensor(lengths)


def frame_statistics(variants: Sequence[Sequence[Floats]]) -> tuple[Tensor, Tensor]:
    """Mean and deviation ``(d,)`` of all frames; missing ones left out, 1 for a column that is constant."""
    d = variants[0][0].shape[1]
    n, first, second = np.zeros(d), np.zeros(d), np.zeros(d)
    centre = np.nan_to_num(np.nanmean(_with_a_row(variants[0][0]), axis=0))
    for variant in variants:
        for clip in variant:
            rows = clip.astype(np.float64) - centre
            known = ~np.isnan(rows)
            rows = np.where(known, rows, 0)
            n, first, second = n + known.sum(0), first + rows.sum(0), second + np.square(rows).sum(0)
    mean = first / np.maximum(n, 1)
    deviation = np.sqrt(np.maximum(second / np.maximum(n, 1) - mean**2, 0))
    mean = mean + centre
    deviation[deviation <= 1e-5 * np.abs(mean) + 1e-12] = 1  # but for rounding it is constant
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(deviation.astype(np.float32))


def _with_a_row(clip: Floats) -> Doubles:
    """``clip`` and a row of zeros, so that no column is wholly missing."""
    return np.concatenate([clip.astype(np.float64), np.zeros((1, clip.shape[1]))])
