"""The folder of a bundle: opened when it is whole, written so that it is never found half."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import replace as changed
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from emovox._arrays import Floats
from emovox._files import replaced
from emovox.bundles.front import Front, front
from emovox.bundles.onnx_session import Graph, Kind
from emovox.bundles.spec import Spec
from emovox.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
    ConfigError,
)

if TYPE_CHECKING:
    from emovox.features.normalization import SpeakerNormaliser, StandardNormaliser

__all__ = [
    "MAX_MODEL_BYTES",
    "MAX_SPEC_BYTES",
    "MODEL_FILE",
    "SPEC_FILE",
    "Bundle",
    "load_bundle",
    "read_spec",
    "write_bundle",
]

MODEL_FILE = "model.onnx"
SPEC_FILE = "spec.json"

MAX_SPEC_BYTES = 1 << 20
"""A spec is a few kB; a larger file is not one."""

MAX_MODEL_BYTES = (1 << 31) - 1
"""Protobuf's own limit for one message."""


class Bundle:
    """An opened model. Immutable and safe to share between threads.

    Args:
        spec: what is known about the model.
        model: the bytes of ``model.onnx``.
        path: the folder it came from, or ``None``.
        threads: threads that one run may use.

    Raises:
        BundleError: the bytes are no usable graph, or contradict the spec; or its features have changed.
        MissingExtraError: its features need an extra that is not installed.
        ConfigError: ``threads`` is not a positive whole number.
    """

    def __init__(self, spec: Spec, model: bytes, *, path: Path | None = None, threads: int = 1) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ConfigError(f"threads is {threads!r}; expected a whole number, 1 or more")
        self.spec = spec
        self.path = path
        self.threads = threads
        self._front = _front(spec)
        self.normaliser = _normaliser(spec, self._front)
        """How rows are normalised for a voice, in a model that can be told whose it hears; else ``None``."""
        self.graph = Graph(
            model,
            name=spec.name,
            n_labels=len(spec.labels),
            kind=cast("Kind", spec.input.kind),
            n_columns=None if self._front is None else len(self._front.columns),
            threads=threads,
        )

    def __repr__(self) -> str:
        return f"Bundle({self.spec.name!r}, version={self.spec.version!r}, labels={len(self.spec.labels)})"

    def logits(self, sounds: Sequence[Floats]) -> Floats:
        """Run the graph once over ``sounds``, each mono ``(n,)`` float32 at 16 kHz with at least one sample.

        Returns:
            ``(len(sounds), n_labels)`` float32, before the temperature.

        Raises:
            BundleCorruptError: the graph failed, or answered another shape or something not finite.
        """
        return self.answers([self.heard(x) for x in sounds])

    def heard(self, sound: Floats) -> Floats:
        """What is taken of one sound ``(n,)``: itself, or its features ``(d,)`` or ``(t, d)``.

        Raises:
            BundleCorruptError: the features cannot be computed.
        """
        return sound if self._front is None else self._front(sound)

    def answers(self, heard: Sequence[Floats], voice: StandardNormaliser | None = None) -> Floats:
        """Run the graph once over what `heard` gave, normalised for ``voice``, or for nobody in particular.

        Returns and raises what `logits` does.
        """
        return self.graph([self.prepared(row, voice) for row in heard])

    def prepared(self, heard: Floats, voice: StandardNormaliser | None = None) -> Floats:
        """What the graph gets of what `heard` gave: the same, or normalised for ``voice`` or for nobody."""
        if self.normaliser is None:
            return heard
        return (voice or self.normaliser.population).transform(heard)


def _normaliser(spec: Spec, front: Front | None) -> SpeakerNormaliser | None:
    if spec.normaliser is None or front is None:
        return None
    from emovox.features.normalization import SpeakerNormaliser, StandardNormaliser

    mean, std = (np.array(x) for x in (spec.normaliser.population.mean, spec.normaliser.population.std))
    if len(mean) != len(front.columns):
        raise BundleCorruptError(
            f"the normaliser of bundle {spec.name!r} knows {len(mean)} columns, its features have "
            f"{len(front.columns)}"
        )
    return SpeakerNormaliser(StandardNormaliser(mean, std), spec.normaliser.shrink)


def _front(spec: Spec) -> Front | None:
    """What computes the features, unless the graph hears the sound itself."""
    if spec.input.features is None:
        return None
    return front(spec.input.features, kind=spec.input.kind, name=spec.name, min_s=spec.min_s)


def load_bundle(path: str | os.PathLike[str], *, threads: int = 1) -> Bundle:
    """Open the bundle in the folder ``path``, verified.

    Raises:
        BundleNotFoundError: there is no such folder.
        BundleCorruptError: a file is missing, changed, too large, or contradicts the other.
        BundleVersionError: it was written by a newer emovox, or its features are defined otherwise here.
        MissingExtraError: its features need an extra that is not installed.
        ConfigError: ``threads`` is not a positive whole number.
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
        return Spec.from_json(text)
    except BundleVersionError as error:
        raise BundleVersionError(f"{file}: {error}") from None
    except ValueError as error:
        raise BundleCorruptError(f"{file}: {error}") from error


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
    created = spec.created or datetime.now(UTC).isoformat(timespec="seconds")
    spec = changed(spec, sha256=hashlib.sha256(model).hexdigest(), created=created)
    Bundle(spec, model)
    there = [name for name in (SPEC_FILE, MODEL_FILE) if os.path.lexists(folder / name)]
    if there and not replace:
        raise BundleError(
            f"{folder} already holds {there[0]}: choose another folder, or replace it (replace=True, --force)"
        )
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
    """Write it, down to the disk, before it gets its name: a reader never meets half a file."""
    with replaced(file) as half, half.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
