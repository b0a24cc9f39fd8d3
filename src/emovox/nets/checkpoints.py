"""Checkpoints of pretrained speech encoders: find, hash and load them. Needs PyTorch only to load.

A checkpoint is a folder, or a name on the Hugging Face Hub of which a copy is in Hugging Face's own cache.
Nothing is downloaded by default, and pickled weights are never read, since they can run any code. A Whisper
may also be a file of weights (`emovox.nets.whisper`); the other families are transformers' (extra ``ssl``).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from emovox.audio import SAMPLE_RATE
from emovox.errors import ConfigError, MissingExtraError

__all__ = [
    "FAMILIES",
    "PREPROCESSOR",
    "check_installed",
    "checkpoint_state",
    "find_checkpoint",
    "hash_checkpoint",
    "is_whisper",
    "list_weight_files",
    "load_transformers_encoder",
    "read_json",
    "read_transformers_config",
    "whisper_weights",
]

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "whisper")
"""``model_type`` of the supported checkpoints."""
PREPROCESSOR = "preprocessor_config.json"
"""The file that says how samples are prepared for the encoder; Whisper needs none."""
_WEIGHTS = "model.safetensors"
_SHARDS = "model.safetensors.index.json"
_WHISPER_WEIGHTS = (_WEIGHTS, "model.bin")


def find_checkpoint(model: str, *, revision: str | None = None, download: bool = False) -> Path:
    """Find a complete checkpoint: its folder, or the file of a Whisper's weights.

    Args:
        model: a folder, a file of a Whisper's weights, or a name on the Hub.
        revision: of a name on the Hub.
        download: fetch files that are not in Hugging Face's cache.

    Raises:
        ConfigError: it is not on this machine, a file is missing, or its weights are pickled.
        MissingExtraError: a name on the Hub without the extra ``ssl``.
    """
    folder = Path(model)
    if not folder.exists():
        folder = _find_in_hub_cache(model, revision, download)
    if is_whisper(folder):
        whisper_weights(folder)
        return folder
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
    return {path.name: _sha256(path, *_size_and_time(path)) for path in _list_files(folder)}


def checkpoint_state(folder: Path) -> tuple[tuple[int, int], ...]:
    """Return sizes and times of the files: they change whenever a file is written."""
    return tuple(_size_and_time(path) for path in _list_files(folder))


def _list_files(folder: Path) -> list[Path]:
    if is_whisper(folder):
        return [whisper_weights(folder)]
    return [folder / "config.json", folder / PREPROCESSOR, *list_weight_files(folder)]


def is_whisper(path: Path) -> bool:
    """Return whether ``path`` is the checkpoint of a Whisper: a file of weights, or a folder with them."""
    if path.is_file():
        return path.name in _WHISPER_WEIGHTS
    if (path / "model.bin").is_file():
        return True
    config = path / "config.json"
    return config.is_file() and read_json(config).get("model_type") == "whisper"


def whisper_weights(path: Path) -> Path:
    """Return the file of a Whisper's weights at ``path``, a file or a folder.

    Raises:
        ConfigError: there is none.
    """
    if path.is_dir():
        found = [path / name for name in _WHISPER_WEIGHTS if (path / name).is_file()]
        if not found:
            raise ConfigError(
                f"{path}: it holds neither {' nor '.join(_WHISPER_WEIGHTS)}, and pickled weights are not read"
            )
        return found[0]
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such checkpoint")
    return path


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


def check_installed(*packages: str) -> None:
    """Check that the extra ``ssl`` is installed, or of it the given packages.

    Raises:
        MissingExtraError: one is not.
    """
    for name in packages or ("torch", "transformers", "safetensors"):
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
            allow_patterns=["config.json", PREPROCESSOR, _SHARDS, "model*.safetensors", "model.bin"],
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


def read_transformers_config(folder: Path) -> Any:
    """Read the config of an encoder of transformers, with its defaults.

    Raises:
        ConfigError: it is of another family or sampling rate, or has an adapter.
        MissingExtraError: the extra ``ssl`` is not installed.
    """
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


def load_transformers_encoder(folder: Path) -> tuple[Any, Any]:
    """Load an encoder of transformers (a torch module) from a folder, and its preprocessor.

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
    if missing:
        raise ConfigError(
            f"{folder}: the weights lack {len(missing)} tensors of the encoder, such as {missing[0]}"
        )
    return model, preprocessor


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bar and its report on unused tensors."""
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
