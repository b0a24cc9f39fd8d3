"""Sounds that tests train on: noise and tones whose pitch is the emotion and whose colour is the speaker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from emovox.datasets.manifest import Manifest, Utterance

EMOTIONS = ("neutral", "happy", "sad", "angry")


def voice(speaker: int, emotion: int, take: int) -> np.ndarray:
    """About 0.6 s at 16 kHz, ``(n,)`` float32."""
    dice = np.random.default_rng([speaker, emotion, take])
    t = np.arange(9600 + 320 * take) / 16_000
    sway = 1 + 0.2 * np.sin(2 * np.pi * (2 + take) * t + dice.uniform(0, 6))
    hz = (150 + 10 * speaker) * 1.5**emotion * sway
    sound = np.sin(2 * np.pi * np.cumsum(hz) / 16_000) + 0.3 * dice.standard_normal(len(t))
    return (0.1 * sound * np.interp(t, np.linspace(0, 0.7, 8), dice.uniform(0.2, 1, 8))).astype(np.float32)


def toy_corpus(root: Path, *, n_speakers: int = 8, n_takes: int = 2, name: str = "toy") -> Manifest:
    """``<root>/<name>.csv`` and its sound: every speaker says everything."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for speaker in range(n_speakers):
        for number, emotion in enumerate(EMOTIONS):
            for take in range(n_takes):
                clip = f"{speaker}-{emotion}-{take}"
                soundfile.write(root / f"{clip}.wav", voice(speaker, number, take), 16_000)
                rows.append(
                    Utterance(
                        id=f"{name}/{clip}",
                        path=f"{clip}.wav",
                        corpus=name,
                        speaker=f"{name}-{speaker}",
                        emotion=emotion,
                        original=emotion,
                    )
                )
    manifest = Manifest(root, tuple(rows))
    manifest.write_csv(root / f"{name}.csv")
    return manifest


def toy_tree(root: Path) -> Path:
    """What a newcomer brings: ``train/angry/*.wav`` and ``test/...``, and nobody says who speaks."""
    for speaker in range(4):
        part = "test" if speaker == 3 else "train"
        for number, emotion in enumerate(EMOTIONS):
            folder = root / part / emotion
            folder.mkdir(parents=True, exist_ok=True)
            for take in range(3):
                soundfile.write(folder / f"{speaker}{take}.wav", voice(speaker, number, take), 16_000)
    return root


def tones(root: Path, *, parts: tuple[str, ...] = ("train", "test"), n: int = 4, first: int = 9600) -> Path:
    """Low and high tones, called sad and angry, in parts of their own; each 50 ms longer than the one before.

    Args:
        n: of each emotion in each part.
        first: samples of the shortest.
    """
    dice = np.random.default_rng(0)
    for part in parts:
        for emotion, hz in (("sad", 150), ("angry", 900)):
            (root / part / emotion).mkdir(parents=True)
            for number in range(n):
                t = np.arange(first + 800 * number) / 16_000
                sound = 0.4 * np.sin(2 * np.pi * hz * t) + 0.02 * dice.standard_normal(len(t))
                soundfile.write(root / part / emotion / f"{part}{number}.wav", sound, 16_000)
    return root
