"""Read, verify and write a model bundle: a folder with ``model.onnx`` and ``spec.json``.

The graph takes what ``spec.input.kind`` says, and returns ``logits`` ``(b, n_labels)`` float32, before the
temperature, or ``values`` ``(b, n_targets)`` float32, or both:

- ``waveform``: ``waveform`` ``(b, n)`` float32 (mono, 16 kHz, zero-padded at the end) and ``lengths``
  ``(b,)`` int64 (samples);
- ``vector``: ``features`` ``(b, d)`` float32, one row per sound, nan where a value is missing;
- ``frames``: ``features`` ``(b, t, d)`` float32 (zero-padded at the end) and ``lengths`` ``(b,)`` int64.

A waveform graph may also take ``offset`` ``(b, d)``, ``memory`` ``(b, p, m)`` and ``span`` ``(b, 2)``, and
return ``embedding`` ``(b, d)``, ``speech`` ``(b,)`` and ``next_memory``: see `emovox.bundles.onnx_session`.

Features are those that ``spec.input.features`` names, ``{set, overrides, digest, columns}``, computed by
`emovox.features`, whose digest must be the one of the training. The spec says everything else: labels in
order, windows, temperature, corpora, scores and licences.

A bundle may come from anywhere, so it is read strictly: nothing is unpickled, both files are bounded, the
sha256 of the model is checked on the very bytes that onnxruntime then gets, and a graph that refers to other
files is refused.
"""

from __future__ import annotations

from emovox.bundles.bundle import (
    MAX_MODEL_BYTES,
    MAX_SPEC_BYTES,
    MODEL_FILE,
    SPEC_FILE,
    Bundle,
    GraphAdaptation,
    load_bundle,
    read_spec,
    write_bundle,
)
from emovox.bundles.onnx_session import ModelOutput
from emovox.bundles.spec import (
    SCHEMA,
    Abstain,
    EmbeddingAdaptation,
    Features,
    Input,
    Licence,
    Population,
    Score,
    SpeakerNormalization,
    Spec,
    SpeechOutput,
    StreamMemory,
    Target,
)
from emovox.bundles.standalone import write_standalone

__all__ = [
    "MAX_MODEL_BYTES",
    "MAX_SPEC_BYTES",
    "MODEL_FILE",
    "SCHEMA",
    "SPEC_FILE",
    "Abstain",
    "Bundle",
    "EmbeddingAdaptation",
    "Features",
    "GraphAdaptation",
    "Input",
    "Licence",
    "ModelOutput",
    "Population",
    "Score",
    "SpeakerNormalization",
    "Spec",
    "SpeechOutput",
    "StreamMemory",
    "Target",
    "load_bundle",
    "read_spec",
    "write_bundle",
    "write_standalone",
]
