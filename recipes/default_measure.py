"""The figures that README and card print, from cached states: see default.py."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from default_cache import ADDED, TESTED_ONLY, TRAINING, read_cache
from default_heads import FEW_PENALTY, PENALTY, Head, Rows, fit_labels, join, score_uar
from numpy.typing import NDArray

import emovox
from emovox import audio
from emovox._arrays import Doubles, Floats
from emovox.bundles.registry import DEFAULT
from emovox.evaluation import metrics
from emovox.labels import EMOTIONS
from emovox.training.calibration import fit_temperature, log_softmax
from emovox.training.finetune import fit_head

FOUR = tuple(EMOTIONS.index(e) for e in ("neutral", "happy", "sad", "angry"))
N_SOURCE = (3, 5, 10, 20, 50)
HELD_OUT = tuple(f"banglaser-{n}" for n in range(27, 35))
"""Speakers that no bundle is trained on: for examples and a score."""
SHRINKAGE = 5.0
SURE = 0.9


@dataclass
class States:
    """Cached states of all corpora: to train on, added in training, and to test on."""

    root: Path
    cache: Path
    test_cache: Path
    train: dict[str, Rows]
    added: dict[str, Rows]
    test: dict[str, Rows]

    @classmethod
    def read(cls, root: Path, cache: Path, test_cache: Path, train: str, test: str) -> States:
        """Read the passes ``clean`` or ``cut``: clips whole, or cut to their speech."""

        def read(folder: Path, names: Sequence[str], corpora: Sequence[str]) -> dict[str, Rows]:
            found = {c: [read_cache(root, folder, name, c) for name in names] for c in corpora}
            parts = {c: [rows for rows in every if rows is not None] for c, every in found.items()}
            return {c: join(rows) for c, rows in parts.items() if rows}

        every = (*TRAINING, *TESTED_ONLY)
        return cls(
            root,
            cache,
            test_cache,
            train=read(cache, [train], every),
            added=read(cache, ADDED[train], TRAINING),
            test=read(test_cache, [test], every),
        )

    def fit(self, corpora: Sequence[str], without: NDArray[np.str_] | Sequence[str] = ()) -> Head:
        """Train a head on the clips of ``corpora`` and those added to them, ``without`` some speakers."""
        parts = [part[c] for part in (self.train, self.added) for c in corpora if c in part]
        rows = join([part[~np.isin(part.speakers, without)] for part in parts])
        return fit_labels(rows, PENALTY if len(corpora) > 2 else FEW_PENALTY)

    def leave_out(self, corpus: str) -> Head:
        """Train a head without a corpus."""
        if corpus not in self._left_out:
            self._left_out[corpus] = self.fit([c for c in TRAINING if c != corpus])
        return self._left_out[corpus]

    @cached_property
    def _left_out(self) -> dict[str, Head]:
        return {}

    def tested(self, corpus: str) -> Rows:
        """Return the speech of a corpus to test on."""
        rows = self.test[corpus]
        return rows[rows.labels >= 0]


def name_labels(indices: NDArray[np.int64]) -> list[str]:
    return [EMOTIONS[i] for i in indices]


# --- folds ---------------------------------------------------------------------------------------------


def report_paired(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Compare the answers that `folds` left with other answers to the same clips, over speakers.

    The others are a file that `folds` left, or the folder of the folds of recipes/vox.py.
    """

    def read(place: Path) -> dict[str, tuple[str, str]]:
        files = sorted(place.glob("emobox-ravdess-*.csv")) if place.is_dir() else [place]
        rows = [row for file in files for row in csv.DictReader(file.read_text().splitlines())]
        return {row["id"]: (row["true"], row.get("predicted") or row["answer"]) for row in rows}

    own, other = read(options.out / "folds-answers.csv"), read(Path(options.which))
    if own.keys() != other.keys():
        raise SystemExit(f"{options.which} and {options.out}/folds-answers.csv are not of the same clips")
    speaker = dict(zip(states.test["ravdess"].ids, states.test["ravdess"].speakers.tolist(), strict=True))
    true, predicted = zip(*own.values(), strict=True)
    against = [other[clip][1] for clip in own]
    found = metrics.paired_difference(true, predicted, against, [speaker[c] for c in own], "uar", n=10_000)
    changed = np.mean([a != b for a, b in zip(predicted, against, strict=True)])
    return {
        "difference": round(100 * found.value, 2),
        "low": round(100 * found.low, 2),
        "high": round(100 * found.high, 2),
        "p": found.p_value,
        "answers changed": round(100 * float(changed), 1),
    }


# --- corpora left out --------------------------------------------------------------------------------


def weigh_source(n: int, neutral: bool = False) -> float:
    """Return the share of a source's mean that is subtracted with ``n`` of its clips.

    A mean over few clips contains their emotion, so the first of any clips has no weight; neutral clips are
    compared with neutral clips.
    """
    return (n if neutral else n - 1) / (n + SHRINKAGE)


def score_unseen(head: Head, rows: Rows, n: int, rounds: int = 20, neutral: Floats | None = None) -> float:
    """Score four labels after adapting with ``n`` random unlabelled clips of the source: mean UAR of draws.

    Args:
        neutral: the population's mean over neutral clips; only neutral clips are drawn then.
    """
    four = np.isin(rows.labels, FOUR)
    columns = np.array([label for label in FOUR if (rows.labels == label).any()])
    embedded = head.embed(rows)
    plain = embedded @ head.weight.T + head.bias  # undivided: the largest is the same
    rng = np.random.default_rng(0)
    drawn_from = np.flatnonzero(rows.labels == 0) if neutral is not None else np.arange(len(rows.labels))
    scores = []
    for _ in range(rounds if n else 1):
        logits = plain
        if n:
            chosen = rng.choice(drawn_from, min(n, len(drawn_from)), replace=False)
            source = embedded[chosen].mean(0) - (0.0 if neutral is None else neutral)
            logits = plain - weigh_source(n, neutral is not None) * (source @ head.weight.T)
        scores.append(score_uar(rows.labels[four], columns[logits[four][:, columns].argmax(1)]))
    return float(np.mean(scores))


def describe_four(head: Head, rows: Rows) -> dict[str, Any]:
    """Describe the predictions of four labels: interval of the UAR over speakers, recall of each label."""
    four = rows[np.isin(rows.labels, FOUR)]
    columns = np.unique(four.labels)
    predicted = columns[head(four)[:, columns].argmax(1)]
    true, pred = name_labels(four.labels), name_labels(predicted)
    interval = metrics.speaker_interval(true, pred, four.speakers.tolist())
    names = name_labels(columns)
    recalls = 100 * metrics.recalls(true, pred, labels=names)
    return {
        "interval": [interval.low, interval.high],
        "speakers": interval.n_speakers,
        "recalls": dict(zip(names, recalls.round(0).tolist(), strict=True)),
    }


def report_unseen(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Score corpora left out, raw and adapted: by number of clips, any clips and neutral clips alone."""
    found: dict[str, Any] = {}
    for corpus in (*TRAINING, *TESTED_ONLY):
        head = states.leave_out(corpus)
        known = [states.train[c] for c in TRAINING if c != corpus]
        neutral = np.mean([head.embed(part[part.labels == 0]).mean(0) for part in known], 0)
        test = states.tested(corpus)
        if options.what == "choose":  # choices are made on every second speaker, never on the others
            test = test[np.isin(test.speakers, np.unique(test.speakers)[::2])]
        scores = {n: round(score_unseen(head, test, n), 1) for n in (0, *N_SOURCE)}
        alone = {n: round(score_unseen(head, test, n, neutral=neutral), 1) for n in (1, 3, 10, 20)}
        found[corpus] = {"clips": scores, "neutral clips": alone, **describe_four(head, test)}
        print(corpus, found[corpus], flush=True)
    for n in (0, 3, 20):
        print(f"{n} clips: mean {np.mean([one['clips'][n] for one in found.values()]):.1f}", flush=True)
    return found


def report_permissive(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Score the permissive head: the speakers held out, and the corpora that it was never trained on."""
    known = ("emodb", "banglaser")
    head = states.fit(known, HELD_OUT)
    test = states.tested("banglaser")
    test = test[np.isin(test.speakers, HELD_OUT)]
    names = np.unique(np.concatenate([states.train[c].labels for c in known]))
    predicted = names[head(test)[:, names].argmax(1)]
    found: dict[str, Any] = {"held-out speakers": round(score_uar(test.labels, predicted), 1)}
    for corpus in (*TRAINING, *TESTED_ONLY):
        if corpus not in known:
            rows = states.tested(corpus)
            scores = {n: round(score_unseen(head, rows, n), 1) for n in (0, 20)}
            found[corpus] = {"clips": scores, **describe_four(head, rows)}
            print(corpus, found[corpus], flush=True)
    return found


# --- sources over time ---------------------------------------------------------------------------------


def report_sequences(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Score clips of one speaker in a row, each adapted to those before it, as a stream adapts.

    A row has 24 clips of random labels, or three quarters of one label, or that label alone. Four labels;
    accuracy raw and adapted, of corpora left out.
    """
    found: dict[str, Any] = {}
    for corpus in (*TRAINING, *TESTED_ONLY):
        head, rows = states.leave_out(corpus), states.tested(corpus)
        rows = rows[np.isin(rows.labels, FOUR)]
        columns = np.unique(rows.labels)
        found[corpus] = {}
        for share in (None, 0.75, 1.0):
            for label in [None] if share is None else columns:
                rng = np.random.default_rng(0)
                right: dict[bool, list[np.bool_]] = {False: [], True: []}
                for speaker in np.repeat(np.unique(rows.speakers)[:40], 3):
                    chosen = draw_sequence(rows, speaker, label, share, rng)
                    if len(chosen) < 8:
                        continue
                    part = rows[chosen]
                    offset = find_offsets(head.embed(part))
                    for adapted in right:
                        logits = head(part, offset if adapted else 0.0)[:, columns]
                        right[adapted] += list(columns[logits.argmax(1)] == part.labels)
                kind = "any" if label is None else f"{share:.0%} {EMOTIONS[label]}"
                if right[True]:
                    found[corpus][kind] = [
                        round(100 * float(np.mean(values)), 1) for values in right.values()
                    ]
        print(corpus, found[corpus], flush=True)
    return found


def draw_sequence(
    rows: Rows, speaker: str, label: int | None, share: float | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw clips of a speaker, at most 24, in random order; of ``label`` a share of them."""
    own = rng.permutation(np.flatnonzero(rows.speakers == speaker))
    if label is None or share is None:
        return own[:24]
    most, others = own[rows.labels[own] == label][:18], own[rows.labels[own] != label]
    return rng.permutation(np.concatenate([most, others[: round(len(most) * (1 - share) / share)]]))


def find_offsets(embedded: Floats) -> Floats:
    """Compute the offset at each clip of a source: the weighted mean of the clips before it."""
    n = np.arange(len(embedded))
    means = (np.cumsum(embedded, 0) - embedded) / np.maximum(n, 1)[:, None]
    weights = np.array([max(weigh_source(k), 0.0) for k in n])
    return np.asarray(means * weights[:, None], np.float32)


# --- confidence --------------------------------------------------------------------------------------


def report_confidence(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the confidence on corpora left out, the temperature fitted on the other corpora left out."""
    every = (*TRAINING, *TESTED_ONLY)
    logits = {c: draw_logits(states.leave_out(c), states.tested(c)) for c in every}
    labels = {c: states.tested(c).labels for c in every}
    found: dict[str, Any] = {}
    for corpus in every:
        others = [c for c in TRAINING if c != corpus]
        weights = np.concatenate([np.full(len(labels[c]), 1 / len(labels[c])) for c in others])
        raw_logits = np.concatenate([logits[c][0] for c in others])
        temperature = fit_temperature(raw_logits, np.concatenate([labels[c] for c in others]), weights)
        raw, *adapted = (
            describe_confidence(labels[corpus], np.exp(log_softmax(each / temperature)))
            for each in logits[corpus]
        )
        found[corpus] = {
            "temperature": round(temperature, 3),
            **raw,
            "ece with 20 clips": round(float(np.mean([one["ece"] for one in adapted])), 3),
        }
        print(corpus, found[corpus], flush=True)
    n_sure = sum(one["sure"] for one in found.values())
    right = sum(one["sure"] * (one["right when sure"] or 0.0) for one in found.values())
    eces = {
        key: round(float(np.mean([one[key] for one in found.values()])), 3)
        for key in ("ece", "ece with 20 clips")
    }
    found["mean"] = {**eces, "sure": n_sure, "right when sure": round(right / max(n_sure, 1), 3)}
    return found


def draw_logits(head: Head, rows: Rows, n: int = 20, rounds: int = 4) -> list[Doubles]:
    """Compute the logits of a corpus left out: raw, and adapted with ``n`` of its clips in each draw."""
    embedded, rng = head.embed(rows), np.random.default_rng(0)
    offsets = [0.0] + [
        weigh_source(n) * embedded[rng.choice(len(embedded), n, replace=False)].mean(0) for _ in range(rounds)
    ]
    return [head(rows, offset).astype(np.float64) for offset in offsets]


def describe_confidence(labels: NDArray[np.int64], probabilities: Doubles) -> dict[str, Any]:
    """Describe how far the probabilities of the labels can be believed, nine labels active."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    sure = confidence >= SURE
    return {
        "ece": round(metrics.ece(name_labels(labels), probabilities, labels=EMOTIONS), 3),
        "confidence": round(float(confidence.mean()), 3),
        "right": round(float(right.mean()), 3),
        "sure": int(sure.sum()),
        "right when sure": round(float(right[sure].mean()), 3) if sure.any() else None,
    }


# --- changed sound -----------------------------------------------------------------------------------


def report_changes(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Score EMO-DB left out, its sound changed: four labels, all labels of the corpus, answers changed."""
    head, test = states.leave_out("emodb"), states.test["emodb"]
    place = {clip: row for row, clip in enumerate(test.ids)}
    found: dict[str, Any] = {}
    for name in ("clipping", "telephone", "babble", "noise"):
        changed = read_cache(states.root, states.test_cache, name, "emodb")
        assert changed is not None
        plain = test[np.array([place[clip] for clip in changed.ids])]
        four = np.isin(plain.labels, FOUR)
        found[name] = {"clips": len(plain.ids), "of four labels": int(four.sum())}
        for which, rows in (("plain", plain), ("changed", changed)):
            logits = head(rows)
            among_four = np.array(FOUR)[logits[four][:, FOUR].argmax(1)]
            found[name][which] = [
                round(score_uar(plain.labels[four], among_four), 1),
                round(score_uar(plain.labels, logits.argmax(1)), 1),
            ]
        answers_changed = head(plain).argmax(1) != head(changed).argmax(1)
        found[name]["answers changed"] = round(100 * float(answers_changed.mean()), 1)
        print(name, found[name], flush=True)
    return found


def report_gain(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Count the answers of the embedded model that a gain of 12 dB up or down changes, on 60 clips."""
    from default_sounds import list_clips

    model = emovox.load(options.which or DEFAULT)
    found = {"clips": 0, "-12 dB": 0, "+12 dB": 0}
    for corpus in ("emodb", "ravdess", "ased"):
        clips = list_clips(states.root, corpus)
        for clip in clips[:: len(clips) // 20][:20]:
            x = audio.read(clip.file)
            x = 0.2 * x / max(float(np.abs(x).max()), 1e-6)
            found["clips"] += 1
            plain = model.predict(x, sample_rate=audio.SAMPLE_RATE)
            for name, gain_db in (("-12 dB", -12), ("+12 dB", 12)):
                louder = (x * 10 ** (gain_db / 20)).astype(np.float32)
                found[name] += model.predict(louder, sample_rate=audio.SAMPLE_RATE).label != plain.label
    return found


# --- fine-tuning -------------------------------------------------------------------------------------


def report_finetune(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Score `emovox finetune` with 5 and 20 clips a label of a corpus left out, other speakers tested.

    All labels of the corpus. The head is that of `emovox.finetune`, on embedding and logits of the model that
    was trained without the corpus.
    """
    found: dict[str, Any] = {}
    for corpus in [options.which] if options.which else ["ased"]:
        head, rows = states.leave_out(corpus), states.tested(corpus)
        x = np.hstack([head.embed(rows), head(rows)]).astype(np.float64)
        names = np.unique(rows.labels)
        found[corpus] = {"raw": [], **{f"{n}, L2 {l2}": [] for n in (5, 20) for l2 in options.l2}}
        for draw in range(options.draws):
            rng = np.random.default_rng(draw)
            speakers = rng.permutation(np.unique(rows.speakers))
            tested = np.isin(rows.speakers, speakers[: max(1, round(0.4 * len(speakers)))])
            target = np.searchsorted(names, rows.labels)
            raw = names[head(rows[tested])[:, names].argmax(1)]
            found[corpus]["raw"].append(score_uar(rows.labels[tested], raw))
            for n in (5, 20):
                chosen = draw_clips(target, ~tested, n, rng)
                for l2 in options.l2:
                    weight, bias = fit_head(x[chosen], target[chosen], name_labels(names), EMOTIONS, l2)
                    predicted = names[(x[tested] @ weight + bias).argmax(1)]
                    found[corpus][f"{n}, L2 {l2}"].append(score_uar(rows.labels[tested], predicted))
        found[corpus] = summarise_draws(found[corpus])
        print(corpus, found[corpus], flush=True)
    return found


def draw_clips(
    labels: NDArray[np.int64], allowed: NDArray[np.bool_], n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw ``n`` of the allowed clips of each label, or all of them if they are fewer."""
    of_label = [np.flatnonzero(allowed & (labels == label)) for label in np.unique(labels)]
    return np.concatenate([rng.choice(rows, min(n, len(rows)), replace=False) for rows in of_label])


def summarise_draws(scores: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """Mean, lowest and highest of the draws."""
    return {key: [round(float(f(values)), 1) for f in (np.mean, min, max)] for key, values in scores.items()}
