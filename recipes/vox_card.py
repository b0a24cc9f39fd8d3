"""What the default model's card says beside its headline, measured on the bundles that `vox.py folds` left.

    python recipes/vox_card.py robust --corpora DIR   # noise, telephone, codecs, gain: UAR, answers
    python recipes/vox_card.py groups --corpora DIR   # UAR by sex and by intensity, confusion matrix
    python recipes/vox_card.py probe  --corpora DIR   # how well do the net's insides tell the corpora apart?
    python recipes/vox_card.py paired --against RUNS  # the folds of two systems, clip by clip

All on test actors of the strict folds: every clip is predicted by the bundle that was not trained on its
speaker. One JSON line last.
"""

from __future__ import annotations

import argparse
import csv
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import channel_chain
import numpy as np
import torch

from emovox import audio, load
from emovox.datasets import Manifest, emobox, scan
from emovox.evaluation import metrics
from emovox.labels import EMOTIONS

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _decibels(db: float) -> Change:
    return lambda x, rng: (x * 10 ** (db / 20)).astype(np.float32)


def _noise(db: float) -> Change:
    return partial(channel_chain.add_noise, low_db=db, high_db=db)


CONDITIONS: Mapping[str, Change] = {
    "as it is": lambda x, rng: x,
    "noise, 20 dB": _noise(20.0),
    "noise, 10 dB": _noise(10.0),
    "noise, 0 dB": _noise(0.0),
    "telephone (G.711, 8 kHz)": channel_chain.mu_law,
    "low-rate mp3 or opus": channel_chain.encode_decode,
    "other microphone (+-6 dB)": channel_chain.equalise,
    "room (RT60 up to 0.5 s)": channel_chain.reverberate,
    "clipped": channel_chain.clip_peaks,
    "-12 dB": _decibels(-12.0),
    "-24 dB": _decibels(-24.0),
}


def folds(root: Path, runs: Path) -> Iterator[tuple[Any, Manifest]]:
    """The bundle of each fold and the clips it is tested on."""
    manifest = scan("ravdess", root / "ravdess")[0]
    for number in emobox.emobox_folds("ravdess"):
        split = emobox.emobox_split(manifest, number)
        yield load(runs / f"emobox-ravdess-{number}"), manifest.select(split.test)


def robust(options: argparse.Namespace) -> dict[str, Any]:
    true: list[str] = []
    pred: dict[str, list[str]] = {name: [] for name in CONDITIONS}
    for model, test in folds(options.corpora, options.runs):
        for u in list(test)[:: options.every]:
            x = audio.read(test.file(u))
            true.append(u.emotion)
            for name, change in CONDITIONS.items():
                y = np.clip(change(x, np.random.default_rng(zlib.crc32(u.id.encode()))), -1, 1)
                scores = model.predict(y, sample_rate=audio.SAMPLE_RATE, vad="off").scores
                pred[name].append(max(scores, key=scores.__getitem__) if scores else "(none)")
    plain = pred["as it is"]
    rows = {}
    print(f"{'condition':28} {'UAR':>6} {'changed':>8}   ({len(true)} clips of 24 actors)")
    for name, answers in pred.items():
        changed = np.mean([a != b for a, b in zip(answers, plain, strict=True)])
        rows[name] = {"uar": metrics.uar(true, answers), "changed": float(changed)}
        print(f"{name:28} {rows[name]['uar']:6.1%} {changed:8.1%}")
    return rows


def read_answers(runs: Path) -> dict[str, tuple[str, str, str]]:
    """Clip -> its speaker, label and predicted label, as `vox.py folds` wrote them; all folds."""
    rows = []
    for number in emobox.emobox_folds("ravdess"):
        with (runs / f"emobox-ravdess-{number}.csv").open(encoding="utf-8", newline="") as stream:
            rows += csv.DictReader(stream)
    return {row["id"]: (row["speaker"], row["true"], row["answer"]) for row in rows}


def paired(options: argparse.Namespace) -> dict[str, Any]:
    """Is one system better than another, over the speakers that both were tested on?"""
    one, other = read_answers(options.runs), read_answers(options.against)
    if {key: row[:2] for key, row in one.items()} != {key: row[:2] for key, row in other.items()}:
        raise SystemExit(f"{options.runs} and {options.against} were not tested on the same clips")
    speakers, true, pred = zip(*one.values(), strict=True)
    against = [other[key][2] for key in one]
    found = metrics.paired_difference(true, pred, against, speakers, "uar", n=10_000)
    for runs, answers in ((options.runs, pred), (options.against, against)):
        interval = metrics.speaker_interval(true, answers, speakers, "uar")
        print(f"{runs!s:24} UAR {interval.value:.1%} [{interval.low:.1%}, {interval.high:.1%}]")
    print(
        f"difference {found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}], p {found.p_value:.4f}, "
        f"{found.n_speakers} speakers, {found.n_clips} clips"
    )
    return asdict(found)


def groups(options: argparse.Namespace) -> dict[str, Any]:
    """From the answers that `vox.py folds` saved."""
    manifest = scan("ravdess", options.corpora / "ravdess")[0]
    true, pred, who = [], [], []
    for key, (_, t, p) in read_answers(options.runs).items():
        true.append(t)
        pred.append(p)
        who.append(manifest[key])
    result: dict[str, Any] = {}
    for field in ("sex", "intensity"):
        for value in sorted({str(getattr(u, field)) for u in who}):
            rows = [i for i, u in enumerate(who) if str(getattr(u, field)) == value]
            interval = metrics.speaker_interval(
                [true[i] for i in rows], [pred[i] for i in rows], [who[i].speaker for i in rows], "uar"
            )
            result[f"{field} {value}"] = interval.to_dict() | {"per_speaker": None}
            print(f"{field:10} {value:8} UAR {interval.value:.1%} [{interval.low:.1%}, {interval.high:.1%}]")
    labels = [e for e in EMOTIONS if e in true or e in pred]
    matrix = metrics.confusion_matrix(true, pred, labels=labels)
    print("true \\ answer " + " ".join(f"{e[:8]:>8}" for e in labels))
    for name, row in zip(labels, matrix, strict=True):
        print(f"{name:13} " + " ".join(f"{n:8d}" for n in row))
    return result | {"labels": labels, "confusion": matrix.tolist()}


def probe(options: argparse.Namespace) -> dict[str, Any]:
    """Linear probes for the corpus, on speakers the probe did not see; four emotions, equally many clips."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from vox import SHARES, Pool  # beside this file

    torch.set_num_threads(1)
    pool = Pool.load(options.corpora, options.cache)
    every = list(pool.manifest)
    speakers, emotions = np.array([u.speaker for u in every]), np.array([u.emotion for u in every])
    corpora = np.array([u.corpus for u in every])
    home = np.where(corpora == "ravdess_song", "ravdess", corpora)
    split = emobox.emobox_split(pool.manifest, 1, corpus="ravdess")
    vox, _ = pool.train((*split.train, *split.validation), SHARES)
    four = np.isin(emotions, ("angry", "happy", "neutral", "sad")) & (corpora != "ravdess_song")
    rng = np.random.default_rng(0)
    names = sorted(set(home))
    candidates = [np.flatnonzero(four & (home == name)) for name in names]
    least = min(map(len, candidates))
    rows = np.concatenate([rng.choice(mine, least, replace=False) for mine in candidates])
    odd = np.array([zlib.crc32(s.encode()) % 2 for s in speakers[rows]], bool)
    odd[home[rows] == "tess"] = speakers[rows][home[rows] == "tess"] == "tess-OAF"
    with torch.inference_mode():
        raw = torch.from_numpy(pool.variants[0][rows])
        z = vox.standardize(raw)
        views = {
            "functionals (what goes in)": z.numpy(),
            "hidden layer": torch.cat(
                [head.embed(z[:, : vox.n_member_columns]) for head in vox.heads], 1
            ).numpy(),
            "answers": vox.classify(raw).numpy(),
        }
    result = {}
    print(f"corpus of a clip, balanced accuracy, chance {1 / len(names):.0%}; speakers apart")
    for name, view in views.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, max_iter=500))
        guess = model.fit(view[odd], home[rows][odd]).predict(view[~odd])
        result[name] = metrics.uar(list(home[rows][~odd]), list(guess))
        print(f"{name:28} {result[name]:.1%}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=list(COMMANDS))
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/vox"))
    parser.add_argument("--cache", type=Path, default=Path(".cache/vox"))
    parser.add_argument("--against", type=Path, help="the runs of the other system")
    parser.add_argument("--every", type=int, default=1, help="predict every n-th clip only")
    options = parser.parse_args()
    needed = "against" if options.what == "paired" else "corpora"
    if getattr(options, needed) is None:
        parser.error(f"{options.what} needs --{needed}")
    print(json.dumps(COMMANDS[options.what](options)))


COMMANDS = {"robust": robust, "groups": groups, "probe": probe, "paired": paired}


if __name__ == "__main__":
    main()
