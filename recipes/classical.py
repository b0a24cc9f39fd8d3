"""The best classical system found on RAVDESS: two sets of functionals, one linear discriminant.

    python recipes/classical.py cache  --corpora DIR     # features of all clips and their copies, once
    python recipes/classical.py choose --corpora DIR     # the settings of each fold, on its training actors
    python recipes/classical.py folds  --corpora DIR     # the same, then EmoBox's six test folds, strict

DIR holds the folder ravdess. Needs the extras `classical`, `opensmile` and `train` (the functionals are those
of the default model's front end, `nets/front_end.py`). Each command prints a table for people and one
JSON line last; the answers of `folds` are in `runs/classical/answers.csv`.

The system: ComParE_2016 of the clip without its silent ends (30 dB) beside 1298 functionals; each column
standardised on the training and bounded at 5 deviations, each set weighing half; linear discriminant
analysis with a shrunken covariance (Friedman, 1989), all emotions equally likely. The training hears each
clip thrice: as it is, and played 7 % slower and faster (Ko et al., 2015).

What is chosen for each fold: the shrinkage, and whether copies teach. The five other folds, four actors
each, take turns as validation; the fold's own actors take no part. The rest (the sets, their weights, the
bound) was chosen before by the same validation averaged over all folds: see docs/experiments, 2026-11-21.

On two free cores: the cache about 5 minutes, `choose` and `folds` about 5 each.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from scipy import linalg

from emovox import audio
from emovox._arrays import Bools, Doubles, Floats, Ints
from emovox.datasets import Manifest, emobox, scan
from emovox.evaluation import metrics
from emovox.features import FeatureSet, find_feature_set
from emovox.features.cache import hash_file
from emovox.nets import front_end

SETS = ("ComParE_2016", "functionals")
"""Side by side, with equal weights."""
SPEEDS = (1.0, 0.93, 1.07)
"""The first is the clip as it is, the only one that is ever judged."""
SHRINKAGES = (0.5, 0.7)
BOUND = 5.0
"""Standardised features end here, in deviations."""
TRIM_DB = 30.0
N_PER_WORKER = 40


class Choice(NamedTuple):
    """What is chosen on validation speakers."""

    n_copies: int
    """How many of `SPEEDS` teach."""
    shrinkage: float


CHOICES = tuple(Choice(*each) for each in itertools.product((1, len(SPEEDS)), SHRINKAGES))


# ---------------------------------------------------------------------------------------------- features


def played(x: Floats, speed: float) -> Floats:
    """The sound at another speed: tempo, pitch and formants move together."""
    if speed == 1.0:
        return x
    rate = audio.SAMPLE_RATE
    return np.asarray(soxr.resample(x, rate * speed, rate, quality="MQ"), np.float32)


def _compare() -> FeatureSet:
    return find_feature_set("ComParE_2016", {"trim_db": TRIM_DB})


def _functionals() -> Callable[[Floats], Floats]:
    torch.set_num_threads(1)
    front = front_end.FrontEnd().eval()

    def row(x: Floats) -> Floats:
        with torch.inference_mode():
            vector: Floats = front(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0].numpy()
        return vector

    return row


def _rows(job: tuple[str, float, Sequence[str]]) -> Floats:
    name, speed, files = job
    row = _compare() if name == "ComParE_2016" else _functionals()
    return np.stack([row(played(audio.read(file), speed)) for file in files])


def _key(manifest: Manifest, name: str) -> str:
    """Changes with the clips and with what is computed of them."""
    seen = hashlib.sha256()
    if name == "ComParE_2016":
        seen.update(_compare().digest.encode())
    else:
        seen.update(Path(front_end.__file__ or "").read_bytes())
    for u in manifest:
        seen.update(f"{u.id}:{hash_file(manifest.file(u))}\n".encode())
    return seen.hexdigest()[:16]


def features(manifest: Manifest, name: str, speed: float, cache: Path) -> Floats:
    """One set ``(n, d)`` of all clips at that speed, kept in ``cache``."""
    file = cache / f"{name}-{_key(manifest, name)}-{speed:g}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        files = [str(manifest.file(u)) for u in manifest]
        jobs = [(name, speed, files[i : i + N_PER_WORKER]) for i in range(0, len(files), N_PER_WORKER)]
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            rows = np.concatenate(list(pool.map(_rows, jobs)))
        partial = file.with_suffix(".partial.npy")
        np.save(partial, rows)
        partial.replace(file)
        print(f"{name} at speed {speed:g}: {rows.shape}", file=sys.stderr)
    kept: Floats = np.load(file, allow_pickle=False)
    return kept


@dataclass(frozen=True)
class Pool:
    """RAVDESS as arrays, one row a clip."""

    ids: Sequence[str]
    speakers: NDArray[np.str_]
    emotions: tuple[str, ...]
    y: Ints
    """Index into ``emotions``."""
    fold: Ints
    """The EmoBox fold that tests this clip, from 1."""
    sets: Sequence[Sequence[Floats]]
    """For each of `SETS`, for each of `SPEEDS`: ``(n, d)``."""


def pooled(root: Path, cache: Path) -> Pool:
    """All clips with their folds and features."""
    manifest = scan("ravdess", root / "ravdess")[0]
    ids = np.array(manifest.ids)
    fold = np.zeros(len(ids), np.intp)
    for number in emobox.emobox_folds("ravdess"):
        fold[np.isin(ids, emobox.emobox_split(manifest, number, corpus="ravdess").test)] = number
    emotions = manifest.emotions
    return Pool(
        ids=list(manifest.ids),
        speakers=np.array([u.speaker for u in manifest]),
        emotions=emotions,
        y=np.array([emotions.index(u.emotion) for u in manifest]),
        fold=fold,
        sets=[[features(manifest, name, speed, cache) for speed in SPEEDS] for name in SETS],
    )


# ------------------------------------------------------------------------------------- the discriminant


def standardised(training: Floats, *others: Floats) -> Iterator[Doubles]:
    """All of them by the mean and deviation of the training, bounded; its constant columns left out."""
    mean, deviation = training.mean(0, dtype=np.float64), training.std(0, dtype=np.float64)
    varies = deviation > 1e-7 * (np.abs(mean) + 1e-7)
    for rows in (training, *others):
        z = (rows[:, varies] - mean[varies]) / deviation[varies]
        yield np.clip(z, -BOUND, BOUND)


def products(pool: Pool, training: Bools, judged: Bools, n_copies: int) -> tuple[Doubles, Doubles]:
    """Inner products of training rows with each other ``(m, m)``, and of judged rows with them ``(k, m)``.

    The answers of a linear model in more columns than rows depend on nothing else. A set's products are
    divided by its number of columns, so that sets of any size weigh the same.
    """
    inner, outer = np.zeros(()), np.zeros(())
    for speeds in pool.sets:
        taught = np.concatenate([rows[training] for rows in speeds[:n_copies]])
        z, judges = (rows.astype(np.float32) for rows in standardised(taught, speeds[0][judged]))
        share = 1 / (len(pool.sets) * z.shape[1])
        inner, outer = inner + share * (z @ z.T), outer + share * (judges @ z.T)
    return np.asarray(inner, np.float64), np.asarray(outer, np.float64)


def discriminant(inner: Doubles, y: Ints, shrinkage: float, n_emotions: int) -> tuple[Doubles, Doubles]:
    """Linear discriminant analysis in terms of the training rows: weights ``(m, k)`` and biases ``(k,)``.

    The score of a row is its products with the training rows times the weights, plus the bias. The
    covariance is that within the emotions, of which ``shrinkage`` is replaced by its mean variance in each of
    the at most ``m`` directions in which the training differs; the inverse is taken among rows (Woodbury).
    """
    m = len(y)
    member = np.eye(n_emotions)[y] / np.bincount(y, minlength=n_emotions)
    to_means = inner @ member
    between_means = member.T @ to_means
    residual_to_means = to_means - between_means[y]
    residual = inner - to_means[:, y] - to_means[:, y].T + between_means[np.ix_(y, y)]
    ridge = shrinkage * np.trace(residual) / m**2
    residual.flat[:: m + 1] += ridge / ((1 - shrinkage) / m)
    pull = linalg.solve(residual, residual_to_means, assume_a="pos", overwrite_a=True)
    sums = np.stack([pull[y == k].sum(0) for k in range(n_emotions)])
    weights = (member - pull + member @ sums) / ridge
    return weights, -0.5 * np.einsum("mk,mk->k", to_means, weights)


def scores(
    pool: Pool, training: Bools, judged: Bools, choices: Sequence[Choice] = CHOICES
) -> dict[Choice, Doubles]:
    """Discriminant scores ``(n_judged, n_emotions)`` of the judged clips under each choice."""
    found = {}
    for n_copies in sorted({choice.n_copies for choice in choices}):
        inner, outer = products(pool, training, judged, n_copies)
        y = np.tile(pool.y[training], n_copies)
        for choice in choices:
            if choice.n_copies == n_copies:
                weights, bias = discriminant(inner, y, choice.shrinkage, len(pool.emotions))
                found[choice] = outer @ weights + bias
    return found


# -------------------------------------------------------------------------------------- choice and test


def inner_uars(pool: Pool) -> dict[int, dict[Choice, float]]:
    """For each outer fold, each choice's UAR on the other folds' actors, each judged by a model of the rest.

    A model without the folds a and b tells of b for the outer fold a, and of a for the outer fold b.
    """
    numbers = emobox.emobox_folds("ravdess")
    true: dict[int, list[Ints]] = {number: [] for number in numbers}
    pred: dict[int, dict[Choice, list[Ints]]] = {n: {c: [] for c in CHOICES} for n in numbers}
    for pair in itertools.combinations(numbers, 2):
        training, judged = ~np.isin(pool.fold, pair), np.isin(pool.fold, pair)
        found = scores(pool, training, judged)
        for outer, validation in (pair, pair[::-1]):
            rows = pool.fold[judged] == validation
            true[outer].append(pool.y[judged][rows])
            for choice in CHOICES:
                pred[outer][choice].append(found[choice][rows].argmax(1))
        print(f"\rwithout the folds {pair[0]} and {pair[1]} ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {
        n: {
            c: metrics.uar(np.concatenate(true[n]).tolist(), np.concatenate(pred[n][c]).tolist())
            for c in CHOICES
        }
        for n in numbers
    }


def chosen(uars: dict[int, dict[Choice, float]]) -> dict[int, Choice]:
    """The best choice of each outer fold; of equals the first."""
    return {number: max(CHOICES, key=lambda choice: row[choice]) for number, row in uars.items()}


def tested(pool: Pool, number: int, choice: Choice) -> Ints:
    """The answers of a model of 20 actors on the fold's four, ``(n_test,)``."""
    judged = pool.fold == number
    return scores(pool, ~judged, judged, [choice])[choice].argmax(1)


# ---------------------------------------------------------------------------------------------- commands


def run_cache(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    columns = {name: speeds[0].shape[1] for name, speeds in zip(SETS, pool.sets, strict=True)}
    print(f"{len(pool.ids)} clips, columns: {columns}")
    return {"clips": len(pool.ids), "columns": columns}


def run_choose(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    uars = inner_uars(pool)
    choices = chosen(uars)
    print("RAVDESS, UAR % on validation actors, 16 actors teach, for each EmoBox fold; * = chosen")
    print("fold " + "".join(f"{f'{c.n_copies} copies, {c.shrinkage:g}':>17}" for c in CHOICES))
    for number, row in uars.items():
        cells = (f"{row[c]:.1%}{'*' if c == choices[number] else ' '}" for c in CHOICES)
        print(f"{number:4d} " + "".join(f"{cell:>17}" for cell in cells))
    validation = float(np.mean([uars[n][choices[n]] for n in uars]))
    print(f"mean of the chosen: {validation:.1%}")
    told = {str(n): {**c._asdict(), "uar": uars[n][c]} for n, c in choices.items()}
    result = {"validation": validation, "chosen": told}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "chosen.json").write_text(json.dumps(result) + "\n")
    return result


def run_folds(pool: Pool, options: argparse.Namespace) -> dict[str, Any]:
    kept = run_choose(pool, options)
    choices = {int(n): Choice(c["n_copies"], c["shrinkage"]) for n, c in kept["chosen"].items()}
    pred = np.zeros_like(pool.y)
    print("RAVDESS, EmoBox folds, speakers apart, UAR %")
    folds = []
    for number, choice in choices.items():
        rows = pool.fold == number
        pred[rows] = tested(pool, number, choice)
        folds.append(metrics.uar(pool.y[rows].tolist(), pred[rows].tolist()))
        print(f"{number:4d} {folds[-1]:7.1%}", flush=True)
    rows = pool.fold > 0
    true, answers = ([pool.emotions[k] for k in codes[rows]] for codes in (pool.y, pred))
    interval = metrics.speaker_interval(true, answers, pool.speakers[rows].tolist())
    mean = float(np.mean(folds))
    print(f"mean of folds {mean:.1%}; pooled {interval.value:.1%} [{interval.low:.1%}, {interval.high:.1%}]")
    _save(np.array(pool.ids)[rows].tolist(), true, answers, options.out / "answers.csv")
    pooled_uar = {k: v for k, v in interval.to_dict().items() if k != "per_speaker"}
    return {"corpus": "ravdess", "protocol": "emobox", **kept, "mean": mean, "folds": folds, **pooled_uar}


def _save(ids: Sequence[str], true: Sequence[str], pred: Sequence[str], file: Path) -> None:
    lines = (",".join(row) + "\n" for row in zip(ids, true, pred, strict=True))
    file.write_text("id,true,pred\n" + "".join(lines))


COMMANDS: dict[str, Callable[[Pool, argparse.Namespace], dict[str, Any]]] = {
    "cache": run_cache,
    "choose": run_choose,
    "folds": run_folds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=list(COMMANDS))
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/classical"))
    parser.add_argument("--out", type=Path, default=Path("runs/classical"))
    options = parser.parse_args()
    print(json.dumps(COMMANDS[options.what](pooled(options.corpora, options.cache), options)))


if __name__ == "__main__":
    main()
