"""Embeddings of pretrained speech encoders (extra ``ssl``; Whisper needs PyTorch alone).

::

    hubert = find_embedding("facebook/hubert-base-ls960", layer="all-mean", pooling="mean_std")
    row = compute(x, 16_000, embedding=hubert)                  # (1536,) float32
    rows = embed(recordings, hubert, batch_size=16, device="cuda")

wav2vec2, HuBERT, WavLM, data2vec-audio and the encoder of Whisper, by their name on the Hub or by a folder;
see `emovox.nets.checkpoints`. The networks are those of `emovox.nets`, so a recording has the same
embedding alone and in a batch.

**Layers.** Layer 0 is the input of the transformer, layer i the output of its i-th block. The last layer of
encoders with a final normalisation is normalised, except that of Whisper.

**Length and level.** Whisper takes at most 30 s at once, so longer recordings are split. Shorter ones are not
padded, and their peak is scaled to 0.5, so that gain changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.errors import AudioValueError, ConfigError
from emovox.nets import checkpoints

__all__ = [
    "POOLINGS",
    "Embedding",
    "compute",
    "embed",
    "find_embedding",
]

Layer = int | str | Sequence[float]
POOLINGS = ("mean", "mean_std", "max", "frames")


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A checkpoint on this machine, and the layers and the pooling of its embedding."""

    folder: Path
    family: str
    size: int
    """Values of a frame."""
    layer_weights: tuple[float, ...]
    """One for each layer, from the input of the transformer to its output; they sum to 1."""
    pooling: str
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    """Of the convolutions from samples to frames; of Whisper: spectrogram and second convolution."""
    max_samples: int | None
    """Longest input: 480,000 for Whisper."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the values, by the family and not by the folder, which differs between machines."""
        parts = {"mean_std": ("mean", "std"), "frames": ("frame",)}.get(self.pooling, (self.pooling,))
        return tuple(f"{self.family}_{part}_{i:04d}" for part in parts for i in range(self.size))

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return prod(self.strides)

    @property
    def depth(self) -> int:
        """The highest layer with a weight."""
        return max(i for i, weight in enumerate(self.layer_weights) if weight)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of that many samples; 0 if they are too few for one."""
        if self.family == "whisper":
            return -(-(n_samples // self.strides[0]) // self.strides[1])
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            n_samples = max(0, (n_samples - kernel) // stride + 1)
        return n_samples

    def definition(self) -> dict[str, Any]:
        """Return what the values depend on besides the checkpoint."""
        content: dict[str, Any] = {"layer_weights": list(self.layer_weights), "pooling": self.pooling}
        return content | ({"level": "peak"} if self.family == "whisper" else {})

    def checkpoint(self) -> dict[str, str]:
        """Return the SHA-256 of each file of the checkpoint that the values depend on."""
        return checkpoints.hash_checkpoint(self.folder)


# --- from name to embedding --------------------------------------------------------------------------


def find_embedding(
    model: str | Path,
    *,
    layer: Layer = "all-mean",
    pooling: str = "mean",
    revision: str | None = None,
    download: bool = False,
) -> Embedding:
    """Find a checkpoint and choose layers and pooling; the weights are read on first use.

    Args:
        model: a folder, the file of a Whisper's weights, or a name on the Hub, looked up in Hugging Face's
        own
            cache.
        layer: an index (negative ones count from the last), ``"last"``, ``"all-mean"``, or a weight for each
            layer, from the input of the transformer to its output, for their weighted mean.
        pooling: over frames: ``mean``, ``mean_std``, ``max``, or ``frames`` for none.
        revision: of a name on the Hub.
        download: fetch files that are not in the cache.

    Raises:
        ConfigError: the checkpoint is missing or not supported; no such layer or pooling.
        MissingExtraError: the extra ``ssl`` is not installed.
    """
    if pooling not in POOLINGS:
        raise ConfigError(f"the pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
    folder = checkpoints.find_checkpoint(str(model), revision=revision, download=download)
    if checkpoints.is_whisper(folder):
        checkpoints.check_installed("torch")
        from emovox.nets.whisper import HOP, read_config

        sizes = read_config(folder)
        return Embedding(
            folder=folder,
            family="whisper",
            size=sizes.size,
            layer_weights=_layer_weights(layer, sizes.n_layers),
            pooling=pooling,
            kernels=(),
            strides=(HOP, 2),
            max_samples=sizes.max_samples,
        )
    config = checkpoints.read_transformers_config(folder)
    return Embedding(
        folder=folder,
        family=str(config.model_type),
        size=int(config.hidden_size),
        layer_weights=_layer_weights(layer, int(config.num_hidden_layers)),
        pooling=pooling,
        kernels=tuple(config.conv_kernel),
        strides=tuple(config.conv_stride),
        max_samples=None,
    )


def _layer_weights(layer: Layer, n_layers: int) -> tuple[float, ...]:
    """Return a weight for each of the ``n_layers + 1`` layers, summing to 1."""
    n = n_layers + 1
    if layer == "all-mean":
        return (1 / n,) * n
    if layer == "last" or (isinstance(layer, int | np.integer) and not isinstance(layer, bool)):
        index = n_layers if layer == "last" else int(layer)
        if -n <= index < n:
            return tuple(float(i == index % n) for i in range(n))
    elif isinstance(layer, Sequence) and not isinstance(layer, str) and len(layer) == n:
        weights = np.asarray(layer, dtype=np.float64)
        if np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0:
            return tuple((weights / weights.sum()).tolist())
    raise ConfigError(
        f"the layer is {layer!r}; expected an index from 0 to {n_layers}, 'last', 'all-mean', "
        f"or {n} weights that are not negative"
    )


# --- from samples to values --------------------------------------------------------------------------


def compute(x: Floats, sample_rate: int, *, embedding: Embedding) -> Floats:
    """Compute the embedding ``(d,)`` of samples ``(n,)`` at 16 kHz, or ``(t, size)`` for frames.

    Samples too few for a frame give nan, or no frames.
    """
    return embed([x], embedding)[0]


def embed(
    sounds: Sequence[Floats], embedding: Embedding, *, batch_size: int = 8, device: str = "cpu"
) -> list[Floats]:
    """Compute the embeddings of many recordings in batches; each equals `compute` to float32 rounding.

    Args:
        sounds: samples ``(n,)`` at 16 kHz each.
        embedding: the encoder.
        batch_size: largest batch.
        device: a device of torch.

    Raises:
        AudioValueError: a recording is not ``(n,)``, or not finite.
    """
    for i, x in enumerate(sounds):
        if np.ndim(x) != 1 or not np.isfinite(x).all():
            raise AudioValueError(
                f"recording {i} has the shape {np.shape(x)}; expected (n,) of finite samples"
            )
    pieces: list[tuple[int, Floats]] = []
    for i, x in enumerate(sounds):
        n = embedding.max_samples or max(1, len(x))
        parts = (np.asarray(x[start : start + n], np.float32) for start in range(0, len(x), n))
        pieces += [(i, part) for part in parts if embedding.n_frames(part.size)]
    frames: list[Floats] = [np.empty((0, embedding.size), np.float32)] * len(pieces)
    by_length = sorted(range(len(pieces)), key=lambda k: pieces[k][1].size)  # so that little is padded
    for first in range(0, len(pieces), batch_size):
        batch = by_length[first : first + batch_size]
        for k, values in zip(batch, _run([pieces[k][1] for k in batch], embedding, device), strict=True):
            frames[k] = values
    whole: list[list[Floats]] = [[np.empty((0, embedding.size), np.float32)] for _ in sounds]
    for (i, _), values in zip(pieces, frames, strict=True):
        whole[i].append(values)
    return [_pool(np.concatenate(parts), embedding.pooling) for parts in whole]


def _run(sounds: Sequence[Floats], embedding: Embedding, device: str) -> list[Floats]:
    """Frames ``(t, size)`` of each recording of a batch: the weighted mean of the layers."""
    import torch

    state = checkpoints.checkpoint_state(embedding.folder)
    encoder = _load(embedding.folder, embedding.depth, device, state)
    waveform = torch.zeros(len(sounds), max(x.size for x in sounds))
    for row, x in zip(waveform, sounds, strict=True):
        row[: x.size] = torch.from_numpy(x)
    lengths = torch.tensor([x.size for x in sounds])
    with torch.inference_mode():
        layers, _ = encoder(waveform.to(device), lengths.to(device))
        weighted = [(weight, layers[i]) for i, weight in enumerate(embedding.layer_weights) if weight]
        mean = weighted[0][1] if len(weighted) == 1 else sum(weight * layer for weight, layer in weighted)
        values = mean.float().cpu().numpy()
    return [row[: embedding.n_frames(x.size)] for row, x in zip(values, sounds, strict=True)]


@lru_cache(maxsize=2)
def _load(folder: Path, depth: int, device: str, state: object) -> Any:
    """Load the encoder up to layer ``depth``; ``state`` is part of the cache key."""
    from emovox.nets.pretrained import load_pretrained

    return load_pretrained(folder, n_layers=depth).to(device).eval()


def _pool(frames: Floats, pooling: str) -> Floats:
    if pooling == "frames":
        return frames
    if not len(frames):
        return np.full(frames.shape[1] * (2 if pooling == "mean_std" else 1), np.nan, np.float32)
    if pooling == "max":
        return np.asarray(frames.max(0))
    mean = frames.mean(0, dtype=np.float64)
    parts = [mean, frames.std(0, dtype=np.float64)] if pooling == "mean_std" else [mean]
    return np.concatenate(parts).astype(np.float32)
