"""Static int8 quantisation of a bundle's graph with onnxruntime, calibrated on real clips.

``Conv``, ``Gemm`` and ``MatMul`` with constant weights are quantised (QDQ): weights per channel,
activations by their range on the calibration clips. Two kinds of nodes stay in float32: those before a
logarithm, that is a front end in the graph, since 8 bits cannot hold the dynamic range of sound; and those
that, quantised alone, move the logits by more than 5 % of their spread. onnxruntime has no static int8 of
recurrent layers, and trees have no multiplications.

What it costs in UAR is measured by `emovox export RUN --int8`.

`compress_encoder` is for graphs of `emovox.nets.adaptive.AdaptiveNet`, a Whisper encoder with linear heads.
Whisper has activations a hundred times larger than the rest before the second feed-forward matrix; in 8 bits
they cost up to 6 points of UAR. So:

- products of the transformer: dynamic int8, weights per channel, computed in 8 bits;
- second feed-forward matrix and convolutions: weights in int8 per channel, computed in float32 (a ``Cast``
  and a ``Mul`` restore them, which onnxruntime folds when the graph is loaded);
- table of positions: float16;
- Fourier transform, mel bands, normalisations and heads: float32.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from emovox._arrays import Floats
from emovox._telemetry import disable_telemetry
from emovox.bundles.onnx_session import Kind, OnnxModel, make_feed
from emovox.errors import BundleError, ConfigError

__all__ = ["OPERATIONS", "compress_encoder", "operations", "to_int8"]

OPERATIONS = ("Conv", "Gemm", "MatMul")
"""Operations that can be quantised."""

_MIN_WEIGHTS = 1024
"""Smaller nodes cost more in conversions than they save."""

_N_TEST_CLIPS = 16
"""Clips on which each node is tested alone."""

_MAX_CHANGE = 0.05
"""Of the logits, as a share of their spread."""


_MIN_STORED = 4096
"""Tensors with fewer values stay in float32 in `compress_encoder`."""


def to_int8(model: bytes, items: Sequence[Floats], *, kind: Kind, name: str = "model") -> bytes:
    """Quantise a bundle's graph.

    Args:
        model: the bytes of its ONNX file.
        items: inputs of the graph for some hundred clips of training speakers: ``(n,)``, ``(d,)`` or
            ``(t, d)`` float32.
        kind: what the graph takes.
        name: for messages.

    Raises:
        ConfigError: there are no items, or nothing in the graph can be quantised.
        BundleError: onnxruntime cannot quantise it.
    """
    if not items:
        raise ConfigError(f"{name}: no clips to calibrate on; expected some hundred of training speakers")
    proto = onnx.load_from_string(model)
    candidates = _find_candidates(proto)
    if not candidates:
        found = ", ".join(sorted({node.op_type for node in proto.graph.node})[:8])
        raise ConfigError(
            f"{name} gains nothing from int8: no {' or '.join(OPERATIONS)} with at least {_MIN_WEIGHTS} "
            f"weights outside of a front end (it has {found}); trees, small and "
            "recurrent models stay as they are"
        )
    robust = [
        node
        for node in candidates
        if _measure_change(proto, items[:_N_TEST_CLIPS], kind, node, name) <= _MAX_CHANGE
    ]
    if not robust:
        raise ConfigError(
            f"{name} cannot be quantised: each of its {len(candidates)} layers alone changes its logits"
        )
    return _quantize(proto, items, kind, robust, name)


def _quantize(proto: Any, items: Sequence[Floats], kind: Kind, nodes: Sequence[str], name: str) -> bytes:
    disable_telemetry()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                copy.deepcopy(proto),
                file,
                _CalibrationReader(items, kind),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=list(nodes),
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},  # logits, above all
            )
        except Exception as error:  # onnxruntime's exceptions share no base class
            why = " ".join(str(error).split())[:200]
            raise BundleError(f"{name} cannot be quantised: {type(error).__name__}: {why}") from error
        return file.read_bytes()


def _measure_change(proto: Any, items: Sequence[Floats], kind: Kind, node: str, name: str) -> float:
    """Mean change of the logits when one node is quantised, as a share of their spread."""
    before = _run(proto.SerializeToString(), items, kind, name)
    after = _run(_quantize(proto, items, kind, [node], name), items, kind, name)
    spread = float(before.std())
    return float(np.abs(after - before).mean()) / spread if spread else np.inf


def _run(model: bytes, items: Sequence[Floats], kind: Kind, name: str) -> Floats:
    outputs = {port.name: port.type.tensor_type.shape for port in onnx.load_from_string(model).graph.output}
    n_columns = None if kind == "waveform" else items[0].shape[-1]
    n_labels = outputs["logits"].dim[1].dim_value
    graph = OnnxModel(model, name=name, n_labels=n_labels, kind=kind, n_columns=n_columns)
    return np.concatenate([graph([item]) for item in items])


def operations(model: bytes) -> list[str]:
    """Return the operations that `to_int8` would try to quantise, in their order."""
    proto = onnx.load_from_string(model)
    candidates = set(_find_candidates(proto))
    return [node.op_type for node in proto.graph.node if node.name in candidates]


def _find_candidates(proto: Any) -> list[str]:
    """Names of the nodes that could be quantised; nodes without a name get one."""
    for place, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in proto.graph.initializer}
    front = _find_front_end(proto)
    return [
        node.name
        for node in proto.graph.node
        if node.op_type in OPERATIONS
        and node.name not in front
        and any(sizes.get(name, 0) >= _MIN_WEIGHTS for name in node.input)
    ]


def _find_front_end(proto: Any) -> set[str]:
    """Nodes on which a ``Log`` depends."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    todo = [name for node in proto.graph.node if node.op_type == "Log" for name in node.input]
    found: set[str] = set()
    while todo:
        node = makers.get(todo.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            todo += node.input
    return found


class _CalibrationReader:
    """Feeds the calibration clips to onnxruntime one by one, so that padding does not widen a range."""

    def __init__(self, items: Sequence[Floats], kind: Kind) -> None:
        self._left = iter(items)
        self._kind = kind

    def get_next(self) -> dict[str, Any] | None:
        item = next(self._left, None)
        return None if item is None else make_feed(self._kind, [item])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnxruntime's advice to preprocess, logged at the root: dynamic shapes have nothing to."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


# --- graphs of AdaptiveNet -----------------------------------------------------------------------------


def compress_encoder(model: bytes, *, compute_int8: bool = True) -> bytes:
    """Store the graph of an `AdaptiveNet` in 8 bits, and compute the transformer's products in 8 bits.

    The scales of activations are taken over a whole batch: predict one clip at a time where logits must not
    depend on other clips.

    Args:
        model: the bytes of the float32 ONNX file.
        compute_int8: False to compute in float32 what is stored in 8 bits.

    Returns:
        The bytes of the smaller ONNX file.
    """
    proto = onnx.load_from_string(model)
    size = _find_hidden_size(proto)
    if compute_int8:
        proto = _quantize_products(proto, size)
    _store_small(proto, size)
    return bytes(proto.SerializeToString(deterministic=True))


def _find_hidden_size(proto: Any) -> int:
    """Channels of a hidden state: those of the convolutions over mel bands."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    convolutions = [shapes[node.input[1]] for node in proto.graph.node if node.op_type == "Conv"]
    return int(max(shape[0] for shape in convolutions if shape[2] == 3))


def _quantize_products(proto: Any, size: int) -> Any:
    disable_telemetry()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    wanted = {(size, 3 * size), (size, size), (size, 4 * size)}
    chosen = []
    for number, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        if node.op_type == "MatMul" and shapes.get(node.input[1]) in wanted:
            chosen.append(node.name)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "int8.onnx"
        quantize_dynamic(
            proto,
            file,
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=chosen,
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(file)


def _store_small(proto: Any, size: int) -> None:
    """Replace large float32 initialisers by smaller ones and the nodes that restore them."""
    graph = proto.graph
    users = {name: node for node in graph.node for name in node.input}
    restoring = []
    for tensor in list(graph.initializer):
        shape = tuple(tensor.dims)
        if tensor.data_type != TensorProto.FLOAT or np.prod(shape) < _MIN_STORED or len(shape) < 2:
            continue
        value = numpy_helper.to_array(tensor)
        is_convolution = users[tensor.name].op_type == "Conv" and shape[0] == size
        is_matrix = users[tensor.name].op_type == "MatMul" and size in shape and min(shape) >= size
        name, scale = tensor.name, None
        if is_convolution or is_matrix:
            axes = (1, 2) if is_convolution else (0,)  # one scale for each output channel
            stored, scale = _to_int8(value, axes)
        elif len(shape) == 2 and shape[1] == size:  # positions
            stored = value.astype(np.float16)
        else:
            continue
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(stored, f"{name}_stored"))
        as_float = f"{name}_float" if scale is not None else name
        restoring.append(helper.make_node("Cast", [f"{name}_stored"], [as_float], to=TensorProto.FLOAT))
        if scale is not None:
            graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
            restoring.append(helper.make_node("Mul", [as_float, f"{name}_scale"], [name]))
    for node in reversed(restoring):
        graph.node.insert(0, node)


def _to_int8(
    value: NDArray[np.float32], axes: tuple[int, ...]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    scale = np.maximum(np.abs(value).max(axes, keepdims=True), 1e-12) / 127
    return np.rint(value / scale).astype(np.int8), scale.astype(np.float32)
