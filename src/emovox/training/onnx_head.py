"""Put a linear head on the embedding of an ONNX graph, in the protobuf wire format: numpy is all it needs.

The new graph computes ``logits = concat(embedding - offset, old logits) @ weight + bias``; the offset is that
of adaptation, where the graph takes one. Everything else of the graph stays, other outputs too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emovox._arrays import Floats
from emovox.errors import BundleError

__all__ = ["replace_head"]

_GRAPH = 7
"""Field of ModelProto."""
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13
"""Fields of GraphProto."""

_BASE_LOGITS = "base_logits"

Field = tuple[int, int, bytes]
"""Number, wire type and content of a field; the content of a varint is its bytes."""


def replace_head(model: bytes, weight: Floats, bias: Floats) -> bytes:
    """Give a graph with the outputs ``embedding`` and ``logits`` a new head.

    Args:
        model: the bytes of the ONNX file.
        weight: ``(d + n_old_labels, n_labels)``, of the embedding and of the old logits.
        bias: ``(n_labels,)``.

    Raises:
        BundleError: the bytes are not such a graph.
    """
    fields = list(_parse(model))
    graphs = [content for number, _, content in fields if number == _GRAPH]
    if len(graphs) != 1:
        raise BundleError("the model file holds no graph; expected an ONNX file")
    graph = _replace_in_graph(graphs[0], weight, bias)
    return b"".join(_field(n, graph) if n == _GRAPH else _write(n, wire, x) for n, wire, x in fields)


def _replace_in_graph(graph: bytes, weight: Floats, bias: Floats) -> bytes:
    fields = list(_parse(graph))
    names = {number: [_name(x) for n, _, x in fields if n == number] for number in (_INPUT, _OUTPUT)}
    if not {"embedding", "logits"} <= {*names[_OUTPUT]}:
        raise BundleError(f"the graph returns {', '.join(names[_OUTPUT])}; expected embedding and logits")
    nodes = [content for number, _, content in fields if number == _NODE]
    if any(x == _BASE_LOGITS.encode() for node in nodes for n, _, x in _parse(node) if n in (1, 2)):
        raise BundleError("the model is a fine-tuned one; expected the model that it was tuned from")
    kept = []
    for number, wire, content in fields:
        if number == _NODE:
            content = _rename_logits(content)
        elif number == _VALUE_INFO and _name(content) == "logits":
            continue
        elif number == _OUTPUT and _name(content) == "logits":
            content = _tensor_info("logits", len(bias))
        kept.append(_write(number, wire, content))
    added_nodes, embedding = [], "embedding"
    if "offset" in names[_INPUT]:
        embedding = "adapted_embedding"
        added_nodes.append(_node("Sub", ["embedding", "offset"], embedding))
    added_nodes.append(_node("Concat", [embedding, _BASE_LOGITS], "head_input", axis=1))
    added_nodes.append(_node("Gemm", ["head_input", "head_weight", "head_bias"], "logits"))
    tensors = [_tensor("head_weight", weight), _tensor("head_bias", bias)]
    added = [_field(_NODE, node) for node in added_nodes] + [_field(_INITIALIZER, one) for one in tensors]
    return b"".join([*kept, *added])


def _rename_logits(node: bytes) -> bytes:
    """Rename the old logits wherever a node reads or writes them."""
    return b"".join(
        _write(n, wire, _BASE_LOGITS.encode() if n in (1, 2) and x == b"logits" else x)
        for n, wire, x in _parse(node)
    )


def _name(message: bytes) -> str:
    """Field 1, the name of a ValueInfoProto."""
    return next((x.decode() for n, _, x in _parse(message) if n == 1), "")


def _node(kind: str, inputs: list[str], output: str, axis: int | None = None) -> bytes:
    parts = [*(_field(1, one.encode()) for one in inputs), _field(2, output.encode())]
    parts += [_field(3, f"finetune_{output}".encode()), _field(4, kind.encode())]
    if axis is not None:  # an AttributeProto: name, i, type INT
        attribute = _field(1, b"axis") + _write(3, 0, _varint(axis)) + _write(20, 0, _varint(2))
        parts.append(_field(5, attribute))
    return b"".join(parts)


def _tensor(name: str, values: Floats) -> bytes:
    """A TensorProto of float32: dims, data type, name, raw data."""
    dims = b"".join(_write(1, 0, _varint(size)) for size in values.shape)
    raw = np.ascontiguousarray(values, "<f4").tobytes()
    return dims + _write(2, 0, _varint(1)) + _field(8, name.encode()) + _field(9, raw)


def _tensor_info(name: str, n_columns: int) -> bytes:
    """A ValueInfoProto of float32 ``(batch, n_columns)``."""
    dims = _field(1, _field(2, b"batch")) + _field(1, _write(1, 0, _varint(n_columns)))
    tensor = _write(1, 0, _varint(1)) + _field(2, dims)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


# ---------------------------------------------------------------------------------------- the wire format


def _parse(message: bytes) -> Iterator[Field]:
    at = 0
    try:
        while at < len(message):
            key, at = _read_varint(message, at)
            number, wire = key >> 3, key & 7
            start = at
            if wire == 0:
                _, at = _read_varint(message, at)
            elif wire == 2:
                size, start = _read_varint(message, at)
                at = start + size
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise BundleError(f"the model file is no ONNX file (wire type {wire})")
            if at > len(message):
                raise IndexError
            yield number, wire, message[start:at]
    except IndexError:
        raise BundleError("the model file is no ONNX file, or was cut off") from None


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _write(number: int, wire: int, content: bytes) -> bytes:
    size = _varint(len(content)) if wire == 2 else b""
    return _varint(number << 3 | wire) + size + content


def _field(number: int, content: bytes) -> bytes:
    return _write(number, 2, content)
