"""The cache of the recipe default.py: pooled hidden states of every clip, in chunks of whole files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import default_sounds as sounds
import numpy as np
import torch
from default_heads import Rows
from default_streams import cache_recordings, list_recordings

from emovox._arrays import Floats
from emovox._telemetry import disable_telemetry
from emovox.audio import SAMPLE_RATE
from emovox.bundles.onnx_session import ALL_FRAMES
from emovox.labels import EMOTIONS
from emovox.nets.adaptive import AdaptiveConfig, AdaptiveNet
from emovox.nets.adaptive_stream import MEMORY, StreamingNet
from emovox.nets.whisper import load_encoder
from emovox.training.quantization import compress_encoder

__all__ = [
    "ADDED",
    "LAYERS",
    "MAX_S",
    "PASSES",
    "TESTED_ONLY",
    "TRAINING",
    "encode_all",
    "export_graph",
    "make_net",
    "read_cache",
    "read_examples",
]

TRAINING = ("ravdess", "emodb", "nemo", "tess", "banglaser")
TESTED_ONLY = ("ased", "emospeech")  # ASED states no licence; emospeech is kept as natural, unseen sound
LAYERS = (1, 2, 3, 4)
MAX_S = 15.0
CHUNK = 50
PASSES: dict[str, dict[str, float]] = {
    "clean": {
        "ravdess": 1,
        "emodb": 1,
        "banglaser": 1,
        "nemo": 0.5,
        "tess": 0.25,
        "ased": 1,
        "emospeech": 0.25,
        "esc10": 1,
    },
    "changed": {"ravdess": 1, "emodb": 1, "banglaser": 1, "nemo": 0.3, "tess": 0.25, "esc10": 1},
    "slow": {"esc10": 1},
    "fast": {"esc10": 1},
    "cut": {
        "ravdess": 1,
        "emodb": 1,
        "banglaser": 1,
        "ased": 1,
        "nemo": 0.5,
        "tess": 0.25,
        "emospeech": 0.25,
    },
    "cut-changed": {"emodb": 1, "ravdess": 1, "banglaser": 1, "nemo": 0.3, "tess": 0.25},
    "around": {"ravdess": 1, "emodb": 1, "banglaser": 1, "nemo": 0.5, "tess": 0.25},
    "mixed": {"ravdess": 0.25, "emodb": 0.5, "banglaser": 0.2, "nemo": 0.06, "tess": 0.1},
    "clipping": {"emodb": 1},
    "telephone": {"emodb": 1},
    "babble": {"emodb": 1},
    "noise": {"emodb": 1},
    "crop": {"ravdess": 0.2, "emodb": 1, "banglaser": 0.2, "nemo": 0.1},
    "crop-none": {"emospeech": 0.6, "esc10": 1},
    "synthetic": {"synthetic": 1},
}
"""Share of the clips of each corpus that a pass encodes: of large corpora a part, evenly over speakers."""
ADDED = {"clean": ("changed",), "cut": ("cut-changed", "around")}
"""Passes over clips whole or cut to their speech, as `predict` does, and those that are added in training."""
UNCUT = {"cut": "clean", "cut-changed": "changed"}
CUT = (*UNCUT, "clipping", "telephone", "babble", "noise")


class Pooler(torch.nn.Module):
    """The net that fills the cache: all layers, so that the choice of layers needs no second pass."""

    def __init__(self, net: AdaptiveNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self.net.pool(waveform, lengths)


class StreamPooler(torch.nn.Module):
    """The same with a memory, for sound that follows earlier sound."""

    def __init__(self, net: StreamingNet) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, waveform: torch.Tensor, lengths: torch.Tensor, memory: torch.Tensor, span: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.net.pool(waveform, lengths, memory, span)


def make_net(checkpoint: Path, layers: Sequence[int], n_labels: int) -> AdaptiveNet:
    """Make the net with untrained heads, its table of positions cut to `MAX_S`."""
    encoder = load_encoder(checkpoint, n_layers=max(layers), level="mel")
    n_frames = int(MAX_S * 50)
    encoder.positions = encoder.positions[:n_frames].clone()
    encoder.config = replace(encoder.config, max_frames=n_frames)
    return AdaptiveNet(encoder, AdaptiveConfig(n_labels, tuple(layers))).eval()


def export_pooler(checkpoint: Path, with_memory: bool) -> bytes:
    """Export the graph that fills the cache, of clips or of recordings."""
    net = make_net(checkpoint, range(5), len(EMOTIONS))
    n = int(MAX_S * SAMPLE_RATE)
    if not with_memory:
        return export_graph(Pooler(net), n)
    stream = StreamingNet(net)
    return export_graph(StreamPooler(stream), n, n_memory=stream.n_columns)


def export_graph(net: torch.nn.Module, max_samples: int, n_offset: int = 0, n_memory: int = 0) -> bytes:
    """Export a net as an ONNX file.

    It takes waveform and lengths, with ``n_offset`` an offset, and with ``n_memory`` a memory and a span.
    """
    batch = torch.export.Dim("batch")
    samples = torch.export.Dim("samples", min=1600, max=max_samples)
    inputs = [torch.randn(2, 32_000) * 0.1, torch.tensor([32_000, 20_000])]
    shapes: list[Any] = [{0: batch, 1: samples}, {0: batch}]
    names, outputs = ["waveform", "lengths"], ["pooled"]
    if n_offset:
        inputs.append(torch.zeros(2, n_offset))
        shapes.append({0: batch})
        names, outputs = [*names, "offset"], ["logits", "embedding", "speech"]
    if n_memory:
        inputs += [torch.rand(2, 50, n_memory), torch.tensor([ALL_FRAMES] * 2)]
        shapes += [{0: batch, 1: torch.export.Dim("past", min=0, max=MEMORY)}, {0: batch}]
        names, outputs = [*names, "memory", "span"], [*outputs, "next_memory"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net,
            tuple(inputs),
            dynamo=True,
            dynamic_shapes=tuple(shapes),
            input_names=names,
            output_names=outputs,
            verbose=False,
        )
    buffer = io.BytesIO()
    program.save(buffer)
    return buffer.getvalue()


def cache_pass(root: Path, cache: Path, name: str, corpus: str, session: Any) -> None:
    """Encode a pass over a corpus in chunks, each written when it is complete."""
    folder = cache / name / corpus
    folder.mkdir(parents=True, exist_ok=True)
    clips = clips_of(root, name, corpus)
    uncut = _read_uncut(cache, name, corpus)
    for start in range(0, len(clips), CHUNK):
        file = folder / f"{start // CHUNK:04d}.npz"
        if file.exists():
            continue
        pooled = []
        for clip in clips[start : start + CHUNK]:
            mixed = name == "mixed"
            x = sounds.mix_sound(root, clip) if mixed else sounds.make_sound(clip, UNCUT.get(name, name))
            if name in CUT:
                whole, x = x, sounds.cut_clip(x)
                if len(x) == len(whole) and clip.id in uncut:
                    pooled.append(uncut[clip.id])
                    continue
            x = x[: 12 * SAMPLE_RATE]
            x = np.pad(x, (0, max(0, 1600 - len(x)))).astype(np.float32)
            pooled.append(session.run(None, {"waveform": x[None], "lengths": np.array([len(x)])})[0][0])
        partial = file.with_suffix(".partial")
        with partial.open("wb") as out:
            np.savez(
                out,
                ids=[clip.id for clip in clips[start : start + CHUNK]],
                pooled=np.array(pooled, np.float32),
            )
        partial.replace(file)
        print(f"{name} {corpus}: {min(start + CHUNK, len(clips))}/{len(clips)}", flush=True)


def _read_uncut(cache: Path, name: str, corpus: str) -> dict[str, Floats]:
    """Read the states of whole clips, for the clips of a cut pass that the cut leaves whole."""
    files = sorted((cache / UNCUT[name] / corpus).glob("*.npz")) if name in UNCUT else []
    parts = [np.load(file) for file in files]
    return {
        clip: row for part in parts for clip, row in zip(part["ids"], part["pooled"][:, :, :2], strict=True)
    }


def clips_of(root: Path, name: str, corpus: str) -> list[sounds.Clip]:
    """List the clips that a pass encodes: whole chunks, so that a larger share extends a smaller one."""
    clips = sounds.list_clips(root, corpus)
    if corpus in ("nemo", "tess", "emospeech"):  # every fourth clip first: all speakers are in any share
        clips = [clip for start in (0, 2, 1, 3) for clip in clips[start::4]]
    if name == "crop-none":
        clips = [clip for clip in clips if clip.emotion == sounds.NOT_SPEECH]
    n_chunks = -(-len(clips) // CHUNK)
    return clips[: max(1, int(n_chunks * PASSES[name][corpus] + 0.5)) * CHUNK]


def read_cache(root: Path, cache: Path, name: str, corpus: str) -> Rows | None:
    """Read a pass over a corpus; None if the pass leaves it out.

    Raises:
        FileNotFoundError: it was not encoded yet: run ``cache`` first.
    """
    if corpus not in PASSES[name]:
        return None
    clips = {clip.id: clip for clip in clips_of(root, name, corpus)}
    names = [f"{i:04d}.npz" for i in range(-(-len(clips) // CHUNK))]
    if name == "around":
        names = [file for files in list_recordings(list(clips.values())).values() for file in files]
    parts = [np.load(cache / name / corpus / file) for file in names]
    ids = np.concatenate([part["ids"] for part in parts])
    pooled = np.concatenate([part["pooled"][:, list(LAYERS), :2] for part in parts])
    own = [clips[i] for i in ids]
    labels = [EMOTIONS.index(clip.emotion) if clip.emotion in EMOTIONS else -1 for clip in own]
    return Rows(
        pooled, ids, np.array(labels), np.array([c.speaker for c in own]), np.array([corpus] * len(ids))
    )


def read_examples(root: Path) -> list[Floats]:
    """Read the clips on which the ranges of activations are measured for the graph in 8 bits."""
    return [sounds.make_sound(clip, "clean") for clip in sounds.list_clips(root, "emodb")[::27]]


def encode_all(root: Path, cache: Path, checkpoint: Path, bits: int, only: str | None = None) -> None:
    """Encode what the cache lacks: every pass, one (``cut``), or one over one corpus (``cut/emodb``)."""
    disable_telemetry()
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    only_pass, _, only_corpus = (only or "").partition("/")
    sessions: dict[bool, Any] = {}
    for name in [only_pass] if only_pass else PASSES:
        if (with_memory := name == "around") not in sessions:
            graph = export_pooler(checkpoint, with_memory)
            if bits == 8:  # the encoder of the bundles
                graph = compress_encoder(graph, read_examples(root))
            sessions[with_memory] = onnxruntime.InferenceSession(
                graph, settings, providers=["CPUExecutionProvider"]
            )
        for corpus in [only_corpus] if only_corpus else PASSES[name]:
            if with_memory:
                folder = cache / name / corpus
                cache_recordings(sessions[True], clips_of(root, name, corpus), folder)
            else:
                cache_pass(root, cache, name, corpus, sessions[False])
