"""Synthetic speech whose words are positive, negative or neutral, and how far a model follows the words.

48 sentences in each of eight languages: 16 frames, such as "The film was ...", each with a positive, a
negative and a neutral word (``sentences.csv``). A synthesiser without emotion, espeak-ng, says all in the
same way, so a model of the expressed emotion should answer the same whatever the words mean. The idea, and
the largest shift that is tolerated, are those of A. Derington et al. (2025), who synthesize the sentences of
CheckList.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from emovox._arrays import Doubles
from emovox._files import atomic_path
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import ConfigError

__all__ = [
    "CORPUS",
    "SENTIMENTS",
    "SYNTHESISER",
    "SentimentShift",
    "measure_sentiment",
    "synthesize_sentences",
]

CORPUS = "sentences"
SENTIMENTS = ("positive", "negative", "neutral")
SYNTHESISER = "espeak-ng"
VOICES = {"m3": "male", "f2": "female"}
"""Variants of espeak-ng's voices, and the sex that they resemble."""

N_SIMULATIONS, CHANCE_QUANTILE = 1000, 0.99


def synthesize_sentences(folder: Path) -> Manifest:
    """Say the sentences with espeak-ng, into a folder that keeps them; return the manifest of its files.

    Raises:
        ConfigError: espeak-ng is not installed, or fails.
    """
    program = shutil.which(SYNTHESISER)
    if program is None:
        raise ConfigError(
            f"the synthesiser {SYNTHESISER} is not installed; on Debian and Ubuntu: apt install {SYNTHESISER}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    table = files("emovox.evaluation").joinpath("sentences.csv").read_text(encoding="utf-8")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = []
    for row in csv.DictReader(table.splitlines()):
        for sentiment in SENTIMENTS:
            for variant, sex in VOICES.items():
                name = f"{row['language']}-{row['frame']}-{sentiment}-{variant}"
                # What is kept is of this text and this synthesiser: both may change.
                facts = "\n".join((version, row["language"], variant, row[sentiment]))
                file = folder / f"{name}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}.wav"
                if not file.is_file():
                    _speak(program, row[sentiment], f"{row['language']}+{variant}", file)
                found.append(
                    Utterance(
                        id=f"{CORPUS}/{name}",
                        path=file.name,
                        corpus=CORPUS,
                        speaker=f"{CORPUS}-{row['language']}-{variant}",
                        emotion="neutral",
                        original="neutral",
                        sex=sex,
                        language=row["language"],
                        text=f"{row['language']}-{row['frame']}-{sentiment}",
                        extra={"sentiment": sentiment, "frame": f"{row['language']}-{row['frame']}"},
                    )
                )
    return Manifest(folder, tuple(found))


def _speak(program: str, text: str, voice: str, file: Path) -> None:
    with atomic_path(file) as partial:
        done = subprocess.run(
            [program, "-v", voice, "-w", str(partial), text], capture_output=True, text=True, check=False
        )
        if done.returncode or not partial.is_file():
            raise ConfigError(f"{SYNTHESISER} cannot say {text!r} with {voice}: {done.stderr.strip()}")


@dataclass(frozen=True, slots=True)
class SentimentShift:
    """How much more often a label is predicted for words of one sentiment than for all words."""

    shifts: dict[tuple[str, str], float]
    """(sentiment, label) -> share of the label among these sentences less its share among all."""
    chance: float
    """What the largest shift exceeds in one of a hundred random assignments of the sentiments."""

    @property
    def largest(self) -> tuple[str, str]:
        """Sentiment and label of the largest shift, whatever its sign."""
        return max(self.shifts, key=lambda key: abs(self.shifts[key]))


def measure_sentiment(
    y_pred: Sequence[str], sentiments: Sequence[str], frames: Sequence[str], *, seed: int = 0
) -> SentimentShift:
    """Measure how far the labels of synthetic sentences follow the sentiment of their words.

    Args:
        y_pred: the label predicted for each clip.
        sentiments: of its words, one of `SENTIMENTS`.
        frames: the frame of its sentence, which is the same but for a word: by chance, sentiments are swapped
            within a frame, for all voices at once.
        seed: of the random assignments.

    Raises:
        ValueError: a frame lacks a sentiment.
    """
    labels, names = sorted({*y_pred}), sorted({*frames})
    counts = np.zeros((len(names), len(SENTIMENTS), len(labels)))
    for label, sentiment, frame in zip(y_pred, sentiments, frames, strict=True):
        counts[names.index(frame), SENTIMENTS.index(sentiment), labels.index(label)] += 1
    if not counts.sum(axis=-1).all():
        raise ValueError(f"a frame lacks one of the sentiments {', '.join(SENTIMENTS)}")
    shares: Doubles = counts / counts.sum(axis=-1, keepdims=True)
    centred = shares - shares.mean(axis=(0, 1))
    shifts = centred.mean(axis=0)
    rng = np.random.default_rng(seed)
    order = np.broadcast_to(np.arange(len(SENTIMENTS)), (N_SIMULATIONS, len(names), len(SENTIMENTS)))
    order = rng.permuted(order, axis=-1)
    drawn = centred[np.arange(len(names))[:, None], order].mean(axis=1)
    chance = float(np.quantile(np.abs(drawn).max(axis=(1, 2)), CHANCE_QUANTILE))
    return SentimentShift(
        {
            (sentiment, label): float(shifts[s, k])
            for s, sentiment in enumerate(SENTIMENTS)
            for k, label in enumerate(labels)
        },
        chance,
    )
