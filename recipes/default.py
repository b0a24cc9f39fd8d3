"""The recipe of the default model 3.0 and of the `permissive` one: frozen Whisper layers, linear heads.

    python recipes/default.py cache    --corpora DIR --checkpoint model.bin    # encode all once, resumable
    python recipes/default.py choose   --corpora DIR    # corpora left out, on the speakers to choose by
    python recipes/default.py fold 1   --corpora DIR    # one RAVDESS fold of EmoBox, strict
    python recipes/default.py folds    --corpora DIR    # all six, with the interval over speakers
    python recipes/default.py unseen   --corpora DIR    # corpora left out, raw and adapted, whole
    python recipes/default.py export default|permissive --corpora DIR --checkpoint model.bin   # bundles

DIR holds ravdess, tess, emodb, nemo, banglaser, ased, emospeech and esc10. Each command prints its figures
and one JSON line last, computed from the float32 encoder. Encoding takes about 20 minutes of two cores,
everything else a minute or two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from default_cache import TESTED_ONLY, TRAINING, encode_all, read_cache
from default_export import SHRINKAGE, export_bundle
from default_heads import Head, Rows, fit_labels, join, score_uar

from emovox._arrays import Floats
from emovox.datasets import scan
from emovox.datasets.emobox import emobox_folds, emobox_split
from emovox.evaluation import metrics
from emovox.labels import EMOTIONS

FOUR = tuple(EMOTIONS.index(e) for e in ("neutral", "happy", "sad", "angry"))
N_SOURCE = (3, 5, 10, 20, 50)


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
    embedded, plain = head.embed(rows), head(rows)
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


def leave_out(rows: dict[str, Rows], changed: dict[str, Rows], corpus: str) -> Head:
    """Train a head without ``corpus``."""
    kept = [c for c in TRAINING if c != corpus]
    return fit_labels(join([*(rows[c] for c in kept), *(changed[c] for c in kept if c in changed)]))


def without_test_speakers(parts: Sequence[Rows], test: Rows) -> Rows:
    return join([part[~np.isin(part.speakers, test.speakers)] for part in parts])


def run_fold(
    rows: dict[str, Rows], changed: dict[str, Rows], options: argparse.Namespace, number: int
) -> Rows:
    """Train on all corpora without the fold's test actors; return its clips with the predicted labels."""
    manifest, _ = scan("ravdess", options.corpora / "ravdess")
    split = emobox_split(manifest, number, corpus="ravdess")
    test = rows["ravdess"][np.isin(rows["ravdess"].ids, split.test)]
    head = fit_labels(without_test_speakers([rows[c] for c in TRAINING] + list(changed.values()), test))
    predicted = head(test).argmax(1)
    score = score_uar(test.labels, predicted)
    print(f"fold {number}: UAR {score:.1f}, nine labels active, {len(test.ids)} clips", flush=True)
    return replace(test, pooled=predicted[:, None].astype(np.float32))


def report_folds(
    rows: dict[str, Rows], changed: dict[str, Rows], options: argparse.Namespace
) -> dict[str, Any]:
    numbers = [int(options.which)] if options.what == "fold" else list(emobox_folds("ravdess"))
    parts = [run_fold(rows, changed, options, number) for number in numbers]
    whole = join(parts)
    predicted = whole.pooled[:, 0].astype(np.int64)
    names = [EMOTIONS[i] for i in whole.labels], [EMOTIONS[i] for i in predicted]
    interval = metrics.speaker_interval(*names, whole.speakers.tolist())
    scores = [score_uar(p.labels, p.pooled[:, 0].astype(np.int64)) for p in parts]
    lines = [f"{i},{t},{p}" for i, t, p in zip(whole.ids, *names, strict=True)]
    (options.out / f"{options.what}-answers.csv").write_text("id,true,predicted\n" + "\n".join(lines) + "\n")
    return {
        "folds": [round(score, 1) for score in scores],
        "mean": round(float(np.mean(scores)), 1),
        "low": interval.low,
        "high": interval.high,
    }


def report_unseen(
    rows: dict[str, Rows], changed: dict[str, Rows], options: argparse.Namespace
) -> dict[str, Any]:
    """Score corpora left out, raw and adapted: by number of clips, any clips and neutral clips alone."""
    found: dict[str, Any] = {}
    for corpus in (*TRAINING, *TESTED_ONLY):
        head = leave_out(rows, changed, corpus)
        known = [rows[c] for c in TRAINING if c != corpus]
        neutral = np.mean([head.embed(part[part.labels == 0]).mean(0) for part in known], 0)
        test = rows[corpus][rows[corpus].labels >= 0]
        if options.what == "choose":  # choices are made on every second speaker, never on the others
            test = test[np.isin(test.speakers, np.unique(test.speakers)[::2])]
        scores = {n: round(score_unseen(head, test, n), 1) for n in (0, *N_SOURCE)}
        alone = {n: round(score_unseen(head, test, n, neutral=neutral), 1) for n in (1, 3, 10, 20)}
        found[corpus] = {"clips": scores, "neutral clips": alone}
        print(corpus, scores, "neutral alone", alone, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("cache", "choose", "fold", "folds", "unseen", "export"))
    parser.add_argument("which", nargs="?", help="a fold, default/permissive, or a pass of cache")
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/default"))
    parser.add_argument("--out", type=Path, default=Path("runs/default"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order, to the digit
    options.out.mkdir(parents=True, exist_ok=True)
    if options.what == "cache":
        encode_all(options.corpora, options.cache, options.checkpoint, options.which)
        return
    every = (*TRAINING, *TESTED_ONLY)
    rows = {c: r for c in every if (r := read_cache(options.corpora, options.cache, "clean", c)) is not None}
    changed = {
        c: r for c in TRAINING if (r := read_cache(options.corpora, options.cache, "changed", c)) is not None
    }
    report = {"fold": report_folds, "folds": report_folds, "export": export_bundle}.get(
        options.what, report_unseen
    )
    text = json.dumps(report(rows, changed, options))
    (options.out / f"{options.what}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
