"""A pretrained speech encoder on RAVDESS's strict folds, frozen or tuned.

    python recipes/encoder.py fold 1 --checkpoint PATH --corpora DIR --layers 4   # one EmoBox fold, strict
    python recipes/encoder.py folds  --checkpoint PATH --corpora DIR --mode lora  # all six, with the interval

DIR contains the folder ravdess; PATH is a Whisper (a folder or a file of weights), the folder of a
wav2vec2, HuBERT, WavLM or data2vec-audio, or a name on the Hugging Face Hub with a copy in its cache. Each
command prints a table and one JSON line last, and leaves its bundles in `runs/encoder/`, where an
interrupted fold is resumed. Scores are those of the `Recognizer` on the exported bundle.

In a fold some of the other actors select the epoch and set the temperature. The settings below are usual
ones and were not chosen on these folds. No result of this recipe is claimed here.
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
"""Learning rate of the head; that of pretrained weights is a twentieth."""
EPOCHS = {"frozen": 40, "partial": 20, "full": 15, "lora": 20}


def make_config(
    checkpoint: str,
    mode: str,
    *,
    layers: int = 0,
    epochs: int | None = None,
    device: Literal["auto", "cpu"] = "auto",
) -> Config:
    """Make the config, the same for every fold; ``layers`` are the blocks to keep, 0 for all."""
    training = TrainingConfig(
        epochs=epochs or EPOCHS[mode],
        patience=6,
        batch_size=16,
        learning_rate=RATES[mode],
        warm_up=0.2,
        device=device,
        tensorboard=False,
    )
    net = NetModel(name="encoder", params={"checkpoint": checkpoint, "mode": mode, "layers": layers})
    return Config(name=f"encoder-{mode}-{layers or 'all'}", model=net, train=training)


def run_fold(manifest: Manifest, number: int, config: Config, out: Path, workers: int = 1) -> Predictions:
    """Train one fold, write its bundle, and predict the fold's actors with it."""
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


def run_folds(
    manifest: Manifest, numbers: tuple[int, ...], config: Config, out: Path, workers: int = 1
) -> dict[str, Any]:
    """Run some folds, print their table and return its values."""
    answers = [run_fold(manifest, number, config, out, workers) for number in numbers]
    each = [metrics.uar(one.y_true, one.y_pred) for one in answers]
    print("RAVDESS, EmoBox folds, speakers apart, UAR %")
    for number, uar in zip(numbers, each, strict=True):
        print(f"{number:4d} {uar:7.1%}")
    true, pred, speakers = (
        [value for one in answers for value in getattr(one, name)]
        for name in ("y_true", "y_pred", "speakers")
    )
    interval = metrics.speaker_interval(true, pred, speakers)
    known = interval.low is not None and interval.high is not None  # none for the four actors of one fold
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
    parser.add_argument("--layers", type=int, default=0, help="blocks to keep, from the first; 0 for all")
    parser.add_argument("--epochs", type=int, help="at most; by default as the mode needs")
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/encoder"))
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    known = tuple(emobox.emobox_folds("ravdess"))
    if (options.what == "fold") != (options.number is not None) or options.number not in (None, *known):
        parser.error(f"fold takes a number of {known}, folds none")
    config = make_config(
        options.checkpoint,
        options.mode,
        layers=options.layers,
        epochs=options.epochs,
        device=options.device,
    )
    NetTrainer(config).check()
    manifest = scan("ravdess", options.corpora / "ravdess")[0]
    numbers = known if options.number is None else (options.number,)
    print(json.dumps(run_folds(manifest, numbers, config, options.out, options.workers)))


if __name__ == "__main__":
    main()
