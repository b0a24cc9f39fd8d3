"""Checkpoints of pretrained encoders: where they lie, what is in them, which they are.

A folder, or a name on the Hugging Face Hub of which a copy is in its own cache. Nothing is fetched unless
asked for by name, and pickled weights are never read: a file of them can run any code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from emovox.errors import ConfigError, MissingExtraError

__all__ = ["EAR", "digests", "find", "need", "read_json", "state", "weight_files"]

EAR = "preprocessor_config.json"
"""How sound is prepared for the encoder."""
_WEIGHTS = "model.safetensors"
_SHARDS = "model.safetensors.index.json"


def find(model: str, *, revision: str | None = None, download: bool = False) -> Path:
    """The folder of a checkpoint that is whole.

    Args:
        model: a folder, or a name on the Hub.
        revision: of a name on the Hub.
        download: fetch what is not in Hugging Face's cache.

    Raises:
        ConfigError: it is not here, or a file is missing, or there are only pickled weights.
        MissingExtraError: a name on the Hub without the extra ``ssl``.
    """
    folder = Path(model)
    if not folder.is_dir():
        folder = _from_hub(model, revision, download)
    for name in ("config.json", EAR):
        if not (folder / name).is_file():
            raise ConfigError(f"{model}: no {name} there; copy the one of the encoder it was made from")
    weight_files(folder)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Where the weights lie: one file, or an index and those that it names.

    Raises:
        ConfigError: there are none, or only pickled ones.
    """
    names = {_WEIGHTS}
    if not (folder / _WEIGHTS).is_file() and (folder / _SHARDS).is_file():
        names = {*read_json(folder / _SHARDS).get("weight_map", {}).values(), _SHARDS}
    if missing := sorted(name for name in names if not (folder / name).is_file()):
        raise ConfigError(
            f"{folder}: no {', '.join(missing)}, and pickled weights are not read. Convert them with "
            "save_pretrained, or name a revision that has safetensors, such as refs/pr/1"
        )
    return [folder / name for name in sorted(names)]


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that an encoder's values depend on, by name."""
    files = [folder / "config.json", folder / EAR, *weight_files(folder)]
    return {path.name: _sha256(path, *_size_and_time(path)) for path in files}


def state(folder: Path) -> tuple[tuple[int, int], ...]:
    """Changes whenever a file is written: what a network that is kept open goes by."""
    files = [folder / "config.json", folder / EAR, *weight_files(folder)]
    return tuple(_size_and_time(path) for path in files)


def read_json(path: Path) -> Mapping[str, Any]:
    """An object in a file.

    Raises:
        ConfigError: it is something else.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: this is no JSON: {error}") from error
    if not isinstance(read, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {type(read).__name__}")
    return read


def need() -> None:
    """Whether the extra is there.

    Raises:
        MissingExtraError: it is not.
    """
    for name in ("torch", "transformers", "safetensors"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError("an encoder's embedding", "ssl")


def _from_hub(model: str, revision: str | None, download: bool) -> Path:
    need()
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            model,
            revision=revision,
            local_files_only=not download,
            allow_patterns=["config.json", EAR, _SHARDS, "model*.safetensors"],
        )
    except (OSError, ValueError) as error:  # every error of the Hub is one of these
        hint = (
            ""
            if download
            else "; nothing is fetched unasked: the option download=True fetches it from the Hub"
        )
        raise ConfigError(
            f"no encoder {model!r}: neither a folder nor in Hugging Face's cache here{hint} "
            f"({type(error).__name__})"
        ) from error
    return Path(found)


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Of the content, read again when the size or the time has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
