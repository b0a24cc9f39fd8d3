"""A tiny model bundle that the tests of every room can open, and what all property tests share."""

from __future__ import annotations

import os
import sys

# Before numpy is loaded: workers multiply in one thread, and so must we to be their equal to the last bit.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from emovox._telemetry import disable_telemetry
from emovox.bundles import (
    Abstain,
    EmbeddingAdaptation,
    Input,
    Licence,
    Spec,
    SpeechOutput,
    StreamMemory,
    Target,
    write_bundle,
)

disable_telemetry()  # tests of foreign libraries load them first

# A busy machine is no failure; what must be fast is measured where it is tested.
settings.register_profile("emovox", deadline=None)
settings.load_profile("emovox")

LABELS = ("neutral", "happy", "sad", "angry", "fear")
KERNEL, STRIDE, BANDS = 128, 64, 12


def tiny_onnx(n_labels: int = len(LABELS), *, seed: int = 0) -> bytes:
    """A graph by the contract: log energies in a few bands, averaged over ``lengths``, and a linear layer.

    Frames past a clip's own length are masked, so a padded clip is judged like the clip alone.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    rng = np.random.default_rng(seed)
    t = np.arange(KERNEL) - KERNEL / 2
    phase = 2 * np.pi * np.geomspace(100, 6000, BANDS)[:, None] * t / 16000
    taste = rng.standard_normal((BANDS, n_labels))  # its mean is taken away: loudness does not matter
    waves = np.hanning(KERNEL) * np.concatenate([np.cos(phase), np.sin(phase)])
    numbers = {
        "kernel": waves[:, None].astype(np.float32),
        "weight": (0.25 * np.tile(taste - taste.mean(axis=0), (2, 1))).astype(np.float32),
        "bias": np.zeros(n_labels, np.float32),
        "floor": np.float32(1e-5),
        "stride": np.int64(STRIDE),
        "zero": np.int64(0),
        "one": np.int64(1),
        "axis_0": np.array([0]),
        "axis_1": np.array([1]),
        "axis_2": np.array([2]),
    }
    node = helper.make_node
    nodes = [
        node("Unsqueeze", ["waveform", "axis_1"], ["wave"]),
        node("Conv", ["wave", "kernel"], ["bands"], pads=[KERNEL // 2] * 2, strides=[STRIDE]),
        node("Mul", ["bands", "bands"], ["power"]),
        node("Shape", ["power"], ["n_frames"], start=2, end=3),
        node("Squeeze", ["n_frames"], ["t"]),
        node("Range", ["zero", "t", "one"], ["index"]),
        node("Mul", ["index", "stride"], ["centre"]),
        node("Unsqueeze", ["centre", "axis_0"], ["centres"]),
        node("Unsqueeze", ["lengths", "axis_1"], ["ends"]),
        node("LessOrEqual", ["centres", "ends"], ["inside"]),
        node("Cast", ["inside"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "axis_1"], ["mask3"]),
        node("Mul", ["power", "mask3"], ["kept"]),
        node("ReduceSum", ["kept", "axis_2"], ["total"], keepdims=0),
        node("ReduceSum", ["mask", "axis_1"], ["count"], keepdims=1),
        node("Div", ["total", "count"], ["mean"]),
        node("Add", ["mean", "floor"], ["floored"]),
        node("Log", ["floored"], ["logs"]),
        node("Gemm", ["logs", "weight", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["b", "n"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["b"]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", n_labels])],
        [numpy_helper.from_array(np.asarray(x), name) for name, x in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_value_onnx(n_labels: int, n_values: int, *, seed: int = 0) -> bytes:
    """`tiny_onnx` whose last outputs are the values; without labels there are only values."""
    import onnx
    from onnx import TensorProto, checker, helper, numpy_helper

    model = onnx.load_from_string(tiny_onnx(n_labels + n_values, seed=seed))
    graph, node, info = model.graph, helper.make_node, helper.make_tensor_value_info
    graph.node[-1].output[0] = "all"
    graph.initializer.append(numpy_helper.from_array(np.array([n_labels, n_values]), "sizes"))
    graph.node.append(node("Split", ["all", "sizes"], ["logits", "values"], axis=1))
    del graph.output[:]
    graph.output.extend(
        info(name, TensorProto.FLOAT, ["b", width])
        for name, width in (("logits", n_labels), ("values", n_values))
        if width
    )
    checker.check_model(model)
    return bytes(model.SerializeToString())


EMBEDDING_SIZE = 6


def tiny_adaptive_onnx(n_labels: int = len(LABELS), *, seed: int = 0) -> bytes:
    """`tiny_onnx` with an embedding, an offset that is subtracted from it, and a speech output.

    A sound counts as speech unless one band has far more energy than the others, as a tone has. Loudness
    matters to none of the outputs.
    """
    import onnx
    from onnx import TensorProto, checker, helper, numpy_helper

    rng = np.random.default_rng(seed)
    project = rng.standard_normal((2 * BANDS, EMBEDDING_SIZE)) / BANDS
    numbers = {
        "project": (project - project.mean(axis=0)).astype(np.float32),
        "head": rng.standard_normal((EMBEDDING_SIZE, n_labels)).astype(np.float32),
        "most": np.float32(7.0),
    }
    model = onnx.load_from_string(tiny_onnx(n_labels, seed=seed))
    graph, node, info = model.graph, helper.make_node, helper.make_tensor_value_info
    graph.node.pop()
    graph.node.extend([
        node("MatMul", ["logs", "project"], ["embedding"]),
        node("Sub", ["embedding", "offset"], ["adapted"]),
        node("MatMul", ["adapted", "head"], ["logits"]),
        node("ReduceMean", ["logs"], ["middle"], axes=[1], keepdims=0),
        node("ReduceMax", ["logs"], ["top"], axes=[1], keepdims=0),
        node("Sub", ["top", "middle"], ["contrast"]),
        node("Sub", ["most", "contrast"], ["speech"]),
    ])  # fmt: skip
    (floor,) = (tensor for tensor in graph.initializer if tensor.name == "floor")
    floor.CopyFrom(numpy_helper.from_array(np.float32(1e-9), "floor"))
    graph.initializer.extend(numpy_helper.from_array(np.asarray(x), name) for name, x in numbers.items())
    graph.input.append(info("offset", TensorProto.FLOAT, ["b", EMBEDDING_SIZE]))
    graph.output.append(info("embedding", TensorProto.FLOAT, ["b", EMBEDDING_SIZE]))
    graph.output.append(info("speech", TensorProto.FLOAT, ["b"]))
    checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_features_onnx(n_columns: int, n_labels: int = len(LABELS), *, frames: bool = False) -> bytes:
    """A graph on features by the contract: missing ones are 0, frames are averaged over ``lengths``; then a
    linear layer."""
    from onnx import TensorProto, checker, helper, numpy_helper

    node, info = helper.make_node, helper.make_tensor_value_info
    weights = np.random.default_rng(5).standard_normal((n_columns, n_labels)) / n_columns
    numbers = {"weight": weights.astype(np.float32), "zero_f": np.float32(0), "squash": np.float32(0.01)}
    nodes = [
        node("IsNaN", ["features"], ["missing"]),
        node("Where", ["missing", "zero_f", "features"], ["known"]),
        node("Mul", ["known", "squash"], ["small"]),
        node("Tanh", ["small"], ["bounded"]),
    ]
    inputs = [info("features", TensorProto.FLOAT, ["b", "t", n_columns] if frames else ["b", n_columns])]
    if frames:
        numbers |= {"zero": np.int64(0), "one": np.int64(1), "axis_1": np.array([1]), "axis_2": np.array([2])}
        inputs.append(info("lengths", TensorProto.INT64, ["b"]))
        nodes += [
            node("Shape", ["features"], ["n_frames"], start=1, end=2),
            node("Squeeze", ["n_frames"], ["t"]),
            node("Range", ["zero", "t", "one"], ["index"]),
            node("Unsqueeze", ["lengths", "axis_1"], ["ends"]),
            node("Less", ["index", "ends"], ["inside"]),
            node("Cast", ["inside"], ["mask"], to=TensorProto.FLOAT),
            node("Unsqueeze", ["mask", "axis_2"], ["mask3"]),
            node("Mul", ["bounded", "mask3"], ["kept"]),
            node("ReduceSum", ["kept", "axis_1"], ["total"], keepdims=0),
            node("ReduceSum", ["mask", "axis_1"], ["count"], keepdims=1),
            node("Div", ["total", "count"], ["row"]),
        ]
    nodes.append(node("MatMul", ["row" if frames else "bounded", "weight"], ["logits"]))
    outputs = [info("logits", TensorProto.FLOAT, ["b", n_labels])]
    tensors = [numpy_helper.from_array(np.asarray(x), name) for name, x in numbers.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_spec(labels: Sequence[str] = LABELS, **changes: Any) -> Spec:
    """A spec that fits `tiny_onnx`; ``changes`` replace its fields."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "description": "band energies and a linear layer; for tests",
        "labels": tuple(labels),
        "input": Input(kind="waveform"),
        "window_s": 3.0,
        "hop_s": 1.0,
        "min_s": 0.5,
        "clip_s": 10.0,
        "temperature": 4.0,
        "abstain": Abstain(confidence=0.0),
        "corpora": ("none",),
        "protocol": "none",
        "licence": Licence(code="Apache-2.0", weights="Apache-2.0", commercial=True),
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Spec(**(fields | changes))


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_bundle(labels=..., seed=0, **spec_fields)`` writes a tiny bundle and returns its folder."""
    pytest.importorskip("onnx")

    def make(labels: Sequence[str] = LABELS, *, seed: int = 0, **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp("bundle") / "tiny"
        write_bundle(folder, tiny_onnx(len(labels), seed=seed), tiny_spec(labels, **changes))
        return folder

    return make


TARGETS = (Target(name="arousal", low=0.0, high=1.0), Target(name="age", low=18.0, high=70.0, unit="years"))


@pytest.fixture(scope="session")
def make_value_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_value_bundle(labels=...)`` writes a tiny bundle that gives values of ``TARGETS`` too."""
    pytest.importorskip("onnx")

    def make(labels: Sequence[str] = LABELS, **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp("bundle") / "valued"
        spec = tiny_spec(labels, schema=2, targets=TARGETS, name="valued", **changes)
        write_bundle(folder, tiny_value_onnx(len(labels), len(TARGETS)), spec)
        return folder

    return make


@pytest.fixture(scope="session")
def adaptive_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small bundle that adapts to a source and tells speech from tones; do not change it."""
    pytest.importorskip("onnx")
    rng = np.random.default_rng(9)
    mean = tuple(0.1 * rng.standard_normal(EMBEDDING_SIZE))
    neutral = tuple(0.1 * rng.standard_normal(EMBEDDING_SIZE))
    folder = tmp_path_factory.mktemp("bundle") / "adaptive"
    spec = tiny_spec(
        name="adaptive",
        clip_s=6.0,
        temperature=1.0,
        adaptation=EmbeddingAdaptation(mean=mean, neutral_mean=neutral),
        speech=SpeechOutput(threshold=0.5),
    )
    write_bundle(folder, tiny_adaptive_onnx(), spec)
    return folder


@pytest.fixture(scope="session")
def streaming_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small bundle whose windows share frames: an untrained `StreamingNet`; read it only."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
    from default_cache import export_graph

    net = make_streaming_net()
    graph = export_graph(net, net.net.encoder.config.max_samples, len(net.net.mean), net.n_columns)
    folder = tmp_path_factory.mktemp("bundle") / "streaming"
    spec = tiny_spec(
        name="streaming",
        schema=3,
        clip_s=6.0,
        temperature=1.0,
        speech=SpeechOutput(threshold=0.0),
        adaptation=EmbeddingAdaptation(mean=(0.0,) * len(net.net.mean)),
        stream=StreamMemory(block_s=1.0, memory_s=2.0, frames_per_s=50.0),
    )
    write_bundle(folder, graph, spec)
    return folder


def make_streaming_net() -> Any:
    """A `StreamingNet` of two small layers with random weights, the same every time."""
    import torch

    from emovox.nets.adaptive import AdaptiveConfig, AdaptiveNet
    from emovox.nets.adaptive_stream import StreamingNet
    from emovox.nets.whisper import WhisperConfig, WhisperEncoder

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = WhisperConfig(n_layers=2, size=64, n_mels=8, max_frames=400, level="mel")
        encoder = WhisperEncoder(config)
        encoder.positions.normal_()
        net = AdaptiveNet(encoder, AdaptiveConfig(n_labels=len(LABELS), layers=(1, 2)))
    return StreamingNet(net).eval()


@pytest.fixture(scope="session")
def tiny_bundle(make_bundle: Callable[..., Path]) -> Path:
    """The folder of a small bundle; read it, do not change it."""
    return make_bundle()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For tests of small nets: PyTorch in one thread is quicker there, and adds up in one order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
