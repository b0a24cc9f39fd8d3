"""emovox-core next to openSMILE's eGeMAPSv02: column by column, in time, and what an SVM makes of either.

    python benchmarks/core.py --corpora DIR [--repeats N] [--workers N] [--store DIR] [--table FILE.md]

Needs the extras opensmile and classical, RAVDESS and EMO-DB under DIR. The rows of all clips come through
`emovox.features.extraction.extract`, hence from the store when they are there; what is timed is always
computed.

- *Columns*: Pearson's correlation over all clips of a corpus. Where ours is a deviation and theirs a
  coefficient of variation, theirs is multiplied by the size of its mean first.
- *Time*: 3 s each of sixteen clips of RAVDESS, one core, in turns; next to openSMILE's own Python interface,
  and next to the call of its library that our set of the name makes.
- *Worth*: the same pipeline for both sets (median for what is missing, standardised, clipped at 8 deviations,
  RBF-SVM) under EmoBox's six folds of RAVDESS and leave-one-speaker-out on EMO-DB. Its C is chosen
  once for each set and corpus, among 1, 3 and 10, by five groups of speakers within the training part of the
  first fold; no test clip of that fold takes part. The difference has a paired bootstrap over speakers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import opensmile
from measure import finish, one_core, table
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from emovox import audio
from emovox.datasets import Manifest, scan
from emovox.datasets.protocols import make_splits
from emovox.evaluation.metrics import paired_difference, speaker_interval
from emovox.features import find_feature_set
from emovox.features.cache import FeatureCache, default_folder
from emovox.features.core import COLUMNS
from emovox.features.extraction import extract

PROTOCOLS = {"ravdess": "emobox/ravdess", "emodb": "loso"}
TITLES = {"ravdess": "RAVDESS", "emodb": "EMO-DB"}
COSTS = (1.0, 3.0, 10.0)
SETS = ("emovox-core", "eGeMAPSv02")
Sets = dict[str, np.ndarray]

# --- our names and theirs ----------------------------------------------------------------------------

CONTOURS = {"f0_semitone": "F0semitoneFrom27.5Hz_sma3nz", "loudness": "loudness_sma3"}
CONTOUR = {
    "mean": "amean",
    "cv": "stddevNorm",
    "p20": "percentile20.0",
    "p50": "percentile50.0",
    "p80": "percentile80.0",
    "range_20_80": "pctlrange0-2",
    "rising_mean": "meanRisingSlope",
    "rising_std": "stddevRisingSlope",
    "falling_mean": "meanFallingSlope",
    "falling_std": "stddevFallingSlope",
}
SERIES = {
    "jitter": "jitterLocal_sma3nz",
    "shimmer_db": "shimmerLocaldB_sma3nz",
    "hnr_db": "HNRdBACF_sma3nz",
    "h1_h2_db": "logRelF0-H1-H2_sma3nz",
    "h1_a3_db": "logRelF0-H1-A3_sma3nz",
    "flux": "spectralFlux_sma3",
    **{f"mfcc_0{k}": f"mfcc{k}_sma3" for k in range(1, 5)},
    **{f"mfcc_0{k}_voiced": f"mfcc{k}V_sma3nz" for k in range(1, 5)},
    **{f"f{k}_hz": f"F{k}frequency_sma3nz" for k in range(1, 4)},
    **{f"f{k}_bandwidth_hz": f"F{k}bandwidth_sma3nz" for k in range(1, 4)},
    **{f"f{k}_level_db": f"F{k}amplitudeLogRelF0_sma3nz" for k in range(1, 4)},
    **{
        f"{ours}_{kind}": f"{theirs.format(letters)}_sma3nz"
        for kind, letters in (("voiced", "V"), ("unvoiced", "UV"))
        for ours, theirs in (
            ("alpha_ratio_db", "alphaRatio{}"),
            ("hammarberg_db", "hammarbergIndex{}"),
            ("slope_0_500", "slope{}0-500"),
            ("slope_500_1500", "slope{}500-1500"),
            ("flux", "spectralFlux{}"),
        )
    },
}
SINGLE = {
    "loudness_peaks_per_s": "loudnessPeaksPerSec",
    "voiced_segments_per_s": "VoicedSegmentsPerSec",
    "voiced_length_mean_s": "MeanVoicedSegmentLengthSec",
    "voiced_length_std_s": "StddevVoicedSegmentLengthSec",
    "unvoiced_length_mean_s": "MeanUnvoicedSegmentLength",
    "unvoiced_length_std_s": "StddevUnvoicedSegmentLength",
    "level_db": "equivalentSoundLevel_dBp",
}
THEIRS: dict[str, tuple[str, ...]] = {
    **{f"{a}_{c}": (f"{b}_{d}",) for a, b in CONTOURS.items() for c, d in CONTOUR.items()},
    **{f"{a}_mean": (f"{b}_amean",) for a, b in SERIES.items()},
    **{f"{a}_cv": (f"{b}_stddevNorm",) for a, b in SERIES.items()},
    **{f"{a}_std": (f"{b}_stddevNorm", f"{b}_amean") for a, b in SERIES.items()},
    **{a: (b,) for a, b in SINGLE.items()},
}
"""Our column -> theirs; two are multiplied and their sign is dropped."""


def correlations(ours: np.ndarray, theirs: np.ndarray, their_names: Sequence[str]) -> dict[str, float]:
    """Of each of the first 88 columns with its counterpart, over clips where both exist."""
    found = {}
    for i, name in enumerate(COLUMNS[:88]):
        other = np.prod([theirs[:, their_names.index(n)] for n in THEIRS[name]], axis=0)
        other = np.abs(other) if len(THEIRS[name]) == 2 else other
        there = np.isfinite(ours[:, i]) & np.isfinite(other)
        found[name] = float(np.corrcoef(ours[there, i], other[there])[0, 1])
    return found


# --- worth -------------------------------------------------------------------------------------------


def machine_of(cost: float) -> Pipeline:
    """The pipeline of both sets."""
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -8, "a_max": 8})
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), clip, SVC(C=cost))


def uar(truth: np.ndarray, answers: np.ndarray) -> float:
    """Mean recall of the labels, in percent."""
    return 100 * float(np.mean([np.mean(answers[truth == label] == label) for label in np.unique(truth)]))


def chosen_cost(x: np.ndarray, y: np.ndarray, speakers: np.ndarray) -> tuple[float, dict[float, float]]:
    """The cost with the best UAR over five groups of these speakers, and the UAR of each."""
    scores = {}
    for cost in COSTS:
        answers = np.empty_like(y)
        for train, held in GroupKFold(5).split(x, y, speakers):
            answers[held] = machine_of(cost).fit(x[train], y[train]).predict(x[held])
        scores[cost] = uar(y, answers)
    return max(scores, key=lambda cost: scores[cost]), scores


def worth(manifest: Manifest, sets: Sets, protocol: str) -> dict[str, Any]:
    """Both sets under one protocol."""
    ids = np.array(manifest.ids)
    y = np.array([u.emotion for u in manifest])
    speakers = np.array([u.speaker for u in manifest])
    plan = make_splits(manifest, protocol)
    parts = [
        (np.isin(ids, [*split.train, *split.validation]), np.isin(ids, list(split.test))) for split in plan
    ]
    first = parts[0][0]
    tested = np.any([test for _, test in parts], axis=0)
    answers, told = {}, {}
    for name, x in sets.items():
        cost, inner = chosen_cost(x[first], y[first], speakers[first])
        answers[name] = np.empty_like(y)
        for train, test in parts:
            answers[name][test] = machine_of(cost).fit(x[train], y[train]).predict(x[test])
        of_test = speaker_interval(
            y[tested].tolist(), answers[name][tested].tolist(), speakers[tested].tolist()
        )
        told[name] = {
            "C": cost,
            "inner": {str(c): round(score, 1) for c, score in inner.items()},
            "uar": round(100 * of_test.value, 1),
            "interval": [round(100 * v, 1) for v in (of_test.low, of_test.high) if v is not None],
            "folds": [round(uar(y[test], answers[name][test]), 1) for _, test in parts],
        }
    ours, theirs = (answers[name][tested].tolist() for name in sets)
    gap = paired_difference(y[tested].tolist(), ours, theirs, speakers[tested].tolist())
    told["difference"] = {
        "value": round(100 * gap.value, 1),
        "interval": [round(100 * v, 1) for v in (gap.low, gap.high) if v is not None],
        "p": gap.p_value,
    }
    return told


# --- time and everything -----------------------------------------------------------------------------


def times_ms(
    clips: Sequence[np.ndarray], repeats: int, ways: dict[str, Callable[[np.ndarray], Any]]
) -> dict[str, float]:
    """Median time a clip, each way, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for clip in clips:
            for name, way in ways.items():
                start_s = time.perf_counter()
                way(clip)
                if turn:
                    taken[name].append(1000 * (time.perf_counter() - start_s))
    return {name: statistics.median(times) for name, times in taken.items()}


def markdown(found: dict[str, dict[str, float]]) -> str:
    """The table of correlations."""
    heads = ["column", *(TITLES[corpus] for corpus in found)]
    rows = [[f"`{name}`", *(f"{found[c][name]:.2f}" for c in found)] for name in COLUMNS[:88]]
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines) + "\n"


def values(manifest: Manifest, name: str, store: FeatureCache, workers: int) -> np.ndarray:
    """Rows of a set, one a clip.

    Raises:
        SystemExit: a clip failed.
    """
    found = extract(manifest, name, cache=store, workers=workers)
    if found.errors:
        raise SystemExit(f"{name}: {len(found.errors)} clips failed, {next(iter(found.errors.values()))}")
    return found.values.astype(float)


def timed_clips(manifest: Manifest) -> list[np.ndarray]:
    """The first 3 s of sixteen clips that last as long, from all over the corpus."""
    found: list[np.ndarray] = []
    for utterance in list(manifest)[:: max(1, len(manifest) // 20)]:
        sound = audio.read(manifest.file(utterance))
        if sound.size >= 48_000:
            found.append(sound[:48_000])
    return found[:16]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--store", type=Path, help="where rows are kept; default: the command's store")
    parser.add_argument("--table", type=Path, help="write the correlations as Markdown")
    wanted = parser.parse_args()
    store = FeatureCache(wanted.store or default_folder())
    manifests = {corpus: scan(corpus, wanted.corpora)[0] for corpus in PROTOCOLS}
    found, figures = {}, {}
    for corpus, manifest in manifests.items():
        sets = {name: values(manifest, name, store, wanted.workers) for name in SETS}
        found[corpus] = correlations(*sets.values(), list(find_feature_set("eGeMAPSv02").columns))
        figures[corpus] = worth(manifest, sets, PROTOCOLS[corpus])
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    ways = {
        **{name: find_feature_set(name) for name in SETS},
        "opensmile.Smile": lambda x: smile.process_signal(x, 16_000),
    }
    with one_core():
        taken = times_ms(timed_clips(manifests["ravdess"]), wanted.repeats, ways)
    table(["correlation", *found], [[name, *(found[c][name] for c in found)] for name in COLUMNS[:88]])
    medians = {corpus: statistics.median(values.values()) for corpus, values in found.items()}
    table(["", *found], [["median", *medians.values()]])
    print()
    for corpus, told in figures.items():
        for name, row in told.items():
            print(corpus, PROTOCOLS[corpus], name, row)
    ratios = {name: ms / taken["emovox-core"] for name, ms in taken.items() if name != "emovox-core"}
    print()
    table(
        ["3 s, one core", "ms", "emovox-core is faster"],
        [[name, ms, ratios.get(name, 1.0)] for name, ms in taken.items()],
    )
    if wanted.table:
        wanted.table.write_text(markdown(found), encoding="utf-8")
    targets = {
        "5 times faster than eGeMAPSv02": min(ratios.values()) >= 5,
        **{
            f"{corpus}: within 2 points of eGeMAPSv02, or better": told["difference"]["value"] >= -2
            for corpus, told in figures.items()
        },
    }
    return finish(
        "core",
        {
            "worth": figures,
            "correlation_median": {c: round(v, 3) for c, v in medians.items()},
            "ms": {name: round(ms, 2) for name, ms in taken.items()},
            "times_faster": {name: round(ratio, 1) for name, ratio in ratios.items()},
        },
        targets,
    )


if __name__ == "__main__":
    raise SystemExit(main())
