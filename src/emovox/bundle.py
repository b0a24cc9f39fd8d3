"""Read, verify and write a model bundle: a folder with ``model.onnx`` and ``spec.json``.

The graph takes ``waveform`` ``(b, n)`` float32 (mono, 16 kHz, zero-padded at the end) and ``lengths``
``(b,)`` int64 (samples), and answers ``logits`` ``(b, n_labels)``, before the temperature. The spec says
everything else: labels in order, windows, temperature, corpora, scores and licences.

A bundle may come from anywhere, so the door is narrow: nothing is unpickled, both files are bounded, the
sha256 of the model is checked on the very bytes that onnxruntime then gets, and a graph that points outside
of its own file is refused.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import from_json

from emovox.errors import BundleCorruptError, BundleError, BundleNotFoundError, BundleVersionError
from emovox.graph import Graph
from emovox.labels import ALIASES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MAX_MODEL_BYTES",
    "MAX_SPEC_BYTES",
    "MODEL_FILE",
    "SCHEMA",
    "SPEC_FILE",
    "Abstain",
    "Bundle",
    "Input",
    "Licence",
    "Score",
    "Spec",
    "load_bundle",
    "read_spec",
    "write_bundle",
]

SCHEMA = 1
"""Version of ``spec.json`` that this code writes and reads."""

MODEL_FILE = "model.onnx"
SPEC_FILE = "spec.json"

MAX_SPEC_BYTES = 1 << 20
"""A spec is a few kB; a larger file is not one."""

MAX_MODEL_BYTES = (1 << 31) - 1
"""Protobuf's own limit for one message."""

_Seconds = Annotated[float, Field(gt=0, le=3600)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    """Frozen; an unknown key is an error, for a misspelt one would be silently ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True
    )


class Input(_Strict):
    """What the graph wants: the waveform itself, or features of it (with which parameters)."""

    kind: Literal["waveform", "frames", "vector"]
    features: dict[str, JsonValue] | None = None


class Abstain(_Strict):
    """When the recogniser gives no label."""

    confidence: _Share
    """Below this the reason is ``uncertain``."""


class Score(_Strict):
    """One measured figure of the model, with its interval."""

    corpus: str
    protocol: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n_speakers: _Count | None = None
    n_clips: _Count | None = None


class Licence(_Strict):
    """Code and weights are licensed apart."""

    code: str
    weights: str
    commercial: bool
    """May the weights be used commercially?"""


class Spec(_Strict):
    """All that is known about a model, as ``spec.json`` holds it."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str = Field(min_length=1, max_length=64)
    description: str
    labels: tuple[str, ...] = Field(min_length=1, max_length=256)
    sample_rate: Literal[16000] = 16000
    input: Input
    window_s: _Seconds
    hop_s: _Seconds
    min_s: _Seconds
    """Sound shorter than this is not judged."""
    clip_s: _Seconds
    """Sound up to this long is judged in one run, longer sound by windows."""
    normaliser: dict[str, JsonValue] | None = None
    temperature: float = Field(gt=0)
    abstain: Abstain
    corpora: tuple[str, ...]
    protocol: str
    scores: tuple[Score, ...] = ()
    licence: Licence
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Of ``model.onnx``; filled in by `write_bundle`."""
    created: str = ""
    """ISO 8601, UTC; filled in by `write_bundle` when empty."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for label in self.labels:
            if ALIASES.get(label) != label:
                raise ValueError(f"labels: {label!r} is not a canonical emotion name")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: a label is named twice")
        if not self.min_s <= self.window_s <= self.clip_s:
            raise ValueError(
                f"expected min_s <= window_s <= clip_s, got {self.min_s}, {self.window_s}, {self.clip_s}"
            )
        if self.hop_s > self.window_s:
            raise ValueError(
                f"hop_s {self.hop_s} is longer than window_s {self.window_s}: sound would be skipped"
            )
        if self.input.kind == "waveform" and (self.input.features or self.normaliser):
            raise ValueError(
                "a waveform model carries its front end in the graph: features and normaliser must be null"
            )
        return self

    def to_json(self) -> str:
        """The text of ``spec.json``."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"


class Bundle:
    """An opened model. Immutable and safe to share between threads.

    Args:
        spec: what is known about the model.
        model: the bytes of ``model.onnx``.
        path: the folder it came from, or ``None``.
        threads: threads that one run may use.

    Raises:
        BundleError: the bytes are no usable graph, or contradict the spec.
    """

    def __init__(self, spec: Spec, model: bytes, *, path: Path | None = None, threads: int = 1) -> None:
        if spec.input.kind != "waveform":
            raise BundleVersionError(
                f"bundle {spec.name!r} wants {spec.input.kind} features, this emovox runs waveform models: "
                "update emovox"
            )
        self.spec = spec
        self.path = path
        self.threads = threads
        self.graph = Graph(model, name=spec.name, n_labels=len(spec.labels), threads=threads)

    def __repr__(self) -> str:
        return f"Bundle({self.spec.name!r}, version={self.spec.version!r}, labels={len(self.spec.labels)})"

    def logits(self, sounds: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Run the graph once over ``sounds``, each mono ``(n,)`` float32 at 16 kHz with at least one sample.

        Returns:
            ``(len(sounds), n_labels)`` float32, before the temperature.

        Raises:
            BundleCorruptError: the graph failed, or answered another shape or something not finite.
        """
        return self.graph(sounds)


def load_bundle(path: str | os.PathLike[str], *, threads: int = 1) -> Bundle:
    """Open the bundle in the folder ``path``, verified.

    Raises:
        BundleNotFoundError: there is no such folder.
        BundleCorruptError: a file is missing, changed, too large, or contradicts the other.
        BundleVersionError: it was written by a newer emovox.
    """
    folder = Path(path)
    spec = read_spec(folder)
    model = _bounded(folder / MODEL_FILE, MAX_MODEL_BYTES)
    found = hashlib.sha256(model).hexdigest()
    if found != spec.sha256:
        raise BundleCorruptError(
            f"{folder / MODEL_FILE} was changed: its sha256 is {found[:12]}..., {SPEC_FILE} says "
            f"{spec.sha256[:12] or 'nothing'}...; fetch or write the bundle again"
        )
    return Bundle(spec, model, path=folder, threads=threads)


def read_spec(path: str | os.PathLike[str]) -> Spec:
    """Read and check ``spec.json`` of the bundle in the folder ``path``, without opening the model.

    Raises:
        BundleError: as `load_bundle`.
    """
    folder = Path(path)
    if not _is_folder(folder):
        raise BundleNotFoundError(
            f"no model bundle at {str(folder)!r}: expected a folder with {MODEL_FILE} and {SPEC_FILE}"
        )
    file = folder / SPEC_FILE
    text = _bounded(file, MAX_SPEC_BYTES)
    try:
        raw = from_json(text)
    except ValueError as error:
        raise BundleCorruptError(f"{file} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BundleCorruptError(f"{file} holds a {type(raw).__name__}, expected an object")
    schema = raw.get("schema")
    if type(schema) is not int:  # True == 1, and a spec without a schema could mean anything
        raise BundleCorruptError(f"{file}: schema is {schema!r}, expected {SCHEMA}")
    if schema > SCHEMA:
        raise BundleVersionError(
            f"{file} has schema {schema}, this emovox reads up to {SCHEMA}: update emovox"
        )
    try:
        return Spec.model_validate_json(text)
    except ValidationError as error:
        raise BundleCorruptError(f"{file}: {_complaint(error)}") from error


def write_bundle(path: str | os.PathLike[str], model: bytes, spec: Spec, *, replace: bool = False) -> Spec:
    """Write a bundle into the folder ``path``, the spec last: where a spec is, the bundle is complete.

    The bundle is opened first, so that none is written that cannot be read.

    Returns:
        The spec as written, with ``sha256`` and ``created`` filled in.

    Raises:
        BundleError: a bundle is there already and ``replace`` is false, or the folder cannot be written.
        BundleCorruptError: model and spec contradict each other.
    """
    folder = Path(path)
    update = {"sha256": hashlib.sha256(model).hexdigest()}
    if not spec.created:
        update["created"] = datetime.now(UTC).isoformat(timespec="seconds")
    spec = spec.model_copy(update=update)
    Bundle(spec, model)
    there = [name for name in (SPEC_FILE, MODEL_FILE) if os.path.lexists(folder / name)]
    if there and not replace:
        raise BundleError(f"{folder} already holds {there[0]}: choose another folder, or pass replace=True")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SPEC_FILE).unlink(missing_ok=True)
        _put(folder / MODEL_FILE, model)
        _put(folder / SPEC_FILE, spec.to_json().encode())
    except OSError as error:
        raise BundleError(f"cannot write a bundle to {folder}: {error.strerror or error}") from error
    return spec


# ---------------------------------------------------------------------------------------------- files


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):  # missing, a loop of links, a NUL in the name
        return False


def _bounded(file: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes. Links are followed, caches use them."""
    try:
        size = file.stat()
        if not stat.S_ISREG(size.st_mode):  # a FIFO would block for ever
            raise BundleCorruptError(f"{file} is not a regular file")
        if size.st_size > limit:
            raise BundleCorruptError(f"{file} has {size.st_size} bytes, at most {limit} are accepted")
        with file.open("rb") as stream:
            data = stream.read(limit + 1 if size.st_size == 0 else size.st_size + 1)
    except FileNotFoundError as error:
        raise BundleCorruptError(f"{file} is missing: a bundle is {MODEL_FILE} and {SPEC_FILE}") from error
    except OSError as error:
        raise BundleCorruptError(f"{file} cannot be read: {error.strerror or error}") from error
    if len(data) > limit:
        raise BundleCorruptError(f"{file} has more than {limit} bytes")
    return data


def _put(file: Path, data: bytes) -> None:
    """Write under another name, then rename: a reader never meets half a file."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def _complaint(error: ValidationError) -> str:
    """The first complaint in one line; a misspelt key gets the nearest one."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = [field.alias or name for name, field in Spec.model_fields.items()]
        near = difflib.get_close_matches(str(first["loc"][-1]), names, n=1)
        return f"unknown key {where!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    return f"{where}: {first['msg']}" if where else first["msg"]
