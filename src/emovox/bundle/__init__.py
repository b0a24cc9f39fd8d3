"""Read, verify and write a model bundle: a folder with ``model.onnx`` and ``spec.json``.

The graph takes ``waveform`` ``(b, n)`` float32 (mono, 16 kHz, zero-padded at the end) and ``lengths``
``(b,)`` int64 (samples), and answers ``logits`` ``(b, n_labels)``, before the temperature. The spec says
everything else: labels in order, windows, temperature, corpora, scores and licences.

A bundle may come from anywhere, so the door is narrow: nothing is unpickled, both files are bounded, the
sha256 of the model is checked on the very bytes that onnxruntime then gets, and a graph that points outside
of its own file is refused.
"""

from __future__ import annotations

from emovox.bundle.folder import (
    MAX_MODEL_BYTES,
    MAX_SPEC_BYTES,
    MODEL_FILE,
    SPEC_FILE,
    Bundle,
    load_bundle,
    read_spec,
    write_bundle,
)
from emovox.bundle.spec import SCHEMA, Abstain, Input, Licence, Score, Spec

__all__ = [
    "MAX_MODEL_BYTES",
    "MAX_SPEC_BYTES",
    "MODEL_FILE",
    "SCHEMA",
    "SPEC_FILE",
    "Abstain",
    "Bundle",
    "Input",
    "Licence",
    "Score",
    "Spec",
    "load_bundle",
    "read_spec",
    "write_bundle",
]
