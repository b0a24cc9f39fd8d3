"""Train and export the bundles 3.3 of the wheel: see default.py."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from default_cache import (
    ADDED,
    LAYERS,
    PASSES,
    TRAINING,
    clips_of,
    export_graph,
    make_net,
    read_examples,
)
from default_heads import Head, Rows, fit_speech, score_uar
from default_measure import HELD_OUT, SHRINKAGE, States
from default_speech import read_speech
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox._telemetry import disable_telemetry
from emovox.bundles import Abstain, Input, Licence, Score, Spec, write_bundle
from emovox.bundles.onnx_session import complete_feed
from emovox.bundles.spec import EmbeddingAdaptation, SpeechOutput, StreamMemory
from emovox.datasets import Manifest, scan
from emovox.evaluation.leakage import pack_hashes
from emovox.labels import EMOTIONS
from emovox.nets.adaptive import AdaptiveNet
from emovox.nets.adaptive_stream import BLOCK, FRAME, MEMORY, StreamingNet
from emovox.training.calibration import abstention, fit_temperature, log_softmax
from emovox.training.quantization import compress_encoder

COVERAGE = 0.9  # share of clips of unseen corpora that get a label
ORIGIN = (
    "From the first four layers of Whisper base (Copyright (c) 2022 OpenAI, MIT), heads trained by us, 8 bits"
)
BUNDLES: dict[str, dict[str, Any]] = {
    "default": {
        "corpora": TRAINING,
        "speech_also": ("emospeech",),
        "description": "Nine expressed emotions; acted speech in English, German, Polish and Bengali. "
        + ORIGIN,
        "licence": Licence(code="Apache-2.0", weights="CC-BY-NC-SA-4.0", commercial=False),
    },
    "permissive": {
        "corpora": ("emodb", "banglaser"),
        "speech_also": (),
        "description": "Eight expressed emotions; acted speech in German and Bengali; weights for any use. "
        + ORIGIN,
        "licence": Licence(code="Apache-2.0", weights="CC-BY-4.0", commercial=True),
    },
}


def fit_calibration(states: States, corpora: Sequence[str]) -> tuple[float, float]:
    """Fit temperature and threshold on predictions for corpora left out, nine labels active."""
    logits, labels, weights = [], [], []
    for corpus in corpora:
        test = states.tested(corpus)
        kept = [c for c in corpora if c != corpus]
        head = states.leave_out(corpus) if corpora == TRAINING else states.fit(kept)
        logits.append(head(test).astype(np.float64))
        labels.append(test.labels)
        weights.append(np.full(len(test.labels), 1 / len(test.labels)))
    joined, target, share = np.concatenate(logits), np.concatenate(labels), np.concatenate(weights)
    temperature = fit_temperature(joined, target, share)
    confidence = np.exp(log_softmax(joined / temperature)).max(1)
    return temperature, abstention(confidence, COVERAGE, share)


def export_bundle(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Write the bundle in 8 bits, and ``model-fp32.onnx`` beside it."""
    settings = BUNDLES[options.which]
    corpora = settings["corpora"]
    rows = states.train
    kept = {c: _without_held_out(rows[c]) for c in corpora}
    head = states.fit(corpora, HELD_OUT)
    speech, other = read_speech(states, (*corpora, *settings["speech_also"]))
    names = [i for i in range(len(EMOTIONS)) if any((part.labels == i).any() for part in kept.values())]
    net = make_net(options.checkpoint, LAYERS, len(names))
    fill_heads(net, head, names, *fit_speech(_without_held_out(speech), other, head))
    streaming = StreamingNet(net).eval()
    plain = export_graph(streaming, net.encoder.config.max_samples, len(head.mean), streaming.n_columns)
    examples = read_examples(options.corpora)
    differences = compare_graph(streaming, plain, examples)
    neutral = np.mean([head.embed(part[part.labels == 0]).mean(0) for part in kept.values()], 0)
    temperature, threshold = fit_calibration(states, corpora)
    held_out = states.tested("banglaser")
    held_out = held_out[np.isin(held_out.speakers, HELD_OUT)]
    predicted = np.array(names)[head(held_out)[:, names].argmax(1)]
    spec = Spec(
        schema=3,
        name=options.which,
        version="3.3",
        description=settings["description"],
        labels=tuple(EMOTIONS[i] for i in names),
        input=Input(kind="waveform"),
        window_s=3.0,
        hop_s=1.0,
        min_s=0.3,
        clip_s=5.0,
        adaptation=EmbeddingAdaptation(
            shrinkage=SHRINKAGE,
            mean=(0.0,) * len(head.mean),  # the embedding is standardised
            neutral_mean=tuple(neutral.round(4).tolist()),
        ),
        speech=SpeechOutput(threshold=0.5),
        stream=StreamMemory(block_s=BLOCK / 50, memory_s=MEMORY / 50, frames_per_s=50.0),
        temperature=temperature,
        abstain=Abstain(confidence=threshold),
        corpora=tuple(sorted(corpora)),
        protocol="speakers/" + ",".join(HELD_OUT),
        taught=pack_hashes(list_trained(options.corpora, corpora)),
        scores=(
            *(read_scores(options.out) if options.which == "default" else ()),
            Score(
                corpus="banglaser",
                protocol="eight held-out speakers, all labels active",
                metric="uar",
                value=round(score_uar(held_out.labels, predicted) / 100, 4),
                n_speakers=len(HELD_OUT),
                n_clips=len(held_out.ids),
            ),
        ),
        licence=settings["licence"],
    )
    folder = options.out / f"{options.which}-3"
    write_bundle(folder, compress_encoder(plain, examples), spec, replace=True)
    (folder.parent / f"{folder.name}-fp32.onnx").write_bytes(plain)
    return {
        "bundle": str(folder),
        "clips": {c: len(part.ids) for c, part in kept.items()},
        "hashes": len(spec.taught) // 8,
        "temperature": temperature,
        "abstain": threshold,
        "differences": differences,
        "uar of held-out speakers": spec.scores[-1].value,
    }


def _without_held_out(rows: Rows) -> Rows:
    return rows[~np.isin(rows.speakers, HELD_OUT)]


def fill_heads(
    net: AdaptiveNet, head: Head, names: Sequence[int], speech_weight: Floats, speech_bias: float
) -> None:
    """Put the fitted heads of the labels ``names`` and of speech into the net."""
    with torch.no_grad():
        net.mean.copy_(torch.from_numpy(head.mean))
        net.scale.copy_(torch.from_numpy(head.scale))
        net.labels_head.weight.copy_(torch.from_numpy(head.weight[names]))
        net.labels_head.bias.copy_(torch.from_numpy(head.bias[names]))
        net.speech_head.weight.copy_(torch.from_numpy(speech_weight[None]))
        net.speech_head.bias.fill_(speech_bias)


def list_trained(root: Path, corpora: Sequence[str]) -> Manifest:
    """List the clips whose sound trained a bundle in any form."""
    parts = []
    for corpus in corpora:
        manifest, _ = scan(corpus, root / corpus)
        augmented = [name for names in ADDED.values() for name in names]
        passes = [name for name in (*ADDED, *augmented, "crop", "mixed") if corpus in PASSES[name]]
        used = {clip.id for name in passes for clip in clips_of(root, name, corpus)}
        parts.append(manifest.keep(lambda u, used=used: u.id in used and u.speaker not in HELD_OUT))
    return Manifest.merged(parts)


def read_scores(folder: Path) -> list[Score]:
    """Read the scores of ``folds`` and ``unseen`` where these commands have run before."""
    scores = []
    if (folder / "folds.json").is_file():
        folds = json.loads((folder / "folds.json").read_text())
        values = {"value": folds["mean"] / 100, "low": folds["low"], "high": folds["high"]}
        protocol = "recipe, EmoBox folds, speakers apart, nine labels active"
        scores.append(Score(corpus="ravdess", protocol=protocol, metric="uar", **values))
    if (folder / "unseen.json").is_file():
        protocol = "recipe, corpus left out, four labels"
        for corpus, found in json.loads((folder / "unseen.json").read_text()).items():
            for n, note in (("0", ""), ("20", ", adapted with 20 unlabelled clips")):
                value = round(found["clips"][n] / 100, 4)
                scores.append(Score(corpus=corpus, protocol=protocol + note, metric="uar", value=value))
    return scores


def compare_graph(net: StreamingNet, graph: bytes, examples: Sequence[Floats]) -> dict[str, dict[str, float]]:
    """Find the largest differences of each output: graph and net, a clip alone and in a padded batch, and
    both again for a second of sound that continues another.

    Columns of the embedding that hardly vary between clips magnify the rounding of float32, so only logits
    are held to a tolerance.

    Raises:
        ValueError: logits differ by more than 1e-4.
    """
    disable_telemetry()
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = ("logits", "embedding", "speech", "next_memory")

    def make_inputs(x: Floats, lengths: NDArray[Any], memory: Floats | None) -> dict[str, NDArray[Any]]:
        feed = {"waveform": x, "lengths": lengths} | ({} if memory is None else {"memory": memory})
        return complete_feed(feed, session)

    def run_graph(x: Floats, lengths: NDArray[Any], memory: Floats | None = None) -> list[Any]:
        return session.run(names, make_inputs(x, lengths, memory))

    def run_net(x: Floats, lengths: NDArray[Any], memory: Floats | None = None) -> list[Any]:
        feed = make_inputs(x, lengths, memory)
        inputs = (
            torch.from_numpy(feed[name]) for name in ("waveform", "lengths", "offset", "memory", "span")
        )
        with torch.inference_mode():
            return [value.numpy() for value in net(*inputs)]

    lengths = np.array([len(x) for x in examples])
    batch = np.zeros((len(examples), max(lengths)), np.float32)
    for row, x in zip(batch, examples, strict=True):
        row[: len(x)] = x
    together = run_graph(batch, lengths)
    singles = [run_graph(x[None], lengths[i : i + 1]) for i, x in enumerate(examples)]
    alone = [np.concatenate([one[i] for one in singles]) for i in range(3)]
    pairs = {"net and graph": (run_net(batch, lengths), together), "alone and in a batch": (alone, together)}
    # Two blocks of each clip that is long enough, the second with the memory of the first.
    n = BLOCK * FRAME
    long = np.stack([x[: 2 * n] for x in examples if len(x) >= 2 * n])
    size = np.full(len(long), n)
    memory = run_graph(long[:, :n], size)[3]
    second = run_graph(long[:, n:], size, memory)
    continued = [run_graph(long[i : i + 1, n:], size[:1], memory[i : i + 1]) for i in range(len(long))]
    pairs["net and graph, continued"] = run_net(long[:, n:], size, memory), second
    pairs["alone and in a batch, continued"] = (
        [np.concatenate([one[i] for one in continued]) for i in range(3)],
        second,
    )
    found = {
        what: {
            name: float(np.abs(a - b).max()) for name, a, b in zip(names[:3], one[:3], other[:3], strict=True)
        }
        for what, (one, other) in pairs.items()
    }
    if not max(part["logits"] for part in found.values()) <= 1e-4:
        raise ValueError(f"the exported graph differs: {found}; expected logits within 1e-4")
    return found
