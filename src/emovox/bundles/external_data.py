"""Refuse ONNX files that keep weights outside of their own bytes, by reading the protobuf wire format.

onnxruntime opens any file that such a tensor names, so this is checked before it gets the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from emovox.errors import BundleCorruptError

__all__ = ["read_fields", "refuse_external_data"]

_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Fields of onnx.proto that hold, or lead to, a tensor: message -> {field number: message}."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Fields of a tensor that say where its numbers are."""

_MAX_DEPTH = 64


def refuse_external_data(model: bytes) -> None:
    """Refuse a graph with tensors outside of its own bytes.

    onnxruntime would open any file such a tensor names, or read any address of memory (its own
    ``_ORT_MEM_ADDR_`` location), so this is checked before it gets the bytes.
    """
    stack = [("model", memoryview(model), 0)]
    while stack:
        message, data, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise BundleCorruptError(f"it is nested deeper than {_MAX_DEPTH} levels")
        for number, value in read_fields(data):
            if message == "tensor":
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                    raise BundleCorruptError("it keeps weights outside of its file (external data): refused")
            elif isinstance(value, memoryview) and number in _MESSAGES[message]:
                stack.append((_MESSAGES[message][number], value, depth + 1))


def read_fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of one message: a number for a varint, bytes for what has a length."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if key >= 1 << 32:  # other readers cut such a number, and so see another field
            raise BundleCorruptError(f"it is not an ONNX file (field number {number})")
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise BundleCorruptError(f"it is not an ONNX file (wire type {wire})")
        if size > end - at:
            raise BundleCorruptError("it is not an ONNX file, or was cut off")
        if wire == 2:
            yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise BundleCorruptError("it is not an ONNX file, or was cut off")
