"""The clips that tests are run on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from emovox.audio import AUDIO_SUFFIXES
from emovox.datasets.manifest import UNKNOWN_SPEAKER, Manifest, Utterance
from emovox.errors import ManifestError
from emovox.evaluation.behaviour.fairness import take_sentences
from emovox.evaluation.behaviour.models import TestedModel
from emovox.evaluation.behaviour.samples import NotApplicable

__all__ = ["MAX_CLIPS", "NO_EMOTION", "SOURCES", "Setup", "list_unlabelled"]

MAX_CLIPS = 300
"""Clips that are changed, unless another number is asked for."""

NO_EMOTION = "unlabelled"
"""Emotion of clips without a label."""


@dataclass(frozen=True)
class Setup:
    """What is tested on what."""

    model: TestedModel
    names: tuple[str, ...]
    """Labels that are predicted."""
    clips: Manifest
    is_labelled: bool = True
    sounds: Mapping[str, str] = field(default_factory=dict)
    """Name -> folder of recordings, or pattern, for noises of tests."""
    max_clips: int = MAX_CLIPS
    seed: int = 0
    workers: int = 1


def _take_data(setup: Setup) -> Manifest:
    if not len(setup.clips):
        raise NotApplicable("there are no clips")
    return setup.clips


SOURCES: Mapping[str, Callable[[Setup], Manifest]] = MappingProxyType(
    {"data": _take_data, "sentences": lambda _: take_sentences()}
)
"""Name in a test -> function that returns its clips, or raises `NotApplicable`."""


def list_unlabelled(paths: Sequence[str | Path]) -> Manifest:
    """List recordings without labels: files, and those below folders, as one unknown speaker.

    Raises:
        ManifestError: a path does not exist, or there is no recording.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise ManifestError(f"{str(path)!r} does not exist; expected recordings or a folder of them")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [f for f in inside if f.is_file() and (f == path or f.suffix.lower() in AUDIO_SUFFIXES)]
    if not files:
        raise ManifestError(f"no recording in {', '.join(map(str, paths))}; expected .wav, .flac, .mp3, ...")
    files = list(dict.fromkeys(file.resolve() for file in files))
    root = Path(os.path.commonpath([file.parent for file in files]))
    names = [file.relative_to(root).as_posix() for file in files]
    rows = (
        Utterance(
            id=f"recordings/{name}",
            path=name,
            corpus="recordings",
            speaker=f"recordings-{UNKNOWN_SPEAKER}",
            emotion=NO_EMOTION,
            original=NO_EMOTION,
        )
        for name in names
    )
    return Manifest(root, tuple(rows))
