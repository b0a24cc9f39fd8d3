"""A smaller graph: static int8 of the large multiplications, by onnxruntime, calibrated on real clips.

Quantised are ``Conv``, ``Gemm`` and ``MatMul`` with constant weights, weights per channel, activations by the
range that they had on the calibration clips (QDQ). Left in float32 is what stands before a logarithm, a front
end in the graph, for 8 bits cannot hold the dynamic range of sound; and every node that, quantised alone,
moves the logits by more than 5 % of their spread. Recurrent layers have no static int8 in onnxruntime, and
trees have nothing to multiply.

What it costs in UAR is not promised but measured: `emovox export RUN --int8`.
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
"""What can be quantised."""

_LEAST_WEIGHTS = 1024
"""Smaller ones cost more in conversions than they save."""

_TRIED = 16
"""Clips on which each node is tried alone."""

_MOST_MOVED = 0.05


def to_int8(model: bytes, items: Sequence[Floats], *, kind: Kind, name: str = "model") -> bytes:
    """Quantise a bundle's graph.

    Args:
        model: the bytes of its ONNX file.
        items: what the graph hears of the calibration clips (`Bundle.heard`): ``(n,)``, ``(d,)`` or
            ``(t, d)`` float32; some hundred, of training speakers.
        kind: what the graph takes.
        name: for messages.

    Raises:
        ConfigError: there are no items, or nothing in the graph can be quantised.
        BundleError: onnxruntime cannot quantise it.
    """
    if not items:
        raise ConfigError(f"{name}: no clips to calibrate on; expected some hundred of training speakers")
    proto = onnx.load_from_string(model)
    chosen = _named(proto)
    if not chosen:
        found = ", ".join(sorted({node.op_type for node in proto.graph.node})[:8])
        raise ConfigError(
            f"{name} gains nothing from int8: no {' or '.join(OPERATIONS)} with at least {_LEAST_WEIGHTS} "
            f"weights outside of a front end (it has {found}); trees, small and "
            "recurrent models stay as they are"
        )
    sturdy = [node for node in chosen if _moves(proto, items[:_TRIED], kind, node, name) <= _MOST_MOVED]
    if not sturdy:
        raise ConfigError(
            f"{name} does not bear int8: each of its {len(chosen)} layers alone changes its answers"
        )
    return _static(proto, items, kind, sturdy, name)


def _static(proto: Any, items: Sequence[Floats], kind: Kind, nodes: Sequence[str], name: str) -> bytes:
    disable_telemetry()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "int8.onnx"
        try:
            quantize_static(
                copy.deepcopy(proto),
                file,
                _Clips(items, kind),
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


def _moves(proto: Any, items: Sequence[Floats], kind: Kind, node: str, name: str) -> float:
    """How far the logits move when one node is quantised, as a share of their spread."""
    before = _logits(proto.SerializeToString(), items, kind, name)
    after = _logits(_static(proto, items, kind, [node], name), items, kind, name)
    spread = float(before.std())
    return float(np.abs(after - before).mean()) / spread if spread else np.inf


def _logits(model: bytes, items: Sequence[Floats], kind: Kind, name: str) -> Floats:
    outputs = {port.name: port.type.tensor_type.shape for port in onnx.load_from_string(model).graph.output}
    n_columns = None if kind == "waveform" else items[0].shape[-1]
    n_labels = outputs["logits"].dim[1].dim_value
    graph = OnnxModel(model, name=name, n_labels=n_labels, kind=kind, n_columns=n_columns)
    return np.concatenate([graph([item]) for item in items])


def operations(model: bytes) -> list[str]:
    """The kinds of the nodes that `to_int8` would quantise, in their order."""
    proto = onnx.load_from_string(model)
    chosen = set(_named(proto))
    return [node.op_type for node in proto.graph.node if node.name in chosen]


def _named(proto: Any) -> list[str]:
    """The names of the nodes to quantise; nodes without a name are given one."""
    for place, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in proto.graph.initializer}
    front = _before_logarithms(proto)
    return [
        node.name
        for node in proto.graph.node
        if node.op_type in OPERATIONS
        and node.name not in front
        and any(sizes.get(name, 0) >= _LEAST_WEIGHTS for name in node.input)
    ]


def _before_logarithms(proto: Any) -> set[str]:
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


class _Clips:
    """Hands onnxruntime one clip after the other, each alone: padding would widen no range."""

    def __init__(self, items: Sequence[Floats], kind: Kind) -> None:
        self._left = iter(items)
        self._kind = kind

    def get_next(self) -> dict[str, Any] | None:
        item = next(self._left, None)
        return None if item is None else make_feed(self._kind, [item])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Its advice to preprocess goes to the root logger; dynamic shapes leave nothing to preprocess."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
