"""A model as one ONNX file that names its labels itself, for programs without emovox (docs/onnx.md)."""

from __future__ import annotations

import os
from pathlib import Path

from emovox._files import atomic_path
from emovox.bundles.bundle import MODEL_FILE, load_bundle
from emovox.bundles.spec import Spec
from emovox.errors import BundleError

__all__ = ["describe_model", "embed_metadata", "write_standalone"]


def write_standalone(bundle: str | os.PathLike[str], file: str | os.PathLike[str]) -> int:
    """Write the model of a bundle as one ONNX file, with `describe_model` as its metadata.

    Args:
        bundle: a folder; its model takes the waveform.
        file: the file to write, whole or not at all; one that is there is replaced.

    Returns:
        Its size in bytes.

    Raises:
        BundleError: the bundle cannot be read, or its model takes features, which only emovox computes.
    """
    spec = load_bundle(bundle).spec
    if spec.input.kind != "waveform":
        raise BundleError(
            f"the model {spec.name!r} takes features, which other programs cannot compute; expected a model "
            "whose graph takes the waveform, such as default or fast"
        )
    content = embed_metadata((Path(bundle) / MODEL_FILE).read_bytes(), describe_model(spec))
    with atomic_path(Path(file)) as partial:
        partial.write_bytes(content)
    return len(content)


def describe_model(spec: Spec) -> dict[str, str]:
    """Return what a program has to know to use the graph, as text; only what the model has."""
    known = {
        "name": spec.name,
        "version": spec.version,
        "sample_rate": str(spec.sample_rate),
        "labels": ",".join(spec.labels),
        "targets": ",".join(spec.target_names),
        "temperature": repr(spec.temperature) if spec.labels else "",
        "min_confidence": repr(spec.abstain.confidence) if spec.labels else "",
        "speech_threshold": "" if spec.speech is None else repr(spec.speech.threshold),
        "min_s": repr(spec.min_s),
        "max_s": repr(spec.clip_s),
        "licence": spec.licence.weights,
    }
    return {key: value for key, value in known.items() if value}


def embed_metadata(model: bytes, entries: dict[str, str]) -> bytes:
    """Add metadata to a serialised ``ModelProto``, without the package onnx.

    Serialised messages of protocol buffers may be joined: repeated fields of the second are appended to those
    of the first (https://protobuf.dev/programming-guides/encoding/#last-one-wins). ``metadata_props`` is the
    repeated field 14 of ``ModelProto``, of messages with the fields key = 1 and value = 2 (onnx.proto).
    """
    added = b""
    for key, value in entries.items():
        entry = _encode_field(1, key.encode()) + _encode_field(2, value.encode())
        added += _encode_field(14, entry)
    return model + added


def _encode_field(number: int, content: bytes) -> bytes:
    """Encode a field of bytes: its number and type, its length, its content."""
    head = b""
    length = len(content)
    while length > 127:
        head += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + head + bytes([length]) + content
