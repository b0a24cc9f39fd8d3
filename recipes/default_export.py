"""Train and export the bundles 3.2 of the wheel: see default.py."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from default_cache import (
    CHANGED,
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
from emovox.bundles.spec import EmbeddingAdaptation, SpeechOutput
from emovox.datasets import Manifest, scan
from emovox.evaluation.leakage import pack_hashes
from emovox.labels import EMOTIONS
from emovox.nets.adaptive import AdaptiveNet
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
    plain = export_graph(net, net.encoder.config.max_samples, len(head.mean))
    examples = read_examples(options.corpora)
    differences = compare_graph(net, plain, examples)
    neutral = np.mean([head.embed(part[part.labels == 0]).mean(0) for part in kept.values()], 0)
    temperature, threshold = fit_calibration(states, corpora)
    held_out = states.tested("banglaser")
    held_out = held_out[np.isin(held_out.speakers, HELD_OUT)]
    predicted = np.array(names)[head(held_out)[:, names].argmax(1)]
    spec = Spec(
        name=options.which,
        version="3.2",
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
        passes = [name for name in (*CHANGED, *CHANGED.values(), "crop") if corpus in PASSES[name]]
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


def compare_graph(net: AdaptiveNet, graph: bytes, examples: Sequence[Floats]) -> dict[str, dict[str, float]]:
    """Find the largest differences of each output: graph and net, a clip alone and in a padded batch.

    Columns of the embedding that hardly vary between clips magnify the rounding of float32, so only logits
    are held to a tolerance.

    Raises:
        ValueError: logits differ by more than 1e-4.
    """
    disable_telemetry()
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    lengths = np.array([len(x) for x in examples])
    batch = np.zeros((len(examples), max(lengths)), np.float32)
    for row, x in zip(batch, examples, strict=True):
        row[: len(x)] = x
    offset = np.zeros((len(examples), net.mean.shape[0]), np.float32)
    inputs = (batch, lengths, offset)

    def run(*values: NDArray[Any]) -> list[Floats]:
        return session.run(None, dict(zip(("waveform", "lengths", "offset"), values, strict=True)))

    together = run(*inputs)
    singles = [run(x[None], lengths[i : i + 1], offset[:1]) for i, x in enumerate(examples)]
    alone = [np.concatenate(values) for values in zip(*singles, strict=True)]
    with torch.inference_mode():
        expected = [value.numpy() for value in net(*(torch.from_numpy(value) for value in inputs))]
    found = {}
    for name, other in (("net and graph", expected), ("alone and in a batch", alone)):
        worst = (float(np.abs(a - b).max()) for a, b in zip(other, together, strict=True))
        found[name] = dict(zip(("logits", "embedding", "speech"), worst, strict=True))
    if not max(part["logits"] for part in found.values()) <= 1e-4:
        raise ValueError(f"the exported graph differs: {found}; expected logits within 1e-4")
    return found
