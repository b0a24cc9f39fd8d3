"""Static int8 quantisation of a bundle's graph with onnxruntime, calibrated on real clips.

``Conv``, ``Gemm`` and ``MatMul`` with constant weights are quantised (QDQ): weights per channel,
activations by their range on the calibration clips. Two kinds of nodes stay in float32: those before a
logarithm, that is a front end in the graph, since 8 bits cannot hold the dynamic range of sound; and those
that, quantised alone, move the logits by more than 5 % of their spread. onnxruntime has no static int8 of
recurrent layers, and trees have no multiplications.

What it costs in UAR is measured by `emovox export RUN --int8`.

`compress_encoder` is for graphs of `emovox.nets.adaptive.AdaptiveNet`, a Whisper encoder with linear heads.
Whisper has activations a hundred times larger than the rest before the second feed-forward matrix; in 8 bits
they cost up to 6 points of UAR. Channels that are large on example sounds are therefore made smaller there,
and the rows of the matrix larger (SmoothQuant: Xiao et al., 2023). So:

- products of the transformer and the second convolution: dynamic int8, weights per channel, computed in 8
  bits; without examples the second feed-forward matrix is only stored so;
- first convolution: weights in int8 per channel, computed in float32 (a ``Cast`` and a ``Mul`` restore them,
  which onnxruntime folds when the graph is loaded);
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
from emovox.bundles.onnx_session import Kind, OnnxModel, complete_feed, make_feed
from emovox.errors import BundleError, ConfigError
from emovox.training.onnx_metadata import strip_metadata

__all__ = ["OPERATIONS", "compress_encoder", "operations", "to_int8"]

OPERATIONS = ("Conv", "Gemm", "MatMul")
"""Operations that can be quantised."""

_MIN_WEIGHTS = 1024
"""Smaller nodes cost more in conversions than they save."""

_N_TEST_CLIPS = 16
"""Clips on which each node is tested alone."""

_MAX_CHANGE = 0.05
"""Of the logits, as a share of their spread."""


_SMOOTHING = 0.7
"""Exponent of SmoothQuant: how much of the range of activations goes to the weights. Logits of 60 clips move
by .104 without, .068 with 0.5 and .065 with 0.7."""

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


def compress_encoder(model: bytes, examples: Sequence[Floats] = (), *, compute_int8: bool = True) -> bytes:
    """Store the graph of an `AdaptiveNet` in 8 bits, and compute the transformer's products in 8 bits.

    The scales of activations are taken over a whole batch: predict one clip at a time where logits must not
    depend on other clips.

    Args:
        model: the bytes of the float32 ONNX file.
        examples: speech ``(n,)`` at 16 kHz, about 20 clips, on which the range of activations is measured.
        compute_int8: False to compute in float32 what is stored in 8 bits.

    Returns:
        The bytes of the smaller ONNX file.
    """
    proto = onnx.load_from_string(model)
    size = _find_hidden_size(proto)
    if compute_int8:
        _unfold_convolution(proto, size)
        if len(examples):
            _smooth_activations(proto, size, examples)
        proto = _quantize_products(proto, size, smoothed=len(examples) > 0)
    _store_small(proto, size)
    strip_metadata(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _find_hidden_size(proto: Any) -> int:
    """Channels of a hidden state: those of the convolutions over mel bands."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    convolutions = [shapes[node.input[1]] for node in proto.graph.node if node.op_type == "Conv"]
    return int(max(shape[0] for shape in convolutions if shape[2] == 3))


def _unfold_convolution(proto: Any, size: int) -> None:
    """Replace the convolution between hidden states, of 3 frames and stride 2, by a product of matrices."""
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {name: tuple(tensor.dims) for name, tensor in weights.items()}
    places = [
        place
        for place, node in enumerate(graph.node)
        if node.op_type == "Conv" and shapes[node.input[1]] == (size, size, 3)
    ]
    if not places:
        return
    node = graph.node[places[0]]
    matrix = numpy_helper.to_array(weights[node.input[1]]).transpose(2, 1, 0).reshape(3 * size, size)
    values = {"weight": matrix.copy(), "pads": np.array([0, 1, 0, 0, 1, 0])}
    values |= {f"number_{n}": np.array([n]) for n in (-2, -1, 0, 1, 2, np.iinfo(np.int32).max)}
    graph.initializer.extend(numpy_helper.from_array(v, f"unfolded_{name}") for name, v in values.items())

    def make(op_type: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(
            op_type, [f"unfolded_{name}" for name in inputs], [f"unfolded_{output}"], **attributes
        )

    # Output t is the product with the frames 2t - 1, 2t and 2t + 1: every second one, from three starts.
    ends = ("number_-2", "number_-1", f"number_{np.iinfo(np.int32).max}")
    slices = [
        make("Slice", ["padded", f"number_{i}", end, "number_1", "number_2"], f"part_{i}")
        for i, end in enumerate(ends)
    ]
    nodes = [
        helper.make_node("Transpose", [node.input[0]], ["unfolded_frames"], perm=[0, 2, 1]),
        make("Pad", ["frames", "pads"], "padded"),
        *slices,
        make("Concat", ["part_0", "part_1", "part_2"], "rows", axis=2),
        make("MatMul", ["rows", "weight"], "product"),
        helper.make_node("Add", ["unfolded_product", node.input[2]], ["unfolded_sum"]),
        helper.make_node("Transpose", ["unfolded_sum"], [node.output[0]], perm=[0, 2, 1]),
    ]
    graph.initializer.remove(weights[node.input[1]])
    graph.node.remove(node)
    for offset, new in enumerate(nodes):
        graph.node.insert(places[0] + offset, new)


def _smooth_activations(proto: Any, size: int, examples: Sequence[Floats]) -> None:
    """Divide the channels before the second feed-forward matrices by their range, and multiply the rows."""
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    second = [
        node
        for node in graph.node
        if node.op_type == "MatMul"
        and node.input[1] in weights
        and tuple(weights[node.input[1]].dims) == (4 * size, size)
    ]
    for node, largest in zip(
        second, _measure_ranges(proto, [node.input[0] for node in second], examples), strict=True
    ):
        matrix = numpy_helper.to_array(weights[node.input[1]])
        rows = np.maximum(np.abs(matrix).max(1), 1e-4)
        factor = np.maximum(largest, 1e-3) ** _SMOOTHING / rows ** (1 - _SMOOTHING)
        factor = np.clip(factor / np.median(factor), 0.25, 1000).astype(np.float32)
        weights[node.input[1]].CopyFrom(numpy_helper.from_array(matrix * factor[:, None], node.input[1]))
        source, name = node.input[0], f"{node.input[0]}_smooth"
        graph.initializer.append(numpy_helper.from_array(1 / factor, f"{name}_factor"))
        node.input[0] = name
        graph.node.insert(
            list(graph.node).index(node), helper.make_node("Mul", [source, f"{name}_factor"], [name])
        )


def _measure_ranges(proto: Any, names: Sequence[str], examples: Sequence[Floats]) -> NDArray[np.float32]:
    """Largest magnitude in each channel of inner values over the examples, ``(len(names), channels)``."""
    disable_telemetry()
    import onnxruntime

    copied = copy.deepcopy(proto)
    copied.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(copied.SerializeToString(), providers=["CPUExecutionProvider"])
    ranges = []
    for sound in examples:
        feed = complete_feed(make_feed("waveform", [sound]), session)
        ranges.append([np.abs(value[0]).max(0) for value in session.run(list(names), feed)])
    largest: NDArray[np.float32] = np.array(ranges).max(0)
    return largest


def _quantize_products(proto: Any, size: int, *, smoothed: bool) -> Any:
    disable_telemetry()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shapes = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    wanted = {(size, 3 * size), (size, size), (size, 4 * size), (3 * size, size)}
    if smoothed:
        wanted.add((4 * size, size))
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
