"""A graph written node by node: values by name, numbers stored once, other graphs built in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Builder"]

_OPSET, _OPSET_ML, _IR = 17, 3, 9
"""Every onnxruntime that emovox allows reads these."""


class Builder:
    """Collects nodes; each method answers the name of the value it made."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._numbers: dict[str, onnx.TensorProto] = {}
        self._made = 0

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """An operation with one output."""
        output = self._name(op)
        self._nodes.append(helper.make_node(op, list(inputs), [output], domain=domain, **attributes))
        return output

    def pair(self, op: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """An operation with two outputs."""
        outputs = self._name(op), self._name(op)
        self._nodes.append(helper.make_node(op, list(inputs), list(outputs), **attributes))
        return outputs

    def number(self, values: ArrayLike, dtype: Any = np.float32) -> str:
        """A constant."""
        name = self._name("number")
        self._numbers[name] = numpy_helper.from_array(np.ascontiguousarray(values, dtype), name)
        return name

    def double(self, values: ArrayLike) -> str:
        """A constant, calculated with in float64; stored in float32 where that loses nothing."""
        exact = np.asarray(values, np.float64)
        short = exact.astype(np.float32)
        if np.array_equal(short, exact):
            return self.to_double(self.number(short))
        return self.number(exact, np.float64)

    def to_double(self, value: str) -> str:
        """The value in float64."""
        return self.node("Cast", value, to=TensorProto.DOUBLE)

    def to_float(self, value: str) -> str:
        """The value in float32."""
        return self.node("Cast", value, to=TensorProto.FLOAT)

    def to_int(self, value: str) -> str:
        """The value in int64."""
        return self.node("Cast", value, to=TensorProto.INT64)

    def affine(self, x: str, weight: ArrayLike, bias: ArrayLike) -> str:
        """``x @ weight + bias`` in float64: ``(b, d)``, ``(d, k)``, ``(k,)``."""
        return self.node("Add", self.node("MatMul", x, self.double(weight)), self.double(bias))

    def built_in(self, model: onnx.ModelProto, x: str, output: str) -> str:
        """Another graph with one input, here fed with ``x``; the name of its ``output`` here."""
        graph, prefix = model.graph, self._name("part") + "/"
        renamed = {graph.input[0].name: x, "": ""}
        for tensor in graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = renamed[tensor.name] = prefix + tensor.name
            self._numbers[copy.name] = copy
        for node in graph.node:
            copy_of = onnx.NodeProto()
            copy_of.CopyFrom(node)
            copy_of.name = ""
            renamed.update({name: prefix + name for name in node.output if name})
            for field in (copy_of.input, copy_of.output):
                field[:] = [renamed[name] for name in field]
            self._nodes.append(copy_of)
        return renamed[output]

    def model(self, inputs: tuple[str, int], outputs: tuple[str, int], value: str, name: str) -> bytes:
        """The finished file, with names and widths of ``(b, width)`` float32 in and out."""
        self._nodes.append(helper.make_node("Identity", [value], [outputs[0]]))
        nodes, used = self._reachable(outputs[0])
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(inputs[0], TensorProto.FLOAT, ["b", inputs[1]])],
            [helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, ["b", outputs[1]])],
            [tensor for name, tensor in self._numbers.items() if name in used],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _OPSET_ML)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="emovox")
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _reachable(self, output: str) -> tuple[Sequence[onnx.NodeProto], set[str]]:
        """The nodes that ``output`` depends on, in order, and the values they take."""
        needed, kept = {output}, []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(node.input) | _captured(node)
        return kept[::-1], needed

    def _name(self, what: str) -> str:
        self._made += 1
        return f"{what}_{self._made}"


def _captured(node: onnx.NodeProto) -> set[str]:
    """Outer values that the graphs inside of a node may use."""
    inner = [a.g for a in node.attribute if a.HasField("g")]
    return {name for graph in inner for one in graph.node for name in (*one.input, *_captured(one))}
