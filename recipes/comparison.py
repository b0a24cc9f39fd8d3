"""Systems side by side: the same folds inside a corpus, the same training for unseen corpora.

    python recipes/comparison.py --corpora DIR                            # all rows but the encoder's
    python recipes/comparison.py --corpora DIR --cache CACHE --only whisper-lr
    python recipes/comparison.py --corpora DIR --only seed-clstm --folds 1,2     # fewer folds

Inside: trained on RAVDESS without the actors of a fold, tested on them, EmoBox's six folds, eight labels.
Outside: trained on RAVDESS alone, all of it but the validation speakers, tested on EMO-DB, nEMO (every
second clip, as in recipes/default.py), BanglaSER and ASED, as they are, on the four labels that all of them
have, at most 400 clips of each, drawn evenly over speakers and emotions. Nothing is chosen by these tests.
The model for the outside is written as a bundle, and timed by `Recognizer.predict` on 3 s of sound on one
thread; so are the embedded models. With `--parts check` the bundles go through the tests of `emovox check` on
120 clips of ASED. DIR holds ravdess, emodb, nemo, banglaser and ased; CACHE is that of
`recipes/default.py cache`.

What was computed is kept in --work: the same command resumes. A table is printed, and one JSON line last.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from default_cache import clips_of, read_cache
from seeds import CONFIGS, predict

import emovox
from emovox._files import write_json
from emovox.bundles import write_bundle
from emovox.bundles.registry import find
from emovox.datasets import Dataset, Manifest, Utterance
from emovox.datasets.protocols import make_splits
from emovox.datasets.splits import Split, draw_validation
from emovox.evaluation import metrics
from emovox.evaluation.behaviour import check_behaviour
from emovox.evaluation.robustness import sample_clips
from emovox.features.cache import FeatureCache
from emovox.training.inputs import SplitInputs
from emovox.training.trainers import Trainer, make_config, make_trainer

INSIDE = "ravdess"
UNSEEN = ("emodb", "nemo", "banglaser", "ased")
FOUR = ("neutral", "happy", "sad", "angry")
N_UNSEEN = 400
"""Clips of an unseen corpus, at most."""
N_TIMED = 20
SHIPPED = ("default", "fast")
CHECKED, N_CHECKED, N_CHANGED = "ased", 120, 30
"""Corpus of the behavioural tests, on which no system is trained; its clips, and those that are changed."""
EXAMPLE = Path(__file__).parents[1] / "examples" / "happy.opus"


@dataclass(frozen=True)
class System:
    """A config in configs/, and changes to it."""

    config: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "Apache-2.0"
    """Of the code that is needed to predict."""


_OPENSMILE = "openSMILE's, non-commercial"
SYSTEMS: Mapping[str, System] = {
    "seed-mlp": System("seed-mlp"),
    "seed-cnn": System("seed-cnn"),
    "seed-clstm": System("seed-clstm"),
    "egemaps-svm": System("seed-svm", {"features.set": "eGeMAPSv02"}, _OPENSMILE),
    "compare-lr": System(
        "seed-svm",
        {
            "features.set": "ComParE_2016",
            "model": {"kind": "classical", "name": "logistic-regression", "class_weight": "balanced"},
        },
        _OPENSMILE,
    ),
    "whisper-lr": System(
        "seed-svm",
        {"model": {"kind": "classical", "name": "logistic-regression", "params": {"C": 5e-4}}},
        "Apache-2.0; Whisper: MIT",
    ),
}
ENCODER = "whisper-lr"
"""Means and deviations of the states of layers 2, 3 and 4 of Whisper base, frozen."""


def main() -> None:
    """Compute what is missing, print the table, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="of recipes/default.py, for the row whisper-lr")
    parser.add_argument("--work", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--only", help="systems, with commas")
    parser.add_argument("--folds", default="1,2,3,4,5,6")
    parser.add_argument("--parts", default="inside,outside,speed", help="also check")
    options = parser.parse_args()
    rows = []
    for name, system in SYSTEMS.items():
        if options.only and name not in options.only.split(","):
            continue
        if name == ENCODER and options.cache is None:
            print(f"{name}: skipped, it needs --cache", flush=True)
            continue
        rows.append(compute_row(name, system, options))
        print_row(rows[-1], header=len(rows) == 1)
    for name in SHIPPED:
        if not options.only or name in options.only.split(","):
            rows.append({"system": name, **measure_bundle(find(name), options.work / name, options)})
            print_row(rows[-1], header=len(rows) == 1)
    print(json.dumps({"recipe": "comparison", "rows": rows}))


def compute_row(name: str, system: System, options: argparse.Namespace) -> dict[str, Any]:
    """Compute the parts of a row that are asked for, unless they are kept."""
    config = make_config(
        CONFIGS / f"{system.config}.yaml",
        {"train.tensorboard": False, **system.changes},
        data=[str(options.corpora / INSIDE)],
        labels="all",
    )
    trainer = make_trainer(config)
    trainer.check()
    parts = options.parts.split(",")
    folds = options.folds.split(",")
    inside = Dataset.load(config.data).manifest
    key = hashlib.sha256(json.dumps(trainer.identify(), default=str).encode()).hexdigest()[:12]
    folder: Path = options.work / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    row: dict[str, Any] = {"system": name, "licence": system.licence}
    source = Inputs(trainer, options, name == ENCODER)
    if "inside" in parts:
        splits = [split for split in make_splits(inside, f"emobox/{INSIDE}") if split.name[-1] in folds]
        answers = [answer for split in splits for answer in run_fold(source, inside, split, folder)]
        row["inside"] = {"folds": len(splits), **score(inside, answers)}
    if "outside" in parts:
        row["outside"] = run_unseen(source, inside, folder)
    bundle = folder / "bundle"
    return row | (measure_bundle(bundle, folder, options) if bundle.exists() else {})


@dataclass(frozen=True)
class Inputs:
    """Loads clips as a system takes them: features, kept in a cache, or states of the encoder's cache."""

    trainer: Trainer
    options: argparse.Namespace
    is_encoder: bool

    def load(self, manifest: Manifest, split: Split) -> SplitInputs:
        if not self.is_encoder:
            store = FeatureCache(self.options.work / "features")
            return self.trainer.load(manifest, split, store=store)
        values: dict[str, Any] = {}
        for corpus in manifest.corpora:
            rows = read_cache(self.options.corpora, self.options.cache, "clean", corpus)
            assert rows is not None
            values |= dict(
                zip(map(str, rows.ids), rows.pooled[:, 1:].reshape(len(rows.ids), -1), strict=True)
            )
        values = {key: values[key] for key in manifest.ids}
        columns = tuple(f"state_{n:04d}" for n in range(len(values[manifest.ids[0]])))
        return SplitInputs(manifest, split, "vector", values, {}, columns)


def run_fold(source: Inputs, manifest: Manifest, split: Split, folder: Path) -> list[tuple[str, str]]:
    """Train without the actors of a fold; return (id, predicted label) of their clips."""
    file = folder / f"fold-{split.name[-1]}.json"
    if not file.exists():
        inputs = source.load(manifest, split)
        fitted = source.trainer.fit(inputs, folder=folder / f"fold-{split.name[-1]}")
        ids, log_probs = predict(fitted, inputs)
        predicted = [fitted.labels[n] for n in log_probs.argmax(1)]
        write_json(file, {"split": split.digest, "answers": list(zip(ids, predicted, strict=True))})
    return [(key, label) for key, label in json.loads(file.read_text(encoding="utf-8"))["answers"]]


def run_unseen(source: Inputs, inside: Manifest, folder: Path) -> dict[str, Any]:
    """Train on RAVDESS alone, write the bundle, and score every unseen corpus on four labels."""
    file = folder / "outside.json"
    if not file.exists():
        whole = Manifest.merged([inside, *(read_unseen(source.options.corpora, name) for name in UNSEEN)])
        tested = [u for u in whole if u.corpus != INSIDE]
        split = draw_validation(whole, "ravdess-alone", list(inside), tested)
        inputs = source.load(whole, split)
        fitted = source.trainer.fit(inputs, folder=folder / "outside")
        if not source.is_encoder:  # its states are no feature set of the package
            exported = source.trainer.export(fitted, inputs)
            write_bundle(folder / "bundle", exported.model, exported.spec, replace=True)
        ids, log_probs = predict(fitted, inputs)
        columns = [fitted.labels.index(label) for label in FOUR]
        best = log_probs[:, columns].argmax(1)
        answers = list(zip(ids, [FOUR[n] for n in best], strict=True))
        scores = {
            name: score(whole, [pair for pair in answers if whole[pair[0]].corpus == name]) for name in UNSEEN
        }
        mean = float(np.mean([one["uar"] for one in scores.values()]))
        write_json(file, {"mean": round(mean, 6), "corpora": scores})
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return kept


def read_unseen(root: Path, corpus: str, n: int = N_UNSEEN) -> Manifest:
    """Draw ``n`` clips of a corpus that show one of the four labels, evenly over speakers and labels."""
    rows = [
        Utterance(
            id=clip.id,
            path=Path(clip.file).relative_to(root / corpus).as_posix(),
            corpus=corpus,
            speaker=clip.speaker,
            emotion=clip.emotion,
            original=clip.emotion,
        )
        for clip in clips_of(root, "clean", corpus)
        if clip.emotion in FOUR
    ]
    return sample_clips(Manifest(root / corpus, tuple(rows)), n)


def score(manifest: Manifest, answers: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Score (id, predicted label): UAR with its interval over speakers."""
    answers = list(answers)
    true = [manifest[key].emotion for key, _ in answers]
    speakers = [manifest[key].speaker for key, _ in answers]
    interval = metrics.speaker_interval(true, [label for _, label in answers], speakers)
    return {
        "uar": round(interval.value, 6),
        "low": interval.low and round(interval.low, 6),
        "high": interval.high and round(interval.high, 6),
        "n_clips": len(true),
        "n_speakers": interval.n_speakers,
    }


def measure_bundle(bundle: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the speed of a bundle, and run the behavioural tests, if they are asked for."""
    found: dict[str, Any] = {}
    if "speed" in options.parts:
        found["speed"] = measure_speed(bundle)
    if "check" in options.parts:
        clips = read_unseen(options.corpora, CHECKED, N_CHECKED)
        report = check_behaviour(
            bundle, Dataset(clips), labels=FOUR, max_clips=N_CHANGED, output=folder / "check"
        )
        report.write(folder / "check")
        found["check"] = report.document["summary"][0] | {"failed tests": list(report.failed)}
    return found


def measure_speed(bundle: Path) -> dict[str, float]:
    """Measure the processor time of predicting 3 s of sound on one thread, and the size of the files."""
    model = emovox.load(bundle)
    x = emovox.audio.read(EXAMPLE)[: 3 * emovox.audio.SAMPLE_RATE]
    model.predict(x, sample_rate=emovox.audio.SAMPLE_RATE)
    times = []
    for _ in range(N_TIMED):
        began = time.process_time()
        model.predict(x, sample_rate=emovox.audio.SAMPLE_RATE)
        times.append(1000 * (time.process_time() - began))
    size = sum(file.stat().st_size for file in bundle.iterdir())
    return {"ms": round(statistics.median(times), 1), "mib": round(size / 2**20, 2)}


def print_row(row: dict[str, Any], *, header: bool) -> None:
    """Print a row of the table, in per cent."""
    if header:
        print(
            f"{'system':12} {'inside':>6} {'interval':>14} {'folds':>5} "
            f"{'outside':>7} {'/'.join(UNSEEN):26} {'ms':>6} {'MiB':>6} {'tests':>6}"
        )
    inside, outside, speed, check = (row.get(part, {}) for part in ("inside", "outside", "speed", "check"))
    tests = f"{check['passed']}/{check['passed'] + check['failed']}" if check else "-"
    low = inside.get("low")
    interval = "-" if low is None else f"[{100 * low:.1f}, {100 * inside['high']:.1f}]"
    each = " ".join(f"{100 * one['uar']:.1f}" for one in outside.get("corpora", {}).values())
    print(
        f"{row['system']:12} {format_uar(inside.get('uar')):>6} {interval:>14} {inside.get('folds', '-'):>5} "
        f"{format_uar(outside.get('mean')):>7} {each or '-':26} "
        f"{speed.get('ms', '-'):>6} {speed.get('mib', '-'):>6} {tests:>6}",
        flush=True,
    )


def format_uar(value: float | None) -> str:
    """Write a fraction in per cent, or a dash."""
    return "-" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
