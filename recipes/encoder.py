"""A pretrained speech encoder on RAVDESS: what does it reach, frozen or tuned, on actors it never heard?

    python recipes/encoder.py fold 1 --checkpoint PATH --corpora DIR              # one EmoBox fold, strict
    python recipes/encoder.py folds  --checkpoint PATH --corpora DIR --mode lora  # all six, with the interval

DIR holds the folder ravdess; PATH is the folder of a wav2vec2, HuBERT, WavLM, data2vec-audio or Whisper, or
its name on the Hugging Face Hub where a copy is in the cache here. Needs the extra ssl. Each command prints a
table for people and one JSON line last, and leaves its bundles in `runs/encoder/`; a fold that was stopped
goes on. What is reported is what the user's `Recognizer` answers from the exported bundle.

In a fold some of the other actors say which epoch is kept and set the temperature. The settings below are
usual ones; nobody chose them on these folds. No result of this recipe stands anywhere here: it was tried with
a small random encoder alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emovox.bundles import load_bundle, write_bundle
from emovox.datasets import Manifest, emobox, scan
from emovox.evaluation import metrics
from emovox.evaluation.predictions import Predictions, predict_manifest
from emovox.inference.recognizer import Recognizer
from emovox.training.config import Config, NetModel, TrainingConfig
from emovox.training.trainers import NetTrainer

MODES = ("frozen", "partial", "full", "lora")
RATES = {"frozen": 1e-3, "partial": 1e-3, "full": 5e-4, "lora": 5e-4}
"""Of the head; pretrained weights are taught at a twentieth of it."""
EPOCHS = {"frozen": 40, "partial": 20, "full": 15, "lora": 20}


def config_of(
    checkpoint: str, mode: str, *, epochs: int | None = None, device: Literal["auto", "cpu"] = "auto"
) -> Config:
    """The experiment, the same for every fold."""
    training = TrainingConfig(
        epochs=epochs or EPOCHS[mode],
        patience=6,
        batch_size=16,
        learning_rate=RATES[mode],
        warm_up=0.2,
        device=device,
        tensorboard=False,
    )
    net = NetModel(name="encoder", params={"checkpoint": checkpoint, "mode": mode})
    return Config(name=f"encoder-{mode}", model=net, train=training)


def fold(manifest: Manifest, number: int, config: Config, out: Path, workers: int = 1) -> Predictions:
    """Teach one fold, write its bundle, ask it about the fold's actors."""
    split = emobox.emobox_split(manifest, number, corpus="ravdess")
    trainer = NetTrainer(config)
    inputs = trainer.load(manifest, split, workers=workers)
    if inputs.errors:
        raise SystemExit(f"{len(inputs.errors)} clips cannot be read: {dict(inputs.errors)}")
    folder = out / f"{config.name}-{number}"
    fitted = trainer.fit(inputs, folder=folder / "training", notify=lambda line: print(line, flush=True))
    exported = trainer.export(fitted, inputs)
    write_bundle(folder / "bundle", exported.model, exported.spec, replace=True)
    return predict_manifest(Recognizer(load_bundle(folder / "bundle")), manifest.select(split.test))


def folds(
    manifest: Manifest, numbers: tuple[int, ...], config: Config, out: Path, workers: int = 1
) -> dict[str, Any]:
    """The table of some folds, and what stands in it."""
    answers = [fold(manifest, number, config, out, workers) for number in numbers]
    each = [metrics.uar(one.y_true, one.y_pred) for one in answers]
    print("RAVDESS, EmoBox folds, speakers apart, UAR %")
    for number, uar in zip(numbers, each, strict=True):
        print(f"{number:4d} {uar:7.1%}")
    true, pred, speakers = (
        [value for one in answers for value in getattr(one, name)]
        for name in ("y_true", "y_pred", "speakers")
    )
    interval = metrics.speaker_interval(true, pred, speakers)
    known = interval.low is not None and interval.high is not None  # of one fold's four actors there is none
    bounds = f" [{interval.low:.1%}, {interval.high:.1%}]" if known else ", too few actors for an interval"
    print(f"mean {np.mean(each):.1%}; pooled {interval.value:.1%}{bounds}")
    return {"corpus": "ravdess", "protocol": "emobox", "config": config.name, "folds": each} | {
        key: value for key, value in interval.to_dict().items() if key != "per_speaker"
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["fold", "folds"])
    parser.add_argument("number", nargs="?", type=int, help="of a fold, from 1")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--mode", choices=MODES, default="frozen")
    parser.add_argument("--epochs", type=int, help="at most; unless given, what suits the mode")
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/encoder"))
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    known = tuple(emobox.emobox_folds("ravdess"))
    if (options.what == "fold") != (options.number is not None) or options.number not in (None, *known):
        parser.error(f"fold takes a number of {known}, folds none")
    config = config_of(options.checkpoint, options.mode, epochs=options.epochs, device=options.device)
    NetTrainer(config).check()
    manifest = scan("ravdess", options.corpora / "ravdess")[0]
    numbers = known if options.number is None else (options.number,)
    print(json.dumps(folds(manifest, numbers, config, options.out, options.workers)))


if __name__ == "__main__":
    main()
