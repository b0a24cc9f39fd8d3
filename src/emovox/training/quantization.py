"""Static int8 quantisation of a bundle's graph with onnxruntime, calibrated on real clips.

``Conv``, ``Gemm`` and ``MatMul`` with constant weights are quantised (QDQ): weights per channel,
activations by their range on the calibration clips. Two kinds of nodes stay in float32: those before a
logarithm, that is a front end in the graph, since 8 bits cannot hold the dynamic range of sound; and those
that, quantised alone, move the logits by more than 5 % of their spread. onnxruntime has no static int8 of
recurrent layers, and trees have no multiplications.

What it costs in UAR is measured by `emovox export RUN --int8`.
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

from emovox._arrays import Floats
from emovox._telemetry import disable_telemetry
from emovox.bundles.onnx_session import Kind, OnnxModel, make_feed
from emovox.errors import BundleError, ConfigError

__all__ = ["OPERATIONS", "operations", "to_int8"]


OPERATIONS = ("Conv", "Gemm", "MatMul")
"""Operations that can be quantised."""

_MIN_WEIGHTS = 1024
"""Smaller nodes cost more in conversions than they save."""

_N_TEST_CLIPS = 16
"""Clips on which each node is tested alone."""

_MAX_CHANGE = 0.05
"""Of the logits, as a share of their spread."""


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
