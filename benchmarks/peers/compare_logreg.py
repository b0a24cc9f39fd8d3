"""The peer of the recipe's generalisation rows: ComParE_2016 functionals and L2 logistic regression.

    python benchmarks/peers/compare_logreg.py emodb --corpora DIR     # leave one corpus out, four emotions

Trained on the same clips as `recipes/vox.py loco`: those of the other corpora. ComParE is standardised on the
training clips and clipped at 8 deviations, C = 1e-3, labels weighted evenly: the strongest small system known
to us under strict folds. Two ways to use the training clips are tried, those with one of the four emotions
or all of them (answers restricted to the four), and both are printed. Needs the extras opensmile and
classical.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import opensmile
from sklearn.linear_model import LogisticRegression

from emovox import audio
from emovox.datasets import Manifest, scan
from emovox.evaluation import metrics

NAMES = ("ravdess", "ravdess_song", "tess", "emodb", "nemo", "banglaser")
FOUR = ("angry", "happy", "neutral", "sad")


def features(manifest: Manifest, cache: Path) -> np.ndarray:
    """ComParE_2016 ``(n, 6373)`` of each clip, at least a second long (zero-padded), kept in ``cache``."""
    key = hashlib.sha256("\n".join(manifest.ids).encode()).hexdigest()[:16]
    file = cache / f"compare-{key}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.Functionals)
        rows = np.zeros((len(manifest), 6373), np.float32)
        for n, u in enumerate(manifest):
            x = audio.read(manifest.file(u))
            x = np.pad(x, (0, max(0, audio.SAMPLE_RATE - len(x))))
            rows[n] = smile.process_signal(x, audio.SAMPLE_RATE).to_numpy()[0]
        np.save(file, rows)
    return np.load(file)


def answers(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Labels among the four for the test clips."""
    mean, deviation = x[train].mean(0), x[train].std(0) + 1e-8
    z_train = np.clip((x[train] - mean) / deviation, -8, 8)
    z_test = np.clip((x[test] - mean) / deviation, -8, 8)
    model = LogisticRegression(C=1e-3, max_iter=300, class_weight="balanced").fit(z_train, y[train])
    scores = model.predict_log_proba(z_test)
    columns = [list(model.classes_).index(name) for name in FOUR]
    return np.array(FOUR)[scores[:, columns].argmax(1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("left_out")
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/peers"))
    options = parser.parse_args()
    manifest = Manifest.merged([scan(name, options.corpora / name)[0] for name in NAMES])
    x = features(manifest, options.cache)
    y = np.array([u.emotion for u in manifest])
    corpus = np.array([u.corpus for u in manifest])
    four = np.isin(y, FOUR)
    test = four & (corpus == options.left_out)
    speakers = [u.speaker for u, t in zip(manifest, test, strict=True) if t]
    result: dict[str, object] = {"left_out": options.left_out, "peer": "ComParE_2016 + logistic regression"}
    for name, train in (("four", four & (corpus != options.left_out)), ("all", corpus != options.left_out)):
        pred = answers(x, y, train, test)
        interval = metrics.speaker_interval(list(y[test]), list(pred), speakers, "uar")
        most, counts = np.unique(pred, return_counts=True)
        share = counts.max() / len(pred)
        print(f"{options.left_out} left out, trained on {name:4} labels: UAR {interval.value:.1%}, "
              f"most frequent answer {most[counts.argmax()]} {share:.0%}", flush=True)  # fmt: skip
        result[name] = {"uar": interval.value, "share": share}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
