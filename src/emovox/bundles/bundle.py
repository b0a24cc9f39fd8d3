"""The folder of a bundle: verified when it is opened, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from emovox._arrays import Floats
from emovox._files import atomic_path
from emovox.bundles.front_end import FeatureFrontEnd, open_front_end
from emovox.bundles.onnx_session import Kind, ModelOutput, OnnxModel
from emovox.bundles.spec import Spec
from emovox.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    BundleVersionError,
    ConfigError,
)
from emovox.results import Adaptation

if TYPE_CHECKING:
    from emovox.features.normalization import SpeakerNormaliser, StandardNormaliser

__all__ = [
    "MAX_MODEL_BYTES",
    "MAX_SPEC_BYTES",
    "MODEL_FILE",
    "SPEC_FILE",
    "Bundle",
    "GraphAdaptation",
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


@dataclass(frozen=True, slots=True, eq=False)
class GraphAdaptation:
    """What a bundle is given to adapt: a normalizer for its features, or an offset for its embedding."""

    summary: Adaptation
    standard: StandardNormaliser | None = None
    offset: Floats | None = None
    """``(d,)``, subtracted from the embedding."""


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
        features = spec.input.features
        self._front_end = None
        if features is not None:
            self._front_end = open_front_end(features, kind=spec.input.kind, name=spec.name, min_s=spec.min_s)
        self.normalizer = _make_normalizer(spec, self._front_end)
        """How rows are normalized for a speaker, in a model that adapts so; else ``None``."""
        self.model = OnnxModel(
            model,
            name=spec.name,
            n_labels=len(spec.labels),
            n_values=len(spec.targets),
            kind=cast("Kind", spec.input.kind),
            n_columns=None if self._front_end is None else len(self._front_end.columns),
            threads=threads,
        )
        if spec.adaptation is not None and self.model.offset_size != len(spec.adaptation.mean):
            raise BundleCorruptError(
                f"spec.json of bundle {spec.name!r} adapts {len(spec.adaptation.mean)} columns, its graph "
                f"takes an offset of {self.model.offset_size or 'none'}"
            )
        if spec.stream is not None and self.model.memory_size is None:
            raise BundleCorruptError(f"the graph of bundle {spec.name!r} has no input memory (b, p, m)")
        if spec.speech is not None and not self.model.has_speech_output:
            raise BundleCorruptError(
                f"the graph of bundle {spec.name!r} has no output speech (b,) of float32"
            )

    def __repr__(self) -> str:
        return f"Bundle({self.spec.name!r}, version={self.spec.version!r}, labels={len(self.spec.labels)})"

    def logits(self, sounds: Sequence[Floats]) -> Floats:
        """Run the graph once over ``sounds``, each mono ``(n,)`` float32 at 16 kHz with at least one sample.

        Returns:
            ``(len(sounds), n_labels)`` float32, before the temperature.

        Raises:
            BundleCorruptError: the graph failed, or returned another shape or something not finite.
        """
        return self.run([self.compute_input(x) for x in sounds]).logits

    def compute_input(self, sound: Floats) -> Floats:
        """Return what is taken of one sound ``(n,)``: itself, or its features ``(d,)`` or ``(t, d)``.

        Raises:
            BundleCorruptError: the features cannot be computed.
        """
        return sound if self._front_end is None else self._front_end(sound)

    def normalize(self, item: Floats, standard: StandardNormaliser | None = None) -> Floats:
        """Return what the graph gets of an item of `compute_input`: the same, or normalized features."""
        if self.normalizer is None:
            return item
        return (standard or self.normalizer.population).transform(item)

    def run(self, items: Sequence[Floats], adaptation: GraphAdaptation | None = None) -> ModelOutput:
        """Run the graph once over items of `compute_input`, adapted or for the training population.

        Raises:
            BundleCorruptError: as `logits`.
        """
        standard = None if adaptation is None else adaptation.standard
        offset = None if adaptation is None else adaptation.offset
        return self.model.run([self.normalize(item, standard) for item in items], offset)

    def run_block(
        self,
        sound: Floats,
        memory: Floats | None,
        span: tuple[int, int],
        adaptation: GraphAdaptation | None = None,
    ) -> ModelOutput:
        """Run the graph over a sound ``(n,)`` that continues another one: see `OnnxModel.run_block`."""
        return self.model.run_block(sound, memory, span, None if adaptation is None else adaptation.offset)


def _make_normalizer(spec: Spec, front_end: FeatureFrontEnd | None) -> SpeakerNormaliser | None:
    if spec.normaliser is None or front_end is None:
        return None
    from emovox.features.normalization import SpeakerNormaliser, StandardNormaliser

    mean, std = (np.array(x) for x in (spec.normaliser.population.mean, spec.normaliser.population.std))
    if len(mean) != len(front_end.columns):
        raise BundleCorruptError(
            f"the normaliser of bundle {spec.name!r} knows {len(mean)} columns, its features have "
            f"{len(front_end.columns)}"
        )
    return SpeakerNormaliser(StandardNormaliser(mean, std), spec.normaliser.shrink)


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
    model = _read_bounded(folder / MODEL_FILE, MAX_MODEL_BYTES)
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
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except (OSError, ValueError):  # missing, a loop of links, a NUL in the name
        is_folder = False
    if not is_folder:
        raise BundleNotFoundError(
            f"no model bundle at {str(folder)!r}: expected a folder with {MODEL_FILE} and {SPEC_FILE}"
        )
    file = folder / SPEC_FILE
    text = _read_bounded(file, MAX_SPEC_BYTES)
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
    spec = replace_fields(spec, sha256=hashlib.sha256(model).hexdigest(), created=created)
    Bundle(spec, model)
    existing = [name for name in (SPEC_FILE, MODEL_FILE) if os.path.lexists(folder / name)]
    if existing and not replace:
        raise BundleError(
            f"{folder} already holds {existing[0]}: name another folder, or replace it "
            "(replace=True, --force)"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Without a spec the folder is no bundle, and a new model is never read with an old spec.
        (folder / SPEC_FILE).unlink(missing_ok=True)
        _write_synced(folder / MODEL_FILE, model)
        _write_synced(folder / SPEC_FILE, spec.to_json().encode())
    except OSError as error:
        raise BundleError(f"cannot write a bundle to {folder}: {error.strerror or error}") from error
    return spec


# ---------------------------------------------------------------------------------------------- files


def _read_bounded(file: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes. Links are followed, since caches use them."""
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


def _write_synced(file: Path, data: bytes) -> None:
    """Write a file to the disk before it gets its name: a reader never finds half a file."""
    with atomic_path(file) as partial, partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
