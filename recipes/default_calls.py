"""Long recordings, glued from clips of one speaker: adapting, windows and shared frames; see default.py."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from default_cache import TESTED_ONLY, TRAINING
from default_heads import score_uar
from default_measure import FOUR, HELD_OUT, States, name_labels
from default_sounds import Clip, cut_clip, list_clips
from numpy.typing import NDArray

import emovox
from emovox import Recognizer, audio
from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.audio.vad import SpeechDetector
from emovox.bundles import MODEL_FILE, EmbeddingAdaptation, load_bundle, registry, write_bundle
from emovox.inference.scorer import Scorer
from emovox.labels import EMOTIONS
from emovox.training.onnx_head import replace_head

PAUSE_S = 0.6
N_CLIPS = 24
"""Of a call: a minute or two."""
SPEAKERS = 10
"""At most, of a corpus."""
LONG_S = (4, 6, 8, 10, 12)


def report_calls(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Score timelines of calls, raw and adapting, with a head that was not trained on their corpus.

    The UAR is over seconds: of each label's speech, the share with that label in the timeline, among four.
    """
    found: dict[str, Any] = {}
    for corpus in [options.which] if options.which else (*TRAINING, *TESTED_ONLY):
        with tempfile.TemporaryDirectory() as folder:
            model = write_left_out(states, corpus, Path(folder) / "bundle")
            calls = make_calls(states.root, corpus)
            scores = {adapt: [score_call(model, x, truth, adapt) for x, truth in calls] for adapt in (0, 1)}
        raw, adapted = (np.sum([right for right, _ in scores[adapt]], 0) for adapt in (0, 1))
        total = np.sum([seconds for _, seconds in scores[0]], 0)
        known = total > 0
        better = [
            float(np.mean(b[0][b[1] > 0] / b[1][b[1] > 0]) - np.mean(a[0][a[1] > 0] / a[1][a[1] > 0]))
            for a, b in zip(scores[0], scores[1], strict=True)
        ]
        found[corpus] = {
            "calls": len(calls),
            "minutes": round(float(sum(len(x) for x, _ in calls)) / SAMPLE_RATE / 60, 1),
            "raw": round(100 * float((raw / total)[known].mean()), 1),
            "adapting": round(100 * float((adapted / total)[known].mean()), 1),
            "calls better, worse": [sum(b > 0 for b in better), sum(b < 0 for b in better)],
        }
        print(corpus, found[corpus], flush=True)
    return found


def report_long(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Score sounds of 4 to 12 s of one speaker and label, in one run and in windows, among four labels.

    The head was not trained on their corpus. UAR in per cent of one run and of windows, by seconds.
    """
    names = name_labels(np.array(FOUR))
    found: dict[str, Any] = {}
    for corpus in [options.which] if options.which else ("ravdess", "banglaser", "nemo", "emodb"):
        sounds, labels = make_long(states.root, corpus)
        found[corpus] = {seconds: [] for seconds in LONG_S}
        with tempfile.TemporaryDirectory() as folder:
            for clip_s in (max(LONG_S), emovox.load("default").spec.window_s):
                model = write_left_out(states, corpus, Path(folder) / f"{clip_s}", clip_s=clip_s)
                for seconds, scores in found[corpus].items():
                    parts = [x[: seconds * SAMPLE_RATE] for x in sounds]
                    answers = [
                        model.predict(x, sample_rate=SAMPLE_RATE, vad="off", labels=names).scores
                        for x in parts
                    ]
                    predicted = [EMOTIONS.index(max(each, key=each.__getitem__)) for each in answers]
                    scores.append(round(score_uar(labels, np.array(predicted)), 1))
        print(corpus, found[corpus], flush=True)
    means = {s: np.mean([one[s] for one in found.values()], 0).round(1).tolist() for s in LONG_S}
    return {**found, "mean": means}


def report_windows(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Score windows of the sounds of `make_long`, each whole, and over the frames that they share.

    The head was not trained on their corpus. UAR in per cent among four labels.
    """
    names = name_labels(np.array(FOUR))
    found: dict[str, Any] = {}
    for corpus in [options.which] if options.which else ("ravdess", "banglaser", "nemo", "emodb"):
        with tempfile.TemporaryDirectory() as folder:
            write_left_out(states, corpus, Path(folder) / "bundle")
            scorer = Scorer(load_bundle(Path(folder) / "bundle"), names, detect_speech=False)
        truth, predicted = [], []
        for x, label in zip(*make_long(states.root, corpus), strict=True):
            scores = np.array(list(score_windows(scorer, x)))
            truth += [label] * len(scores)
            predicted.append(np.array(FOUR)[scores.argmax(2)])
        whole, shared = np.concatenate(predicted).T
        found[corpus] = {
            "windows": len(truth),
            "whole": round(score_uar(np.array(truth), whole), 1),
            "shared": round(score_uar(np.array(truth), shared), 1),
            "other answers": round(100 * float((whole != shared).mean()), 1),
        }
        print(corpus, found[corpus], flush=True)
    return found


def score_windows(scorer: Scorer, x: Floats) -> Iterator[tuple[Doubles, Doubles]]:
    """Yield the scores of each window of a sound that is scored, whole and over shared frames."""
    windower, detector, memory = scorer.make_windower(), SpeechDetector(), None
    for window in [*windower.push(x, detector.push(x)), *windower.flush(detector.flush())]:
        whole = scorer.score_window(window)
        shared, memory = scorer.continue_window(window, memory)
        if whole is not None and shared is not None:
            yield whole.scores, shared.scores


def make_long(root: Path, corpus: str, n: int = 12) -> tuple[list[Floats], NDArray[np.int64]]:
    """Glue cut clips of one speaker and label until they last 12 s, ``n`` times for each of four labels."""
    clips, rng = list_clips(root, corpus), np.random.default_rng(0)
    sounds, labels = [], []
    for label, name in zip(FOUR, name_labels(np.array(FOUR)), strict=True):
        speakers = np.unique([clip.speaker for clip in clips if clip.emotion == name])
        for who in np.tile(rng.permutation(speakers), n)[:n]:
            own = [clip for clip in clips if (clip.speaker, clip.emotion) == (who, name)]
            sound = np.zeros(0, np.float32)
            while len(sound) < max(LONG_S) * SAMPLE_RATE:
                sound = np.concatenate([sound, cut_clip(audio.read(own[rng.integers(len(own))].file))])
            sounds.append(sound)
            labels.append(label)
    return sounds, np.array(labels)


def write_left_out(states: States, corpus: str, folder: Path, *, clip_s: float | None = None) -> Recognizer:
    """Write the embedded default with a head that was trained without a corpus.

    Its embedding stays standardised as it is in the bundle; head and mean of the population are moved there.
    """
    source = registry.find("default")
    base = emovox.load("default").spec
    shipped = states.fit(TRAINING, HELD_OUT)  # only its standardisation is used
    head = states.leave_out(corpus)
    weight = (head.weight * head.scale / shipped.scale).T
    bias = head.bias + head.weight @ ((shipped.mean - head.mean) * head.scale)
    weight = np.vstack([weight, np.zeros((len(base.labels), weight.shape[1]))])
    population = (head.mean - shipped.mean) * shipped.scale
    adaptation = EmbeddingAdaptation(shrinkage=5.0, mean=tuple(population.tolist()))
    graph = replace_head(
        (source / MODEL_FILE).read_bytes(), weight.astype(np.float32), bias.astype(np.float32)
    )
    spec = replace(base, adaptation=adaptation, scores=(), sha256="", created="")
    write_bundle(folder, graph, spec if clip_s is None else replace(spec, clip_s=clip_s))
    return emovox.load(folder)


def make_calls(root: Path, corpus: str) -> list[tuple[Floats, NDArray[np.int64]]]:
    """Glue random clips of each speaker; the truth is the label of every 10 ms, -1 for none of the four."""
    of_speaker: dict[str, list[Clip]] = {}
    for clip in list_clips(root, corpus):
        if clip.emotion in name_labels(np.array(FOUR)):
            of_speaker.setdefault(clip.speaker, []).append(clip)
    speakers = sorted(who for who, clips in of_speaker.items() if len(clips) >= N_CLIPS // 2)
    rng = np.random.default_rng(0)
    calls = []
    for who in speakers[:: max(1, len(speakers) // SPEAKERS)][:SPEAKERS]:
        chosen = rng.permutation(len(of_speaker[who]))[:N_CLIPS]
        sounds, truth = [], []
        for clip in (of_speaker[who][i] for i in chosen):
            x = audio.read(clip.file)
            sounds += [x, np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)]
            truth.append(np.full(len(x) // 160, FOUR[name_labels(np.array(FOUR)).index(clip.emotion)]))
            truth.append(np.full((len(x) + len(sounds[-1])) // 160 - len(truth[-1]), -1))
        calls.append((np.concatenate(sounds), np.concatenate(truth)))
    return calls


def score_call(
    model: Recognizer, x: Floats, truth: NDArray[np.int64], adapt: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the frames of each of the four labels in the segments: those with the right label, and all."""
    names = name_labels(np.array(FOUR))
    predicted = np.full(len(truth), -1)
    covered = np.zeros(len(truth), bool)
    for segment in model.timeline(x, sample_rate=SAMPLE_RATE, labels=names, adapt=bool(adapt)):
        where = slice(round(segment.start_s * 100), round(segment.end_s * 100))
        best = max(segment.scores, key=segment.scores.__getitem__)
        predicted[where], covered[where] = FOUR[names.index(best)], True
    counts = [
        ((truth == label) & covered & (predicted == label), (truth == label) & covered) for label in FOUR
    ]
    right, every = (np.array([int(part[i].sum()) for part in counts]) for i in (0, 1))
    return right, every
