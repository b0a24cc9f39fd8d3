"""A model as one ONNX file that names its labels itself, for programs without emovox (docs/onnx.md)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from emovox._files import atomic_path
from emovox.bundles.bundle import MODEL_FILE, load_bundle
from emovox.bundles.external_data import read_fields
from emovox.bundles.onnx_session import ALL_FRAMES
from emovox.bundles.spec import Spec
from emovox.errors import BundleError

__all__ = ["describe_model", "embed_metadata", "remove_memory", "write_standalone"]


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
    opened = load_bundle(bundle)
    spec = opened.spec
    if spec.input.kind != "waveform":
        raise BundleError(
            f"the model {spec.name!r} takes features, which other programs cannot compute; expected a model "
            "whose graph takes the waveform, such as default or fast"
        )
    model = (Path(bundle) / MODEL_FILE).read_bytes()
    if (size := opened.model.memory_size) is not None:
        model = remove_memory(model, size)
    content = embed_metadata(model, describe_model(spec))
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


def remove_memory(model: bytes, memory_size: int) -> bytes:
    """Make a graph with a memory one of clips: nothing before the sound, and all of it averaged.

    The inputs ``memory`` and ``span`` become constants, and the output ``next_memory`` is removed. Fields of
    onnx.proto: ``ModelProto`` has graph = 7, ``GraphProto`` initializer = 5, input = 11 and output = 12,
    ``ValueInfoProto`` name = 1, ``TensorProto`` dims = 1, data_type = 2, name = 8 and raw_data = 9.
    """
    values = {"span": np.array([ALL_FRAMES], "<i8"), "memory": np.zeros((1, 0, memory_size), "<f4")}
    added = b""
    for name, value in values.items():
        tensor = b"".join(_encode_field(1, size) for size in value.shape)
        tensor += _encode_field(2, 7 if name == "span" else 1) + _encode_field(8, name.encode())
        added += _encode_field(5, tensor + _encode_field(9, value.tobytes()))
    parts = []
    for number, content in read_fields(memoryview(model)):
        if number == 7 and isinstance(content, memoryview):
            kept = [
                _encode_field(n, value)
                for n, value in read_fields(content)
                if n not in (11, 12) or _read_name(value) not in ("memory", "span", "next_memory")
            ]
            parts.append(_encode_field(number, b"".join(kept) + added))
        else:
            parts.append(_encode_field(number, content))
    return b"".join(parts)


def _read_name(message: int | memoryview) -> str:
    """Name of an input or output."""
    fields = read_fields(message) if isinstance(message, memoryview) else ()
    return next(
        (bytes(value).decode() for n, value in fields if n == 1 and isinstance(value, memoryview)), ""
    )


def _encode_field(number: int, content: int | bytes | memoryview) -> bytes:
    """Encode a field: its number and type, then a number, or the length and the bytes."""
    if isinstance(content, int):
        return _encode_number(number << 3) + _encode_number(content)
    return _encode_number(number << 3 | 2) + _encode_number(len(content)) + content


def _encode_number(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])
