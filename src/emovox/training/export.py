"""Export a trained net as one ONNX file, checked against the net.

By its kind (see `emovox.bundles.onnx_session`) the net takes waveforms, frames with their lengths, or rows
of features.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from emovox._arrays import Doubles, Floats
from emovox.bundles.onnx_session import Kind, OnnxModel
from emovox.errors import BundleError, ConfigError
from emovox.nets.base import ValueNet
from emovox.nets.encoder import EncoderNet
from emovox.training.onnx_metadata import strip_metadata

__all__ = ["TOLERANCE", "ValueScale", "check_parity", "to_onnx"]

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class ValueScale:
    """How the last outputs of a net become values."""

    n_labels: int
    """Outputs before them."""
    mean: Doubles
    """Of the values in the training, ``(n_values,)``."""
    deviation: Doubles

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs of the graph."""
        return ["logits", "values"] if self.n_labels else ["values"]

    def wrap(self, net: nn.Module) -> nn.Module:
        """Return the net with these outputs."""
        return ValueNet(net, self.n_labels, *map(torch.from_numpy, (self.mean, self.deviation))).eval()


def to_onnx(
    net: nn.Module,
    items: Sequence[Floats],
    *,
    name: str = "net",
    kind: Kind = "waveform",
    scale: ValueScale | None = None,
) -> bytes:
    """Export ``net`` with dynamic batch and length.

    Args:
        net: returns logits ``(b, n_labels)``; it takes ``waveform (b, n), lengths (b,)``, or ``features
            (b, t, d), lengths (b,)`` of frames, or ``features (b, d)`` of a vector.
        items: at least two recordings ``(n,)`` at 16 kHz, frames ``(t, d)`` of different lengths, or rows
            ``(d,)``; the graph is traced on two, and on all of them, alone and together, it must return
            what the net returns.
        name: for messages.
        kind: what the net takes.
        scale: of the values that are the last outputs of the net; the graph returns them as ``values``.

    Raises:
        ConfigError: fewer than two items.
        BundleError: the graph and the net disagree by more than 1e-4.
    """
    if len(items) < 2:  # a batch of one would be exported as a constant
        raise ConfigError(f"to_onnx got {len(items)} {_ITEMS[kind]}; expected at least two to trace on")
    net = net.eval()
    plain = net.merge_adapters() if isinstance(net, EncoderNet) else net
    if scale is not None:
        plain = scale.wrap(plain)
    inputs = _pad(items[:2], kind)
    batch = torch.export.Dim("batch")
    # Nets that halve their frames need a minimum length, which the exporter finds: so it is not named.
    length: Any = torch.export.Dim("samples") if kind == "waveform" else torch.export.Dim.DYNAMIC
    shapes = ({0: batch},) if kind == "vector" else ({0: batch, 1: length}, {0: batch})
    names = ["waveform" if kind == "waveform" else "features", "lengths"][: len(inputs)]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")  # the exporter's own deprecations; the parity check is what counts
        program = torch.onnx.export(
            plain,
            inputs,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names,
            output_names=["logits"] if scale is None else scale.outputs,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            program.save(file, external_data=False)
            proto = onnx.load(file)
    strip_metadata(proto)
    model = bytes(proto.SerializeToString(deterministic=True))
    check_parity(net, model, items, name=name, kind=kind, scale=scale)
    return model


_ITEMS: dict[Kind, str] = {"waveform": "sounds", "frames": "clips of frames", "vector": "rows"}


def check_parity(
    net: nn.Module,
    model: bytes,
    items: Sequence[Floats],
    *,
    name: str = "net",
    kind: Kind = "waveform",
    scale: ValueScale | None = None,
) -> float:
    """Largest difference between the net's and the graph's outputs, over ``items`` alone and together.

    Values are compared in standard deviations of their target.

    Raises:
        BundleError: it is above 1e-4.
    """
    with torch.inference_mode():
        expected = np.concatenate([net(*_pad([item], kind)).numpy() for item in items])
    n_columns = None if kind == "waveform" else items[0].shape[-1]
    n_values = 0 if scale is None else len(scale.mean)
    n_labels = expected.shape[1] - n_values
    graph = OnnxModel(model, name=name, n_labels=n_labels, n_values=n_values, kind=kind, n_columns=n_columns)

    def run(batch: Sequence[Floats]) -> Floats:
        output = graph.run(batch)
        if scale is None:
            return output.logits
        values = (output.values - scale.mean) / scale.deviation
        return np.concatenate([output.logits, values.astype(np.float32)], axis=1)

    alone = np.concatenate([run([item]) for item in items])
    worst = max(float(np.abs(alone - expected).max()), float(np.abs(run(items) - expected).max()))
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{name}: the exported graph differs from the net by {worst:.2g}; expected at most {TOLERANCE:g}"
        )
    return worst


def _pad(items: Sequence[Floats], kind: Kind) -> tuple[torch.Tensor, ...]:
    """Pad the items with zeros to one batch; with their lengths, except for rows."""
    if kind == "vector":
        return (torch.from_numpy(np.stack(items)),)
    lengths = [len(item) for item in items]
    batch = np.zeros((len(items), max(lengths), *items[0].shape[1:]), np.float32)
    for row, item in zip(batch, items, strict=True):
        row[: len(item)] = item
    return torch.from_numpy(batch), torch.tensor(lengths)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
