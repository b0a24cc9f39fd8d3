"""The recipe of the default model 3.3 and of the `permissive` one: frozen Whisper layers, linear heads.

    python recipes/default.py cache      --corpora DIR --checkpoint model.bin    # encode all once, resumable
    python recipes/default.py choose     --corpora DIR    # corpora left out, on the speakers to choose by
    python recipes/default.py fold 1     --corpora DIR    # one RAVDESS fold of EmoBox, strict
    python recipes/default.py folds      --corpora DIR    # all six, with the interval over speakers
    python recipes/default.py unseen     --corpora DIR    # corpora left out, raw and adapted, whole; recalls
    python recipes/default.py permissive --corpora DIR    # the permissive head on corpora never trained on
    python recipes/default.py paired ANSWERS.csv --corpora DIR  # answers of `folds`, or runs/vox of vox.py
    python recipes/default.py confidence --corpora DIR    # ECE raw and adapted, confident answers
    python recipes/default.py speech     --corpora DIR    # sounds that pass as speech, speech that is lost
    python recipes/default.py changes    --corpora DIR    # clipping, telephone, babble and noise
    python recipes/default.py gain [MODEL] --corpora DIR  # answers that +-12 dB change, embedded model
    python recipes/default.py finetune [CORPUS] --corpora DIR   # own labels, 5 and 20 clips of each
    python recipes/default.py calls [CORPUS] --corpora DIR  # timelines of glued clips, raw and adapting
    python recipes/default.py long [CORPUS] --corpora DIR  # sounds of 4 to 12 s, in one run and in windows
    python recipes/default.py windows [CORPUS] --corpora DIR  # windows whole and over shared frames
    python recipes/default.py sequences  --corpora DIR    # clips adapted to those before them
    python recipes/default.py export default|permissive --corpora DIR --checkpoint model.bin   # bundles

DIR holds ravdess, tess, emodb, nemo, banglaser, ased, emospeech and esc10. Each command prints its figures
and one JSON line last. Heads are fitted on states of the float32 encoder and tested on those of the encoder
in 8 bits that the bundles hold (`--bits 8`, `--test-bits 32`: the other ones). Clips are tested cut to
their speech, as `predict` cuts them. Encoding takes about two hours of a core, everything else some minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from default_cache import ADDED, TRAINING, encode_all
from default_calls import report_calls, report_long, report_windows
from default_export import export_bundle
from default_heads import Rows, join, score_uar
from default_measure import (
    States,
    report_changes,
    report_confidence,
    report_finetune,
    report_gain,
    report_paired,
    report_permissive,
    report_sequences,
    report_unseen,
)
from default_speech import report_speech

from emovox.datasets import scan
from emovox.datasets.emobox import emobox_folds, emobox_split
from emovox.evaluation import metrics
from emovox.labels import EMOTIONS
from emovox.training.finetune import L2


def run_fold(states: States, number: int) -> Rows:
    """Train on all corpora without the fold's test actors; return its clips with the predicted labels."""
    manifest, _ = scan("ravdess", states.root / "ravdess")
    split = emobox_split(manifest, number, corpus="ravdess")
    test = states.test["ravdess"][np.isin(states.test["ravdess"].ids, split.test)]
    predicted = states.fit(TRAINING, test.speakers)(test).argmax(1)
    score = score_uar(test.labels, predicted)
    print(f"fold {number}: UAR {score:.1f}, nine labels active, {len(test.ids)} clips", flush=True)
    return replace(test, pooled=predicted[:, None].astype(np.float32))


def report_folds(states: States, options: argparse.Namespace) -> dict[str, Any]:
    numbers = [int(options.which)] if options.what == "fold" else list(emobox_folds("ravdess"))
    parts = [run_fold(states, number) for number in numbers]
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


REPORTS: dict[str, Callable[[States, argparse.Namespace], dict[str, Any]]] = {
    "choose": report_unseen,
    "fold": report_folds,
    "folds": report_folds,
    "paired": report_paired,
    "unseen": report_unseen,
    "permissive": report_permissive,
    "confidence": report_confidence,
    "speech": report_speech,
    "changes": report_changes,
    "gain": report_gain,
    "finetune": report_finetune,
    "calls": report_calls,
    "long": report_long,
    "windows": report_windows,
    "sequences": report_sequences,
    "export": export_bundle,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("cache", *REPORTS))
    parser.add_argument("which", nargs="?", help="a fold, answers, a model, a corpus, or PASS[/CORPUS]")
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".cache/default"))
    parser.add_argument("--out", type=Path, default=Path("runs/default"))
    parser.add_argument("--bits", type=int, choices=(8, 32), default=32, help="of the encoder, in training")
    parser.add_argument("--test-bits", type=int, choices=(8, 32), default=8, help="the same, in tests")
    parser.add_argument("--train", choices=ADDED, default="cut", help="clips whole or cut to their speech")
    parser.add_argument("--test", choices=ADDED, default="cut", help="the same, of the clips tested")
    parser.add_argument("--l2", type=float, nargs="+", default=[L2], help="penalties of finetune")
    parser.add_argument("--draws", type=int, default=20, help="of finetune")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order, to the digit
    options.out.mkdir(parents=True, exist_ok=True)
    cache, test_cache = (options.cache / f"{n}-bit" for n in (options.bits, options.test_bits))
    if options.what == "cache":
        encode_all(options.corpora, cache, options.checkpoint, options.bits, options.which)
        if test_cache != cache:
            encode_all(options.corpora, test_cache, options.checkpoint, options.test_bits, options.which)
        return
    states = States.read(options.corpora, cache, test_cache, options.train, options.test)
    text = json.dumps(REPORTS[options.what](states, options))
    (options.out / f"{options.what}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
