"""How a trained net becomes a bundle: one ONNX file, checked against the net before anything is written."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from emovox.errors import BundleError, ConfigError
from emovox.graph import Graph

__all__ = ["TOLERANCE", "check_parity", "to_onnx"]

TOLERANCE = 1e-4


def to_onnx(net: nn.Module, sounds: Sequence[npt.NDArray[np.float32]], *, name: str = "net") -> bytes:
    """Export ``net(waveform (b, n), lengths (b,)) -> (b, n_labels)`` with dynamic batch and length.

    Args:
        sounds: at least two recordings ``(n,)`` of different lengths, 16 kHz; the graph is traced on two and
            must answer on all of them, alone and together, what the net answers.

    Raises:
        ConfigError: fewer than two recordings.
        BundleError: the graph and the net disagree by more than 1e-4.
    """
    if len(sounds) < 2:  # a batch of one would be taken for a constant
        raise ConfigError(f"to_onnx got {len(sounds)} sounds; expected at least two to trace the graph on")
    net = net.eval()
    waveform, lengths = _padded(sounds[:2])
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")  # the exporter's own deprecations; the parity check is what counts
        program = torch.onnx.export(
            net,
            (waveform, lengths),
            dynamo=True,
            dynamic_shapes=({0: batch, 1: samples}, {0: batch}),
            input_names=["waveform", "lengths"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
        assert program is not None
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            program.save(file, external_data=False)
            model = _bare(file.read_bytes())
    check_parity(net, model, sounds, name=name)
    return model


def check_parity(
    net: nn.Module, model: bytes, sounds: Sequence[npt.NDArray[np.float32]], *, name: str = "net"
) -> float:
    """Largest difference between the net's and the graph's logits, over ``sounds`` alone and together.

    Raises:
        BundleError: it is above 1e-4.
    """
    with torch.inference_mode():
        expected = np.concatenate([net(*_padded([sound])).numpy() for sound in sounds])
    graph = Graph(model, name=name, n_labels=expected.shape[1])
    alone = np.concatenate([graph([sound]) for sound in sounds])
    worst = max(float(np.abs(alone - expected).max()), float(np.abs(graph(sounds) - expected).max()))
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{name}: the exported graph differs from the net by {worst:.2g}; expected at most {TOLERANCE:g}"
        )
    return worst


def _bare(model: bytes) -> bytes:
    """The graph without the exporter's notes: a tenth of its size, and they name this machine's files.

    The shapes of inner values stay: without them onnxruntime takes four times as long to open the graph.
    """
    proto = onnx.load_from_string(model)
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
        graphs += [
            attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")
        ]
    return bytes(proto.SerializeToString(deterministic=True))


def _padded(sounds: Sequence[npt.NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = [len(sound) for sound in sounds]
    waveform = np.zeros((len(sounds), max(lengths)), np.float32)
    for row, sound in zip(waveform, sounds, strict=True):
        row[: len(sound)] = sound
    return torch.from_numpy(waveform), torch.tensor(lengths)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
