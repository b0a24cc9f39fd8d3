"""The speech output of the models 3: its training sounds and its scores; see default.py."""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from default_cache import TESTED_ONLY, TRAINING, read_cache
from default_heads import Head, Rows, fit_speech, join
from default_measure import States
from default_sounds import choose_noise
from numpy.typing import NDArray

from emovox._arrays import Floats

__all__ = ["read_speech", "report_speech"]

THRESHOLDS = (0.5, 0.73, 0.88)
N_KINDS = 12
"""Kinds of synthetic sounds, which alternate."""


def read_speech(states: States, corpora: Sequence[str]) -> tuple[Rows, Rows]:
    """Read speech of the named corpora, in clips, crops and noise, and all sounds that are not speech."""

    def read(name: str, corpus: str) -> Rows | None:
        return read_cache(states.root, states.cache, name, corpus)

    speech = [states.train[c][states.train[c].labels >= 0] for c in corpora]
    speech += [r for c in corpora for name in ("changed", "crop") if (r := read(name, c)) is not None]
    sources = [(name, "esc10") for name in ("clean", "crop-none", "changed", "slow", "fast")]
    sources += [("synthetic", "synthetic")]
    if "emospeech" in corpora:
        sources += [("clean", "emospeech"), ("crop-none", "emospeech")]
    other = [r[r.labels < 0] for name, c in sources if (r := read(name, c)) is not None]
    for corpus in corpora:
        if (mixed := read("mixed", corpus)) is not None:
            noises = [choose_noise(states.root, clip) for clip in mixed.ids]
            known = np.array([noise.corpus in ("esc10", *corpora) for noise in noises])
            ids = [f"{clip}+{noise.id}" for clip, noise in zip(mixed.ids, noises, strict=True)]
            speech.append(replace(mixed, ids=np.array(ids))[known])
    return join(speech), join(other)


def report_speech(states: States, options: argparse.Namespace) -> dict[str, Any]:
    """Count sounds of unseen kinds that pass as speech, and speech of corpora left out that is lost.

    In each of two halves every second class of ESC-10, kind of synthetic sound and place of emospeech
    trains and the others are tested. Whole clips; probabilities of speech of at least .5, .73 and .88.
    """
    found: dict[str, Any] = {}
    corpora = (*TRAINING, "emospeech")
    speech, other = read_speech(states, corpora)
    halves = split_sounds(speech), split_sounds(other)
    whole = read_cache(states.root, states.test_cache, "clean", "esc10")
    made = read_cache(states.root, states.test_cache, "synthetic", "synthetic")
    assert whole is not None
    assert made is not None
    passed = {"esc10": np.zeros(len(THRESHOLDS)), "synthetic": np.zeros(len(THRESHOLDS))}
    classes: dict[str, int] = {}
    for half in (0, 1):
        score = fit_scorer(speech[halves[0] != half], other[halves[1] != half])
        for name, rows in (("esc10", whole), ("synthetic", made)):
            unseen = rows[split_sounds(rows) == half]
            probability = score(unseen)
            passed[name] += [(probability >= t).sum() for t in THRESHOLDS]
            if name == "esc10":
                kinds, counts = np.unique(unseen.speakers[probability >= THRESHOLDS[0]], return_counts=True)
                classes |= dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    for name, rows in (("esc10", whole), ("synthetic", made)):
        found[name] = {"clips": len(rows.ids), "passed": passed[name].astype(int).tolist()}
    found["esc10"]["rejected"] = round(100 * (1 - float(passed["esc10"][0]) / len(whole.ids)), 1)
    found["esc10"]["classes"] = classes
    print(found, flush=True)
    for corpus in (*TRAINING, *TESTED_ONLY):
        score = fit_scorer(*read_speech(states, [c for c in corpora if c != corpus]))
        probability = score(states.tested(corpus))
        found[corpus] = [round(100 * float((probability < t).mean()), 2) for t in THRESHOLDS]
        print(f"{corpus}: {found[corpus]} % of its speech lost", flush=True)
    return found


def split_sounds(rows: Rows) -> NDArray[np.int64]:
    """Assign sounds to halves 0 and 1 by class, kind or place, and mixed speech by the sound that is mixed
    with it; -1 for speech that is in both."""
    halves = []
    for clip in rows.ids:
        corpus, name = clip.split("+")[-1].split("/")[:2]
        match corpus:
            case "esc10":
                halves.append(int(name) % 2)
            case "synthetic":
                halves.append(int(name) % N_KINDS % 2)
            case "emospeech":
                halves.append(zlib.crc32(name.encode()) % 2)
            case _:
                halves.append(-1)
    return np.array(halves)


def fit_scorer(speech: Rows, other: Rows) -> Any:
    """Fit a speech output; return a function that computes the probabilities of speech of `Rows`."""
    size = speech.x.shape[1]
    plain = Head(np.zeros(size, np.float32), np.ones(size, np.float32), np.empty(0), np.empty(0))
    weight, bias = fit_speech(speech, other, plain)

    def score(rows: Rows) -> Floats:
        return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (rows.x @ weight + bias)))

    return score
