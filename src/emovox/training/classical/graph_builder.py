"""Builder of ONNX graphs: nodes one by one, constants stored once, other graphs embedded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

__all__ = ["GraphBuilder"]

_OPSET, _OPSET_ML, _IR = 17, 3, 9
"""Read by every supported version of onnxruntime."""


class GraphBuilder:
    """Collects nodes; each method returns the name of the value that it adds."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._n_values = 0

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operation with one output."""
        output = self._new_name(op)
        self._nodes.append(helper.make_node(op, list(inputs), [output], domain=domain, **attributes))
        return output

    def two_outputs(self, op: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """Add an operation with two outputs."""
        outputs = self._new_name(op), self._new_name(op)
        self._nodes.append(helper.make_node(op, list(inputs), list(outputs), **attributes))
        return outputs

    def constant(self, values: ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant."""
        name = self._new_name("constant")
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values, dtype), name)
        return name

    def constant64(self, values: ArrayLike) -> str:
        """Add a constant in float64, stored in float32 where that loses nothing."""
        exact = np.asarray(values, np.float64)
        short = exact.astype(np.float32)
        if np.array_equal(short, exact):
            return self.to_double(self.constant(short))
        return self.constant(exact, np.float64)

    def to_double(self, value: str) -> str:
        """Cast to float64."""
        return self.node("Cast", value, to=TensorProto.DOUBLE)

    def to_float(self, value: str) -> str:
        """Cast to float32."""
        return self.node("Cast", value, to=TensorProto.FLOAT)

    def to_int(self, value: str) -> str:
        """Cast to int64."""
        return self.node("Cast", value, to=TensorProto.INT64)

    def affine(self, x: str, weight: ArrayLike, bias: ArrayLike) -> str:
        """Add ``x @ weight + bias`` in float64: ``(b, d)``, ``(d, k)``, ``(k,)``."""
        return self.node("Add", self.node("MatMul", x, self.constant64(weight)), self.constant64(bias))

    def embed(self, model: onnx.ModelProto, x: str, output: str) -> str:
        """Embed another graph with one input, which becomes ``x``; return the new name of its ``output``."""
        graph, prefix = model.graph, self._new_name("part") + "/"
        names = {graph.input[0].name: x, "": ""}
        for tensor in graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = names[tensor.name] = prefix + tensor.name
            self._constants[copy.name] = copy
        for node in graph.node:
            clone = onnx.NodeProto()
            clone.CopyFrom(node)
            clone.name = ""
            names.update({name: prefix + name for name in node.output if name})
            for field in (clone.input, clone.output):
                field[:] = [names[name] for name in field]
            self._nodes.append(clone)
        return names[output]

    def model(self, inputs: tuple[str, int], outputs: tuple[str, int], value: str, name: str) -> bytes:
        """Return the serialised model; inputs and outputs are names and widths of ``(b, width)`` float32."""
        self._nodes.append(helper.make_node("Identity", [value], [outputs[0]]))
        nodes, used = self._find_needed_nodes(outputs[0])
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(inputs[0], TensorProto.FLOAT, ["b", inputs[1]])],
            [helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, ["b", outputs[1]])],
            [tensor for name, tensor in self._constants.items() if name in used],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _OPSET_ML)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="emovox")
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _find_needed_nodes(self, output: str) -> tuple[Sequence[onnx.NodeProto], set[str]]:
        """Nodes that ``output`` depends on, in order, and the values that they use."""
        needed, kept = {output}, []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= set(node.input) | _find_outer_values(node)
        return kept[::-1], needed

    def _new_name(self, kind: str) -> str:
        self._n_values += 1
        return f"{kind}_{self._n_values}"


def _find_outer_values(node: onnx.NodeProto) -> set[str]:
    """Outer values that the subgraphs of a node may use."""
    inner = [a.g for a in node.attribute if a.HasField("g")]
    return {name for graph in inner for one in graph.node for name in (*one.input, *_find_outer_values(one))}
