"""What does it help to know the voice? A model that takes a profile, and its curve over seconds of enrolment.

    python recipes/enrolment.py choose --corpora DIR        # shrinkage, sizes, C: on training actors alone
    python recipes/enrolment.py curve  --corpora DIR        # RAVDESS, EmoBox's six strict folds
    python recipes/enrolment.py ship --out DIR --corpora DIR   # a bundle trained on all actors

DIR holds the folder ravdess. Needs the extras opensmile and classical. Each command prints a table for people
and one JSON line last. On two cores: the features 2 minutes once, `choose` about 10, `curve` about 8.

The model: ComParE_2016, normalised for the speaker by statistics that are drawn to the population's (weight
n / (n + k) with n clips), clipped at 8 deviations, L2 logistic regression. It is trained on six copies of
each clip, normalised as if 0, 3, 10 and 60 clips of the speaker were known, and 3 and 12 neutral or calm
ones: so it works without enrolment, with a little, and when the speaker was calm while enrolling.

Enrolment is unlabelled. For every clip that is judged, the clips that enroll its speaker are drawn from the
speaker's others, never the clip itself, as many whole ones as fit into the seconds (one at least): of any
emotion, or neutral and calm alone, as a user would record. The clips that are judged are the same at every
point.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from emovox import audio
from emovox.bundles import (
    Abstain,
    Features,
    Input,
    Licence,
    Population,
    SpeakerNormalization,
    Spec,
    load_bundle,
    write_bundle,
)
from emovox.datasets import Manifest, emobox, scan, splits
from emovox.evaluation import metrics
from emovox.features import find_feature_set
from emovox.features.cache import FeatureCache
from emovox.features.extraction import extract
from emovox.features.normalization import SpeakerNormaliser, StandardNormaliser
from emovox.inference.recognizer import Recognizer
from emovox.training.calibration import fit_temperature

SET = "ComParE_2016"
POINTS_S = (5, 15, 30, 60, 120)
REGIMES: dict[str, tuple[str, ...] | None] = {"any emotion": None, "neutral and calm": ("neutral", "calm")}
NONE = "no enrolment"
N_DRAWS = 20
PARITY = 1e-4
CACHE = Path(".cache/features")


@dataclass(frozen=True)
class Config:
    """What `choose` decided, on training actors."""

    c: float = 1e-3
    clip: float = 8.0
    shrink: float = 5.0
    sizes: tuple[int, ...] = (0, 3, 10, 60)
    """Clips of a speaker that are known, one copy of the training clips each."""
    neutral: tuple[int, ...] = (3, 12)
    """The same, when only neutral and calm clips of the speaker are known."""


CONFIG = Config()
PLAIN = Config(sizes=(0,), neutral=())
"""The same model, trained for nobody in particular: what a profile must be worth having against."""


# ---------------------------------------------------------------------------------------------- clips


@dataclass(frozen=True, eq=False)
class Clips:
    """Features of clips, and whose they are."""

    manifest: Manifest
    rows: np.ndarray
    """``(n, 6373)`` float32."""
    emotions: np.ndarray
    speakers: np.ndarray
    seconds: np.ndarray

    def where(self, chosen: np.ndarray) -> Clips:
        """Those where ``chosen`` ``(n,)`` is true."""
        kept = self.manifest.select([u.id for u, c in zip(self.manifest, chosen, strict=True) if c])
        return Clips(
            kept, self.rows[chosen], self.emotions[chosen], self.speakers[chosen], self.seconds[chosen]
        )

    def among(self, ids: Sequence[str]) -> Clips:
        """Those of these ids."""
        return self.where(np.isin(self.manifest.ids, list(ids)))


def list_clips(root: Path) -> Clips:
    """RAVDESS's speech."""
    manifest, _ = scan("ravdess", root / "ravdess")
    found = extract(manifest, SET, workers=2, cache=FeatureCache(CACHE), progress=_progress)
    if found.errors:
        raise SystemExit(f"features failed: {dict(found.errors)}")
    return Clips(
        manifest,
        found.values,
        np.array([u.emotion for u in manifest]),
        np.array([u.speaker for u in manifest]),
        np.array([audio.probe(manifest.file(u)).duration_s for u in manifest]),
    )


def _progress(done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        print(f"\rfeatures: {done}/{total} ", end="\n" if done == total else "", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------- the model


@dataclass(frozen=True, eq=False)
class Model:
    """A linear model on rows normalised for the speaker."""

    config: Config
    normaliser: SpeakerNormaliser
    labels: tuple[str, ...]
    weights: np.ndarray
    """``(6373, n_labels)`` float32."""
    bias: np.ndarray

    def logits(self, rows: np.ndarray, voice: StandardNormaliser) -> np.ndarray:
        """``(n, 6373)`` of one speaker -> ``(n, n_labels)``."""
        clipped = np.clip(voice.transform(rows), -self.config.clip, self.config.clip)
        return np.asarray(clipped @ self.weights + self.bias)

    def answers(self, rows: np.ndarray, voice: StandardNormaliser) -> np.ndarray:
        """The likeliest label of each row."""
        return np.array(self.labels)[self.logits(rows, voice).argmax(1)]


def trained(clips: Clips, config: Config = CONFIG, *, seed: int = 0) -> Model:
    """Fit on all of ``clips``; each clip counts once, however many copies of it there are."""
    normaliser = SpeakerNormaliser.fit(clips.rows, shrinkage=config.shrink)
    copies = [
        _copy(normaliser, clips, regime, n, np.random.default_rng([seed, place]))
        for place, (regime, n) in enumerate(
            [*(("any emotion", n) for n in config.sizes), *(("neutral and calm", n) for n in config.neutral)]
        )
    ]
    rows = np.clip(np.concatenate(copies), -config.clip, config.clip)
    emotions = np.tile(clips.emotions, len(copies))
    regression = LogisticRegression(C=config.c / len(copies), max_iter=1000, class_weight="balanced")
    regression.fit(rows, emotions)
    return Model(
        config,
        normaliser,
        tuple(map(str, regression.classes_)),
        np.ascontiguousarray(regression.coef_.T, np.float32),
        regression.intercept_.astype(np.float32),
    )


def _copy(
    normaliser: SpeakerNormaliser, clips: Clips, regime: str, n: int, draw: np.random.Generator
) -> np.ndarray:
    """All rows, each speaker's normalised by ``n`` clips of that speaker, or all there are in the regime."""
    rows = np.empty_like(clips.rows)
    usable = in_regime(clips, regime)
    for speaker in sorted(set(clips.speakers)):
        own = clips.speakers == speaker
        known = draw.permutation(np.flatnonzero(own & usable))[:n]
        rows[own] = normaliser.enroll(clips.rows[known]).transform(clips.rows[own])
    return rows


def in_regime(clips: Clips, regime: str) -> np.ndarray:
    """Which clips may enroll, ``(n,)``."""
    emotions = REGIMES[regime]
    return np.ones(len(clips.rows), bool) if emotions is None else np.isin(clips.emotions, emotions)


# ---------------------------------------------------------------------------------------------- the curve


def known_clips(order: np.ndarray, seconds: np.ndarray, judged: int, limit_s: float) -> tuple[int, ...]:
    """The first clips of ``order`` without the one judged that fit into ``limit_s``; one at least."""
    others = order[order != judged]
    n = int(np.searchsorted(np.cumsum(seconds[others]), limit_s, side="right"))
    return tuple(others[: max(1, n)].tolist())


def enrolled_answers(
    model: Model, clips: Clips, regime: str, limit_s: float, n_draws: int = N_DRAWS
) -> np.ndarray:
    """Answers ``(n_draws, n)`` to every clip, its speaker known by ``limit_s`` seconds of other clips."""
    answers = np.empty((n_draws, len(clips.rows)), dtype=object)
    for speaker in sorted(set(clips.speakers)):
        own = np.flatnonzero(clips.speakers == speaker)
        usable = own[in_regime(clips, regime)[own]]
        for draw in range(n_draws):
            order = np.random.default_rng([draw, *speaker.encode()]).permutation(usable)
            groups: dict[tuple[int, ...], list[int]] = {}
            for judged in own:
                groups.setdefault(known_clips(order, clips.seconds, judged, limit_s), []).append(judged)
            for known, judged_by_it in groups.items():
                voice = model.normaliser.enroll(clips.rows[list(known)])
                answers[draw, judged_by_it] = model.answers(clips.rows[judged_by_it], voice)
    return answers.astype(str)


def available_s(clips: Clips, regime: str) -> float:
    """Seconds of enrolment that even the scarcest speaker has beside any one clip."""
    usable = in_regime(clips, regime)
    rest = []
    for speaker in set(clips.speakers):
        seconds = clips.seconds[usable & (clips.speakers == speaker)]
        rest.append(float(seconds.sum() - seconds.max()))
    return min(rest)


@dataclass(frozen=True)
class Point:
    """One cell of the table: UAR, its gain over no enrolment, and their 95 % intervals over speakers."""

    regime: str
    seconds: float
    uar: float
    low: float | None
    high: float | None
    gain: float
    gain_low: float | None
    gain_high: float | None


def point(clips: Clips, said: np.ndarray, without: np.ndarray, regime: str, seconds: float) -> Point:
    """Of answers ``(n_draws, n)``, all draws counting the same, against those without enrolment ``(n,)``."""
    n = len(said)
    truth, speakers = list(np.tile(clips.emotions, n)), list(np.tile(clips.speakers, n))
    here = metrics.speaker_interval(truth, list(said.ravel()), speakers, "uar")
    gain = metrics.paired_difference(truth, list(said.ravel()), list(np.tile(without, n)), speakers, "uar")
    return Point(regime, seconds, here.value, here.low, here.high, gain.value, gain.low, gain.high)


def judged(
    model: Model, clips: Clips, n_draws: int
) -> tuple[np.ndarray, dict[tuple[str, float], np.ndarray]]:
    """Answers without enrolment ``(n,)``, and ``(n_draws, n)`` by regime and seconds where sound is there."""
    without = model.answers(clips.rows, model.normaliser.population)
    found = {
        (regime, float(seconds)): enrolled_answers(model, clips, regime, seconds, n_draws)
        for regime in REGIMES
        for seconds in POINTS_S
        if seconds <= available_s(clips, regime)
    }
    return without, found


def pooled(
    parts: Sequence[tuple[Clips, np.ndarray, dict[tuple[str, float], np.ndarray]]],
) -> list[Point]:
    """The points of several folds together, those that every fold has; the first is no enrolment."""
    emotions = np.concatenate([clips.emotions for clips, _, _ in parts])
    speakers = np.concatenate([clips.speakers for clips, _, _ in parts])
    manifest = Manifest.merged([clips.manifest for clips, _, _ in parts])
    clips = Clips(manifest, np.zeros((len(emotions), 0)), emotions, speakers, np.zeros(len(emotions)))
    without = np.concatenate([answers for _, answers, _ in parts])
    points = [point(clips, without[None], without, NONE, 0.0)]
    for key in parts[0][2]:
        if all(key in found for _, _, found in parts):
            said = np.concatenate([found[key] for _, _, found in parts], axis=1)
            points.append(point(clips, said, without, *key))
    return points


def show(points: Sequence[Point]) -> None:
    """A row a point."""
    for p in points:
        cells = [f"{p.regime:18} {p.seconds:4.0f} s  UAR {p.uar:.1%}"]
        if p.low is not None and p.high is not None:
            cells.append(f"[{p.low:.1%}, {p.high:.1%}]")
        if p.regime != NONE and p.gain_low is not None and p.gain_high is not None:
            cells.append(f" gain {100 * p.gain:+.1f} [{100 * p.gain_low:+.1f}, {100 * p.gain_high:+.1f}]")
        print(*cells)


# ---------------------------------------------------------------------------------------------- the bundle


def to_onnx(model: Model) -> bytes:
    """``features (b, 6373)``, normalised, nan where missing -> ``logits (b, n_labels)``."""
    from onnx import TensorProto, checker, helper, numpy_helper

    numbers = {
        "zero": np.float32(0),
        "least": np.float32(-model.config.clip),
        "most": np.float32(model.config.clip),
        "weights": model.weights,
        "bias": model.bias,
    }
    node, info = helper.make_node, helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            node("IsNaN", ["features"], ["missing"]),
            node("Where", ["missing", "zero", "features"], ["known"]),
            node("Clip", ["known", "least", "most"], ["clipped"]),
            node("Gemm", ["clipped", "weights", "bias"], ["logits"]),
        ],
        "enrolment",
        [info("features", TensorProto.FLOAT, ["b", len(model.weights)])],
        [info("logits", TensorProto.FLOAT, ["b", len(model.labels)])],
        [numpy_helper.from_array(np.asarray(x), name) for name, x in numbers.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(made)
    return bytes(made.SerializeToString())


def bundled(model: Model, folder: Path, *, protocol: str, temperature: float = 1.0) -> Recognizer:
    """Write the bundle, and open it as a user would."""
    population = model.normaliser.population
    spec = Spec(
        name="compare-enrolment",
        version="1",
        description="ComParE_2016 and logistic regression; can be told whose voice it hears",
        labels=model.labels,
        input=Input(kind="vector", features=Features(**find_feature_set(SET).reference())),
        window_s=3.0,
        hop_s=1.0,
        min_s=0.5,
        clip_s=12.0,
        normaliser=SpeakerNormalization(
            kind="speaker",
            shrink=model.config.shrink,
            population=Population(mean=tuple(population.mean.tolist()), std=tuple(population.std.tolist())),
        ),
        temperature=temperature,
        abstain=Abstain(confidence=0.0),
        corpora=("ravdess",),
        protocol=protocol,
        licence=Licence(code="Apache-2.0", weights="CC-BY-NC-SA-4.0", commercial=False),
    )
    write_bundle(folder, to_onnx(model), spec, replace=True)
    return Recognizer(load_bundle(folder), vad="off")


def check(recognizer: Recognizer, model: Model, clips: Clips) -> float:
    """The largest difference of a probability between the user's way, from files, and the arrays here."""
    largest = 0.0
    files = [clips.manifest.file(u) for u in clips.manifest]
    for judged_clip in (0, len(files) // 2):
        own = np.flatnonzero(clips.speakers == clips.speakers[judged_clip])
        known = own[own != judged_clip][:4]
        profile = recognizer.enroll([files[i] for i in known])
        told = recognizer.predict(files[judged_clip], profile=profile)
        voice = model.normaliser.enroll(clips.rows[known])
        expected = recognizer.probabilities(model.logits(clips.rows[judged_clip : judged_clip + 1], voice)[0])
        largest = max(largest, float(np.abs(np.array(list(told.scores.values())) - expected).max()))
    return largest


# ---------------------------------------------------------------------------------------------- commands


def inner_folds(clips: Clips, k: int = 5) -> Iterator[tuple[Clips, Clips]]:
    """(training, validation) among the training actors of EmoBox's first fold."""
    split = emobox.emobox_split(clips.manifest, 1, corpus="ravdess")
    inside = clips.among((*split.train, *split.validation))
    for part in splits.speaker_kfold(inside.manifest, k):
        test = inside.among(part.test)
        yield inside.where(~np.isin(inside.speakers, test.speakers)), test


GRID = (
    PLAIN,
    Config(sizes=(60,), neutral=()),
    Config(neutral=()),
    Config(neutral=(), shrink=2.0),
    Config(neutral=(), shrink=10.0),
    Config(),
    Config(neutral=(1, 3, 6, 12)),
    Config(shrink=3.0),
    Config(shrink=10.0),
    Config(c=3e-4),
    Config(c=3e-3),
)


def choose(clips: Clips) -> list[dict[str, Any]]:
    """Every configuration on validation actors."""
    rows = []
    folds = list(inner_folds(clips))
    for config in GRID:
        parts = [(test, *judged(trained(training, config), test, 4)) for training, test in folds]
        points = pooled(parts)
        cells = " ".join(f"{p.regime[0]}{p.seconds:.0f}:{100 * p.uar:.1f}" for p in points)
        print(
            f"C {config.c:g} k {config.shrink:g} sizes {config.sizes} neutral {config.neutral}: {cells}",
            flush=True,
        )
        rows.append({"config": asdict(config), "uar": {f"{p.regime} {p.seconds:g}": p.uar for p in points}})
    return rows


def curve(clips: Clips, out: Path, n_draws: int) -> dict[str, Any]:
    """The six test folds, and the parity of every fold's bundle."""
    parts, off = [], 0.0
    for number in emobox.emobox_folds("ravdess"):
        split = emobox.emobox_split(clips.manifest, number, corpus="ravdess")
        training = clips.among((*split.train, *split.validation))  # nothing is chosen any more
        model, test = trained(training), clips.among(split.test)
        stranger = trained(training, PLAIN)
        plain = stranger.answers(test.rows, stranger.normaliser.population)
        off = max(off, check(bundled(model, out / f"fold{number}", protocol=split.name), model, test))
        without, found = judged(model, test, n_draws)
        parts.append((test, without, found | {("trained for nobody", 0.0): plain[None]}))
        print(
            f"fold {number}: {metrics.uar(list(test.emotions), list(without)):.1%} without",
            file=sys.stderr,
        )
    if off > PARITY:
        raise SystemExit(f"the bundle and the arrays differ by {off:.1e} in a probability, at most {PARITY}")
    points = pooled(parts)
    show(points)
    least = min(available_s(test, "neutral and calm") for test, _, _ in parts)
    print(f"neutral and calm: every actor has {least:.0f} s of it beside any one clip, no more")
    print(f"from files through the Recognizer: the same to {off:.0e} in a probability")
    return {"points": [asdict(p) for p in points], "parity": off, "config": asdict(CONFIG), "draws": n_draws}


def ship(clips: Clips, out: Path) -> dict[str, Any]:
    """Trained on all actors; the temperature is from actors that the model judged as strangers."""
    logits, truth = [], []
    for part in splits.speaker_kfold(clips.manifest, 4):
        test = clips.among(part.test)
        model = trained(clips.where(~np.isin(clips.speakers, test.speakers)))
        logits.append(model.logits(test.rows, model.normaliser.population))
        truth.append([model.labels.index(emotion) for emotion in test.emotions])
    temperature = fit_temperature(np.concatenate(logits).astype(np.float64), np.concatenate(truth))
    model = trained(clips)
    bundled(model, out, protocol="none: trained on all clips", temperature=temperature)
    print(f"{out}: temperature {temperature:.2f}")
    return {"bundle": str(out), "temperature": temperature}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("command", choices=("choose", "curve", "ship"))
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/enrolment"))
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    options = parser.parse_args()
    clips = list_clips(options.corpora)
    result: Any
    if options.command == "choose":
        result = choose(clips)
    elif options.command == "curve":
        result = curve(clips, options.out, options.draws)
    else:
        result = ship(clips, options.out)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
