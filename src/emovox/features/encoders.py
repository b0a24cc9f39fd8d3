"""Embeddings: what a pretrained speech encoder of Hugging Face says of a recording (extra ``ssl``).

::

    hubert = opened("facebook/hubert-base-ls960", layer="all-mean", pooling="mean_std")
    row = compute(x, 16_000, embedding=hubert)                  # (1536,) float32
    rows = embed(recordings, hubert, batch_size=16, device="cuda")

wav2vec2, HuBERT, WavLM, data2vec-audio and the encoder of Whisper, by their name on the Hub or by a folder.
Only safetensors are read, and a checkpoint that lacks a weight is refused.

**Layers.** Layer 0 is what enters the transformer, layer i what its i-th block hands on, and the last what
the encoder gives out, after its final normalisation where it has one. This holds for any version of
transformers, whose ``hidden_states`` ends in the one or the other.

**Batches.** A recording says the same alone and among others. Encoders with group norm or with data2vec's
chain of positional convolutions hear their padding, and WavLM's mask is deprecated in torch: there only equal
lengths go together. Whisper hears exactly 30 s: the rest is silence, whose frames are dropped, and longer
sound is heard in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import AudioValueError, ConfigError
from emovox.features import checkpoints
from emovox.features.checkpoints import EAR, read_json

__all__ = ["FAMILIES", "POOLINGS", "Embedding", "compute", "embed", "opened", "read"]

Layer = int | str | Sequence[float]
FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper")
"""``model_type`` of the checkpoints that are understood."""
POOLINGS = ("mean", "mean_std", "max", "frames")


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A checkpoint on this machine, and what is wanted of it."""

    folder: Path
    family: str
    size: int
    """Of a frame."""
    layer_weights: tuple[float, ...]
    """One a layer, from what enters the transformer to what leaves it; they sum to 1."""
    pooling: str
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    """Of the convolutions that make frames of samples."""
    max_frames: int | None
    """What it hears at once, in frames: Whisper's 1500."""
    pads: bool
    """Whether different lengths may be padded to one batch."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the values, by the family and not by the folder, which may be anywhere."""
        parts = {"mean_std": ("mean", "std"), "frames": ("frame",)}.get(self.pooling, (self.pooling,))
        return tuple(f"{self.family}_{part}_{i:04d}" for part in parts for i in range(self.size))

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return prod(self.strides)

    @property
    def depth(self) -> int:
        """The highest layer that takes part."""
        return max(i for i, weight in enumerate(self.layer_weights) if weight)

    def n_frames(self, n_samples: int) -> int:
        """Frames that sound of this length has of its own; 0 where it is too short for one."""
        if self.max_frames is not None:
            return -(-n_samples // self.hop)
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            n_samples = max(0, (n_samples - kernel) // stride + 1)
        return n_samples

    def definition(self) -> dict[str, Any]:
        """What the values depend on beside the checkpoint."""
        return {"layer_weights": list(self.layer_weights), "pooling": self.pooling}

    def checkpoint(self) -> dict[str, str]:
        """The SHA-256 of each file of the checkpoint that the values depend on."""
        return checkpoints.digests(self.folder)


# ------------------------------------------------------------------------------------- from name to entry


def opened(
    model: str | Path,
    *,
    layer: Layer = "all-mean",
    pooling: str = "mean",
    revision: str | None = None,
    download: bool = False,
) -> Embedding:
    """Find a checkpoint and say what is wanted of it; the weights are read when the first sound comes.

    Args:
        model: a folder, or a name on the Hub, of which a copy is in Hugging Face's own cache.
        layer: an index (negative ones count from the last), ``"last"``, ``"all-mean"``, or a weight for each
            layer, from what enters the transformer to what leaves it, for their weighted mean.
        pooling: over frames: ``mean``, ``mean_std``, ``max``, or ``frames`` for none.
        revision: of a name on the Hub.
        download: fetch what is not in the cache.

    Raises:
        ConfigError: no such checkpoint here, or none that can be used; no such layer or pooling.
        MissingExtraError: the extra ``ssl`` is not installed.
    """
    if pooling not in POOLINGS:
        raise ConfigError(f"the pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
    folder = checkpoints.find(str(model), revision=revision, download=download)
    config = _config(folder)
    whisper = config.model_type == "whisper"
    n_layers = int(config.encoder_layers if whisper else config.num_hidden_layers)
    return Embedding(
        folder=folder,
        family=str(config.model_type),
        size=int(config.d_model if whisper else config.hidden_size),
        layer_weights=_layer_weights(layer, n_layers),
        pooling=pooling,
        kernels=() if whisper else tuple(config.conv_kernel),
        strides=(read_json(folder / EAR).get("hop_length", 160), 2) if whisper else tuple(config.conv_stride),
        max_frames=int(config.max_source_positions) if whisper else None,
        pads=config.model_type in ("wav2vec2", "hubert") and config.feat_extract_norm == "layer",
    )


def _config(folder: Path) -> Any:
    """Its configuration, defaults filled in."""
    family = read_json(folder / "config.json").get("model_type")
    if family not in FAMILIES:
        raise ConfigError(f"{folder}: an encoder of the type {family!r}; expected {', '.join(FAMILIES)}")
    if (rate := read_json(folder / EAR).get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
        raise ConfigError(f"{folder}: an encoder for sound at {rate} Hz; expected {SAMPLE_RATE}")
    checkpoints.need()
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if getattr(config, "add_adapter", False):
        raise ConfigError(
            f"{folder}: an encoder with an adapter behind it; expected one without (add_adapter)"
        )
    return config


def _layer_weights(layer: Layer, n_layers: int) -> tuple[float, ...]:
    """A weight for each of the ``n_layers + 1``, summing to 1."""
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


# ------------------------------------------------------------------------------------ from sound to numbers


def compute(x: Floats, sample_rate: int, *, embedding: Embedding) -> Floats:
    """``(len(columns),)`` of a sound ``(n,)`` at 16 kHz, or ``(t, size)`` for frames.

    Sound too short for a frame is nan, or no frames.
    """
    return embed([x], embedding)[0]


def embed(
    sounds: Sequence[Floats], embedding: Embedding, *, batch_size: int = 8, device: str = "cpu"
) -> list[Floats]:
    """Many sounds ``(n,)`` at 16 kHz, several at once; each as `compute` has it, to float32 rounding.

    Args:
        batch_size: at most so many at once; different lengths only where the encoder does not mind.
        device: a device of torch.

    Raises:
        AudioValueError: a sound is not ``(n,)``, or not finite.
    """
    for i, x in enumerate(sounds):
        if np.ndim(x) != 1 or not np.isfinite(x).all():
            raise AudioValueError(f"sound {i} has the shape {np.shape(x)}; expected (n,) of finite samples")
    pieces = [(i, piece) for i, x in enumerate(sounds) for piece in _pieces(x, embedding)]
    frames: list[Floats] = [np.empty((0, embedding.size), np.float32)] * len(pieces)
    for batch in _batches([piece.size for _, piece in pieces], embedding, batch_size):
        heard = _heard([pieces[k][1] for k in batch], embedding, device)
        for k, values in zip(batch, heard, strict=True):
            frames[k] = values
    whole: list[list[Floats]] = [[np.empty((0, embedding.size), np.float32)] for _ in sounds]
    for (i, _), values in zip(pieces, frames, strict=True):
        whole[i].append(values)
    return [_pooled(np.concatenate(parts), embedding.pooling) for parts in whole]


def _pieces(x: Floats, embedding: Embedding) -> list[Floats]:
    """What is heard at once: all of it, or for Whisper 30 s after 30 s."""
    n = embedding.max_frames * embedding.hop if embedding.max_frames else max(1, len(x))
    pieces = (np.asarray(x[at : at + n], np.float32) for at in range(0, len(x), n))
    return [piece for piece in pieces if embedding.n_frames(piece.size)]


def _batches(lengths: Sequence[int], embedding: Embedding, size: int) -> Iterator[list[int]]:
    """Indices, by length, so that little is padded, or nothing where nothing may be."""
    mixed = embedding.pads or embedding.max_frames is not None
    batch: list[int] = []
    for k in sorted(range(len(lengths)), key=lambda k: lengths[k]):
        if batch and (len(batch) == size or not (mixed or lengths[k] == lengths[batch[0]])):
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def _heard(sounds: Sequence[Floats], embedding: Embedding, device: str) -> list[Floats]:
    """Frames ``(t, size)`` of each sound of a batch: the weighted mean of the layers."""
    import torch

    network, ear = _network(embedding.folder, embedding.depth, device, checkpoints.state(embedding.folder))
    given = _given(sounds, embedding, ear)
    with torch.inference_mode():
        out = network(**{name: value.to(device) for name, value in given.items()}, output_hidden_states=True)
        layers = (*out.hidden_states[:-1], out.last_hidden_state)
        chosen = [(weight, layers[i]) for i, weight in enumerate(embedding.layer_weights) if weight]
        mean = chosen[0][1] if len(chosen) == 1 else sum(weight * layer for weight, layer in chosen)
        values = mean.float().cpu().numpy()
    return [row[: embedding.n_frames(x.size)] for row, x in zip(values, sounds, strict=True)]


def _given(sounds: Sequence[Floats], embedding: Embedding, ear: Any) -> dict[str, Any]:
    """What the network is called with; each sound is normalised by itself."""
    import torch

    if embedding.max_frames is not None:
        features = ear(list(sounds), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        return {"input_features": features}
    heard = [ear(x, sampling_rate=SAMPLE_RATE).input_values[0] for x in sounds]
    longest = max(x.size for x in sounds)
    values = np.stack([np.pad(np.asarray(x, np.float32), (0, longest - len(x))) for x in heard])
    given = {"input_values": torch.from_numpy(values)}
    if any(x.size < longest for x in sounds):
        lengths = torch.tensor([x.size for x in sounds])
        given["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
    return given


def _pooled(frames: Floats, pooling: str) -> Floats:
    if pooling == "frames":
        return frames
    if not len(frames):
        return np.full(frames.shape[1] * (2 if pooling == "mean_std" else 1), np.nan, np.float32)
    if pooling == "max":
        return np.asarray(frames.max(0))
    mean = frames.mean(0, dtype=np.float64)
    parts = [mean, frames.std(0, dtype=np.float64)] if pooling == "mean_std" else [mean]
    return np.concatenate(parts).astype(np.float32)


@lru_cache(maxsize=2)
def _network(folder: Path, depth: int, device: str, state: object) -> tuple[Any, Any]:
    """The encoder up to the layer needed, and what prepares sound for it, open until a file changes."""
    encoder, ear = read(folder)
    layers = encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layers
    del layers[depth + 1 :]  # one is kept above, for the last is what a final normalisation touches
    return encoder.to(device).eval(), ear


def read(folder: Path) -> tuple[Any, Any]:
    """The whole encoder (a module of torch) in a folder, and what prepares sound for it.

    Raises:
        ConfigError: it cannot be read, or lacks weights.
        MissingExtraError: the extra ``ssl`` is not installed.
    """
    model, loading, ear = _read(folder)
    missing = sorted(set(loading["missing_keys"]) - {"masked_spec_embed"})  # which only training uses
    encoder = model.get_encoder() if model.config.model_type == "whisper" else model
    if lost := [name for name in missing if not name.startswith("decoder.")]:
        raise ConfigError(f"{folder}: the weights lack {len(lost)} tensors of the encoder, such as {lost[0]}")
    return encoder, ear


def _read(folder: Path) -> tuple[Any, Mapping[str, Any], Any]:
    """(Model, what happened when its weights were read, what prepares sound)."""
    checkpoints.need()
    from safetensors import SafetensorError
    from transformers import AutoFeatureExtractor, AutoModel

    try:
        with _quiet():
            model, loading = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype="float32",
                output_loading_info=True,
            )
            return model, loading, AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{folder}: this checkpoint cannot be read: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar and its report on tensors that are not the encoder's."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
