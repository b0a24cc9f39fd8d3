"""Embeddings of pretrained speech encoders of Hugging Face (extra ``ssl``).

::

    hubert = find_embedding("facebook/hubert-base-ls960", layer="all-mean", pooling="mean_std")
    row = compute(x, 16_000, embedding=hubert)                  # (1536,) float32
    rows = embed(recordings, hubert, batch_size=16, device="cuda")

wav2vec2, HuBERT, WavLM, data2vec-audio and the encoder of Whisper, by their name on the Hub or by a folder.
Nothing is downloaded by default. Only safetensors are read, for pickled weights can run any code; a
checkpoint that lacks a weight is refused.

**Layers.** Layer 0 is the input of the transformer, layer i the output of its i-th block, and the last the
output of the encoder, after its final normalisation where it has one. This holds for any version of
transformers, whose ``hidden_states`` ends in the one or the other.

**Batches.** A recording has the same embedding alone and in a batch. The output of encoders with group norm
or with data2vec's chain of positional convolutions depends on the padding, and WavLM's mask is deprecated in
torch: they get batches of equal lengths. Whisper takes exactly 30 s: shorter recordings are padded and the
frames of the padding dropped, longer ones are split.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
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
from emovox.errors import AudioValueError, ConfigError, MissingExtraError

__all__ = [
    "FAMILIES",
    "POOLINGS",
    "PREPROCESSOR",
    "Embedding",
    "check_installed",
    "checkpoint_state",
    "compute",
    "embed",
    "find_checkpoint",
    "find_embedding",
    "hash_checkpoint",
    "list_weight_files",
    "load_encoder",
    "read_json",
]

Layer = int | str | Sequence[float]
FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper")
"""``model_type`` of the supported checkpoints."""
POOLINGS = ("mean", "mean_std", "max", "frames")
PREPROCESSOR = "preprocessor_config.json"
"""The file that says how samples are prepared for the encoder."""
_WEIGHTS = "model.safetensors"
_SHARDS = "model.safetensors.index.json"


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
    """Of the convolutions from samples to frames."""
    max_frames: int | None
    """Longest input in frames: 1500 for Whisper."""
    pads: bool
    """Whether different lengths may be padded to one batch."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the values, by the family and not by the folder, which differs between machines."""
        parts = {"mean_std": ("mean", "std"), "frames": ("frame",)}.get(self.pooling, (self.pooling,))
        return tuple(f"{self.family}_{part}_{i:04d}" for part in parts for i in range(self.size))

    @property
    def hop(self) -> int:
        """Floats from frame to frame."""
        return prod(self.strides)

    @property
    def depth(self) -> int:
        """The highest layer with a weight."""
        return max(i for i, weight in enumerate(self.layer_weights) if weight)

    def n_frames(self, n_samples: int) -> int:
        """Return the number of frames of that many samples; 0 if they are too few for one."""
        if self.max_frames is not None:
            return -(-n_samples // self.hop)
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            n_samples = max(0, (n_samples - kernel) // stride + 1)
        return n_samples

    def definition(self) -> dict[str, Any]:
        """Return what the values depend on besides the checkpoint."""
        return {"layer_weights": list(self.layer_weights), "pooling": self.pooling}

    def checkpoint(self) -> dict[str, str]:
        """Return the SHA-256 of each file of the checkpoint that the values depend on."""
        return hash_checkpoint(self.folder)


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
        model: a folder, or a name on the Hub, looked up in Hugging Face's own cache.
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
    folder = find_checkpoint(str(model), revision=revision, download=download)
    config = _read_config(folder)
    whisper = config.model_type == "whisper"
    n_layers = int(config.encoder_layers if whisper else config.num_hidden_layers)
    return Embedding(
        folder=folder,
        family=str(config.model_type),
        size=int(config.d_model if whisper else config.hidden_size),
        layer_weights=_layer_weights(layer, n_layers),
        pooling=pooling,
        kernels=() if whisper else tuple(config.conv_kernel),
        strides=(read_json(folder / PREPROCESSOR).get("hop_length", 160), 2)
        if whisper
        else tuple(config.conv_stride),
        max_frames=int(config.max_source_positions) if whisper else None,
        pads=config.model_type in ("wav2vec2", "hubert") and config.feat_extract_norm == "layer",
    )


def _read_config(folder: Path) -> Any:
    """Read the config of transformers, with its defaults."""
    family = read_json(folder / "config.json").get("model_type")
    if family not in FAMILIES:
        raise ConfigError(f"{folder}: an encoder of the type {family!r}; expected {', '.join(FAMILIES)}")
    if (rate := read_json(folder / PREPROCESSOR).get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
        raise ConfigError(f"{folder}: an encoder for {rate} Hz; expected {SAMPLE_RATE}")
    check_installed()
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if getattr(config, "add_adapter", False):
        raise ConfigError(f"{folder}: an encoder with an adapter; expected one without (add_adapter)")
    return config


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

    Floats too few for a frame give nan, or no frames.
    """
    return embed([x], embedding)[0]


def embed(
    sounds: Sequence[Floats], embedding: Embedding, *, batch_size: int = 8, device: str = "cpu"
) -> list[Floats]:
    """Compute the embeddings of many recordings in batches; each equals `compute` to float32 rounding.

    Args:
        sounds: samples ``(n,)`` at 16 kHz each.
        embedding: the encoder.
        batch_size: largest batch; lengths are mixed only where the padding does not change the output.
        device: a device of torch.

    Raises:
        AudioValueError: a recording is not ``(n,)``, or not finite.
    """
    for i, x in enumerate(sounds):
        if np.ndim(x) != 1 or not np.isfinite(x).all():
            raise AudioValueError(
                f"recording {i} has the shape {np.shape(x)}; expected (n,) of finite samples"
            )
    pieces = [(i, piece) for i, x in enumerate(sounds) for piece in _split(x, embedding)]
    frames: list[Floats] = [np.empty((0, embedding.size), np.float32)] * len(pieces)
    for batch in _batches([piece.size for _, piece in pieces], embedding, batch_size):
        outputs = _run_batch([pieces[k][1] for k in batch], embedding, device)
        for k, values in zip(batch, outputs, strict=True):
            frames[k] = values
    whole: list[list[Floats]] = [[np.empty((0, embedding.size), np.float32)] for _ in sounds]
    for (i, _), values in zip(pieces, frames, strict=True):
        whole[i].append(values)
    return [_pool(np.concatenate(parts), embedding.pooling) for parts in whole]


def _split(x: Floats, embedding: Embedding) -> list[Floats]:
    """Split a recording into inputs of the encoder: all of it, or pieces of 30 s for Whisper."""
    n = embedding.max_frames * embedding.hop if embedding.max_frames else max(1, len(x))
    pieces = (np.asarray(x[start : start + n], np.float32) for start in range(0, len(x), n))
    return [piece for piece in pieces if embedding.n_frames(piece.size)]


def _batches(lengths: Sequence[int], embedding: Embedding, size: int) -> Iterator[list[int]]:
    """Batches of indices, sorted by length, with little padding, or none where it would matter."""
    mixed = embedding.pads or embedding.max_frames is not None
    batch: list[int] = []
    for k in sorted(range(len(lengths)), key=lambda k: lengths[k]):
        if batch and (len(batch) == size or not (mixed or lengths[k] == lengths[batch[0]])):
            yield batch
            batch = []
        batch.append(k)
    if batch:
        yield batch


def _run_batch(sounds: Sequence[Floats], embedding: Embedding, device: str) -> list[Floats]:
    """Frames ``(t, size)`` of each recording of a batch: the weighted mean of the layers."""
    import torch

    state = checkpoint_state(embedding.folder)
    network, preprocessor = _load_network(embedding.folder, embedding.depth, device, state)
    inputs = _make_inputs(sounds, embedding, preprocessor)
    with torch.inference_mode():
        out = network(**{name: value.to(device) for name, value in inputs.items()}, output_hidden_states=True)
        layers = (*out.hidden_states[:-1], out.last_hidden_state)
        chosen = [(weight, layers[i]) for i, weight in enumerate(embedding.layer_weights) if weight]
        mean = chosen[0][1] if len(chosen) == 1 else sum(weight * layer for weight, layer in chosen)
        values = mean.float().cpu().numpy()
    return [row[: embedding.n_frames(x.size)] for row, x in zip(values, sounds, strict=True)]


def _make_inputs(sounds: Sequence[Floats], embedding: Embedding, preprocessor: Any) -> dict[str, Any]:
    """Inputs of the network; each recording is normalised by itself."""
    import torch

    if embedding.max_frames is not None:
        features = preprocessor(list(sounds), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        return {"input_features": features}
    prepared = [preprocessor(x, sampling_rate=SAMPLE_RATE).input_values[0] for x in sounds]
    longest = max(x.size for x in sounds)
    values = np.stack([np.pad(np.asarray(x, np.float32), (0, longest - len(x))) for x in prepared])
    inputs = {"input_values": torch.from_numpy(values)}
    if any(x.size < longest for x in sounds):
        lengths = torch.tensor([x.size for x in sounds])
        inputs["attention_mask"] = (torch.arange(longest) < lengths[:, None]).long()
    return inputs


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


@lru_cache(maxsize=2)
def _load_network(folder: Path, depth: int, device: str, state: object) -> tuple[Any, Any]:
    """Load the encoder up to layer ``depth`` and its preprocessor; ``state`` is part of the cache key."""
    encoder, preprocessor = load_encoder(folder)
    layers = encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layers
    del layers[depth + 1 :]  # one more is kept, since a final normalisation changes the last one
    return encoder.to(device).eval(), preprocessor


def load_encoder(folder: Path) -> tuple[Any, Any]:
    """Load the encoder (a torch module) in a folder, and its preprocessor.

    Raises:
        ConfigError: it cannot be read, or weights are missing.
        MissingExtraError: the extra ``ssl`` is not installed.
    """
    check_installed()
    from safetensors import SafetensorError
    from transformers import AutoFeatureExtractor, AutoModel

    try:
        with _quiet_transformers():
            model, loading = AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype="float32",
                output_loading_info=True,
            )
            preprocessor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{folder}: this checkpoint cannot be read: {error}") from error
    missing = sorted(set(loading["missing_keys"]) - {"masked_spec_embed"})  # used in training alone
    encoder = model.get_encoder() if model.config.model_type == "whisper" else model
    if lost := [name for name in missing if not name.startswith("decoder.")]:
        raise ConfigError(f"{folder}: the weights lack {len(lost)} tensors of the encoder, such as {lost[0]}")
    return encoder, preprocessor


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bar and its report on tensors of the decoder."""
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


# --- checkpoints -------------------------------------------------------------------------------------


def find_checkpoint(model: str, *, revision: str | None = None, download: bool = False) -> Path:
    """Find the folder of a complete checkpoint.

    Args:
        model: a folder, or a name on the Hub.
        revision: of a name on the Hub.
        download: fetch files that are not in Hugging Face's cache.

    Raises:
        ConfigError: it is not on this machine, a file is missing, or its weights are pickled.
        MissingExtraError: a name on the Hub without the extra ``ssl``.
    """
    folder = Path(model)
    if not folder.is_dir():
        folder = _find_in_hub_cache(model, revision, download)
    for name in ("config.json", PREPROCESSOR):
        if not (folder / name).is_file():
            raise ConfigError(
                f"{model}: {name} is missing; copy it from the encoder that this one was made from"
            )
    list_weight_files(folder)
    return folder


def list_weight_files(folder: Path) -> list[Path]:
    """List the files of the weights: one, or an index and those that it names.

    Raises:
        ConfigError: there are none, or only pickled ones, which can run any code.
    """
    names = {_WEIGHTS}
    if not (folder / _WEIGHTS).is_file() and (folder / _SHARDS).is_file():
        names = {*read_json(folder / _SHARDS).get("weight_map", {}).values(), _SHARDS}
    if missing := sorted(name for name in names if not (folder / name).is_file()):
        raise ConfigError(
            f"{folder}: {', '.join(missing)} missing, and pickled weights are not read. Convert them with "
            "save_pretrained, or give a revision that has safetensors, such as refs/pr/1"
        )
    return [folder / name for name in sorted(names)]


def hash_checkpoint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that an encoder's values depend on, by name."""
    files = [folder / "config.json", folder / PREPROCESSOR, *list_weight_files(folder)]
    return {path.name: _sha256(path, *_size_and_time(path)) for path in files}


def checkpoint_state(folder: Path) -> tuple[tuple[int, int], ...]:
    """Return sizes and times of the files: they change whenever a file is written."""
    files = [folder / "config.json", folder / PREPROCESSOR, *list_weight_files(folder)]
    return tuple(_size_and_time(path) for path in files)


def read_json(path: Path) -> Mapping[str, Any]:
    """Read the JSON object in a file.

    Raises:
        ConfigError: the file contains something else.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(read, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {type(read).__name__}")
    return read


def check_installed() -> None:
    """Check that the extra ``ssl`` is installed.

    Raises:
        MissingExtraError: it is not.
    """
    for name in ("torch", "transformers", "safetensors"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError("an encoder's embedding", "ssl")


def _find_in_hub_cache(model: str, revision: str | None, download: bool) -> Path:
    check_installed()
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            model,
            revision=revision,
            local_files_only=not download,
            allow_patterns=["config.json", PREPROCESSOR, _SHARDS, "model*.safetensors"],
        )
    except (OSError, ValueError) as error:  # all errors of the Hub are one of these
        hint = (
            ""
            if download
            else "; nothing is downloaded by default: the option download=True fetches it from the Hub"
        )
        raise ConfigError(
            f"no encoder {model!r}: neither a folder nor in Hugging Face's cache{hint} "
            f"({type(error).__name__})"
        ) from error
    return Path(found)


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of the content, read again when the size or the time has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
