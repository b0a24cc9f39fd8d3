"""Sets of training clips of any length: sampling, padding, statistics, and waveforms kept on disk."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from emovox.errors import ConfigError

__all__ = [
    "ClipSet",
    "WaveformCache",
    "balanced_weights",
    "draw_epoch",
    "frame_statistics",
    "label_mask",
    "pad_clips",
    "trim_constant_end",
]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Clips and their labels.

    Raises:
        ConfigError: there are no clips, one is empty, or the parts differ in size.
    """

    variants: Sequence[Sequence[Floats]]
    """Each holds all clips, ``(t, d)`` frames or ``(n,)`` samples: first as recorded, then augmented."""
    labels: npt.NDArray[np.int64]
    """``(n,)``."""
    corpora: npt.NDArray[np.int64]
    """``(n,)``."""
    corpus_labels: npt.NDArray[np.bool_]
    """``(n_corpora, n_labels)``: labels that a corpus contains; its clips do not train the others."""
    values: Floats | None = None
    """``(n, n_values)`` standardised targets; nan is missing."""
    has_labels: bool = True
    """Whether labels are predicted; otherwise ``labels`` are all 0."""
    shares: Floats | None = None
    """``(n, n_labels)`` soft labels, rows summing to 1; ``None``: each clip has one label."""

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
        """Columns of the frames; 1 for waveforms."""
        return self.variants[0][0].shape[1] if self.variants[0][0].ndim > 1 else 1

    @property
    def digest(self) -> str:
        """16 hex digits that identify the clips and their labels."""
        digest = hashlib.sha256()
        for part in (self.labels, self.corpora, self.corpus_labels):
            digest.update(np.ascontiguousarray(part).tobytes())
        if self.values is not None:
            digest.update(self.values.tobytes())
            digest.update(bytes([self.has_labels]))
        if self.shares is not None:
            digest.update(self.shares.tobytes())
        for variant in self.variants:
            digest.update(np.array([len(clip) for clip in variant]).tobytes())
            digest.update(np.array([np.nansum(clip, dtype=np.float64) for clip in variant]).tobytes())
        return digest.hexdigest()[:16]

    def select(self, rows: Sequence[int] | npt.NDArray[np.intp]) -> ClipSet:
        """Return the clips of some rows."""
        variants = [[variant[row] for row in rows] for variant in self.variants]
        values = None if self.values is None else self.values[rows]
        labels, corpora = self.labels[rows], self.corpora[rows]
        shares = None if self.shares is None else self.shares[rows]
        return ClipSet(variants, labels, corpora, self.corpus_labels, values, self.has_labels, shares)

    @property
    def n_logits(self) -> int:
        """Outputs of a net that are logits; the values follow them."""
        return self.corpus_labels.shape[1] if self.has_labels else 0

    def draw_probabilities(self) -> npt.NDArray[np.float64]:
        """Return sampling probabilities ``(n,)`` that balance corpora, and labels within each."""
        every = np.ones(len(self), bool)
        return balanced_weights(self.labels, self.corpora, every, dict.fromkeys(np.unique(self.corpora), 1.0))


class WaveformCache:
    """Waveforms in an unnamed temporary file, since hours of sound do not fit in memory.

    The file is deleted with the last array of `finish`.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._spans: dict[str, tuple[int, int]] = {}
        self._n_samples = 0

    def add(self, key: str, x: Floats) -> None:
        """Append the waveform ``x (n,)``."""
        self._file.write(np.ascontiguousarray(x, np.float32).tobytes())
        self._spans[key] = (self._n_samples, self._n_samples + len(x))
        self._n_samples += len(x)

    def finish(self) -> Mapping[str, Floats]:
        """Close the cache and return its waveforms, read from the file on access."""
        with self._file as file:
            file.flush()
            samples: Floats = np.memmap(file, np.float32, "r") if self._n_samples else np.zeros(0, np.float32)
        return {key: samples[first:last] for key, (first, last) in self._spans.items()}


def label_mask(
    labels: npt.NDArray[np.int64], corpora: npt.NDArray[np.int64], n_labels: int
) -> npt.NDArray[np.bool_]:
    """Return which labels occur in each corpus: ``(n_corpora, n_labels)``."""
    mask = np.zeros((int(corpora.max()) + 1, n_labels), bool)
    mask[corpora, labels] = True
    return mask


def balanced_weights(
    labels: npt.NDArray[np.int64],
    corpora: npt.NDArray[np.int64],
    training: npt.NDArray[np.bool_],
    shares: Mapping[int, float],
) -> npt.NDArray[np.float64]:
    """Return sampling probabilities ``(n,)``: corpora by ``shares``, labels evenly within a corpus.

    Raises:
        ConfigError: no training clip has a corpus with a positive share.
    """
    weights = np.zeros(len(labels))
    for corpus, share in shares.items():
        in_corpus = training & (corpora == corpus)
        present = np.unique(labels[in_corpus])
        for label in present:
            rows = in_corpus & (labels == label)
            weights[rows] = share / len(present) / rows.sum()
    if not weights.sum() > 0:
        raise ConfigError("nothing to train on: no training clip has a corpus with a positive share")
    return np.asarray(weights / weights.sum())


def draw_epoch(
    probabilities: npt.NDArray[np.float64] | None, n: int, seed: int, epoch: int
) -> npt.NDArray[np.intp]:
    """Draw the ``n`` rows of an epoch, with replacement; without probabilities each row once, shuffled."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(n) if probabilities is None else rng.choice(n, n, p=probabilities)
    return np.asarray(order, np.intp)


def pad_clips(clips: Sequence[Floats]) -> tuple[Tensor, Tensor]:
    """Return clips ``(t, d)`` or ``(n,)`` as one zero-padded batch, and their lengths ``(b,)``."""
    lengths = [len(clip) for clip in clips]
    batch = np.zeros((len(clips), max(lengths), *clips[0].shape[1:]), np.float32)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    return torch.from_numpy(batch), torch.tensor(lengths)


def trim_constant_end(clip: Floats) -> Floats:
    """Return ``clip (t, d)`` without equal frames at its end but one, as `nets.layers.count_frames`."""
    values = np.nan_to_num(clip)
    changes = np.flatnonzero((values[1:] != values[:-1]).any(1))
    return clip[: changes[-1] + 2 if len(changes) else 1]


def frame_statistics(variants: Sequence[Sequence[Floats]]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation ``(d,)`` over all frames, leaving out nan; 1 for a constant column."""
    d = variants[0][0].shape[1]
    n, first, second = np.zeros(d), np.zeros(d), np.zeros(d)
    # Sums about the first clip's mean lose less precision. A row of zeros keeps missing columns defined.
    first_clip = np.concatenate([variants[0][0].astype(np.float64), np.zeros((1, d))])
    centre = np.nan_to_num(np.nanmean(first_clip, axis=0))
    for variant in variants:
        for clip in variant:
            rows = clip.astype(np.float64) - centre
            exists = ~np.isnan(rows)
            rows = np.where(exists, rows, 0)
            n, first, second = n + exists.sum(0), first + rows.sum(0), second + np.square(rows).sum(0)
    mean = first / np.maximum(n, 1)
    deviation = np.sqrt(np.maximum(second / np.maximum(n, 1) - mean**2, 0))
    mean = mean + centre
    deviation[deviation <= 1e-5 * np.abs(mean) + 1e-12] = 1  # constant but for rounding
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(deviation.astype(np.float32))
