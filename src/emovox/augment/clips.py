"""Augmented versions of training clips, and of a corpus before it is split.

::

    augmentation = make_augmentation(steps, n_versions=2, seed=0)
    clips = augmentation.clips(manifest.select(split.train))        # extracted like any other clips

A version depends on the pipeline, the seed, the clip's id and the version's number, and on nothing else.
Augmented clips belong to the training part alone. `augmented_manifest` does it in the wrong order, before the
split, to measure what that is worth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import soundfile

from emovox import audio
from emovox._arrays import Floats
from emovox._files import atomic_path
from emovox.augment.pipeline import Pipeline, make_rng
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.splits import COPY_OF
from emovox.errors import ConfigError
from emovox.features.extraction import Clip, ClipSource, list_clips, read_clip

__all__ = [
    "AugmentedClip",
    "ClipAugmentation",
    "augmented_id",
    "augmented_manifest",
    "make_augmentation",
    "write_augmented",
]


@dataclass(frozen=True, slots=True)
class AugmentedClip:
    """The change from one recording to one of its augmented versions; `emovox.features.Clip` takes it."""

    pipeline: Pipeline
    key: str
    """The recording's id."""
    number: int
    """From 1."""
    seed: int = 0
    noise_files: str = ""
    """Names, sizes and dates of the recordings that the pipeline draws from."""

    @property
    def name(self) -> str:
        """Everything that the version depends on, but the recording's samples."""
        return json.dumps([self.pipeline.to_list(), self.key, self.number, self.seed, self.noise_files])

    def __call__(self, x: Floats, /) -> Floats:
        """Return the augmented version of ``x``, as `Pipeline.variants` makes it."""
        return self.pipeline(x, make_rng(self.seed, f"{self.key}#{self.number}"))


@dataclass(frozen=True, slots=True)
class ClipAugmentation:
    """How the clips of a training part are augmented."""

    pipeline: Pipeline
    n_versions: int
    """Of each clip, besides the clip itself."""
    seed: int = 0

    def versions(self, key: str) -> list[AugmentedClip]:
        """Return the changes that make the versions of the recording ``key``."""
        noise_files = self._noise_files()
        numbers = range(1, self.n_versions + 1)
        return [AugmentedClip(self.pipeline, key, n, self.seed, noise_files) for n in numbers]

    def clips(self, source: ClipSource) -> list[Clip]:
        """Return the versions of all clips of ``source``, under the ids of `augmented_id`."""
        return [
            replace(clip, id=augmented_id(clip.id, version.number), change=version)
            for clip in list_clips(source)
            for version in self.versions(clip.id)
        ]

    def _noise_files(self) -> str:
        """Name the files of the steps' folders: when they change, so do the versions."""
        seen = []
        for folder in sorted({str(row["folder"]) for row in self.pipeline.to_list() if row.get("folder")}):
            for path in sorted(Path(folder).rglob("*")):
                stat = path.stat()
                seen.append(f"{path} {stat.st_size} {stat.st_mtime_ns}")
        return "\n".join(seen)


def make_augmentation(
    steps: Iterable[Mapping[str, Any]], *, n_versions: int = 1, seed: int = 0
) -> ClipAugmentation | None:
    """Make the augmentation that a config describes, or ``None`` for one without steps or versions.

    Args:
        steps: rows as of `Pipeline.from_list`.
        n_versions: of each clip (``augment.copies`` of a config).
        seed: of the draws.

    Raises:
        ConfigError: a step is wrong, or several versions are requested without a step to tell them apart.
    """
    pipeline = Pipeline.from_list(steps)
    if n_versions > 1 and not pipeline.steps:  # 1 is the default, also of configs without augmentation
        raise ConfigError(
            f"augment.copies is {n_versions}, but augment.steps has no step; expected at least one step, or "
            "augment.copies=0 for no augmented clips"
        )
    return ClipAugmentation(pipeline, n_versions, seed) if pipeline.steps and n_versions else None


def augmented_id(key: str, number: int) -> str:
    """Return the id of a version of the clip ``key``."""
    return f"{key}#{number}"


def augmented_manifest(manifest: Manifest, augmentation: ClipAugmentation, folder: Path) -> Manifest:
    """List all clips and their augmented versions as one corpus, before the split: the wrong order.

    The ``extra`` of a version names its original, so that an audit finds the pair on both sides of a split
    however much the sound was changed. `write_augmented` makes the recordings.
    """
    rows = [
        replace(
            u,
            id=augmented_id(u.id, version.number),
            path=name,
            start=None,
            end=None,
            extra={**u.extra, COPY_OF: u.id},
        )
        for u, version, name in _versions_with_files(manifest, augmentation)
    ]
    return Manifest.merged([manifest, Manifest(folder, tuple(rows))])


def write_augmented(
    manifest: Manifest,
    augmentation: ClipAugmentation,
    folder: Path,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the recordings of `augmented_manifest` into ``folder`` (FLAC, 16 bit), but for existing ones.

    Args:
        manifest: the clips.
        augmentation: their versions.
        folder: the root of the versions' paths.
        progress: called with the number of versions that are done.

    Raises:
        AudioError: a clip cannot be read.
    """
    for n, (u, version, name) in enumerate(_versions_with_files(manifest, augmentation), 1):
        if not (folder / name).exists():
            x = read_clip(Clip(u.id, str(manifest.file(u)), u.start, u.end))
            with atomic_path(folder / name) as partial:
                soundfile.write(partial, version(x), audio.SAMPLE_RATE, format="FLAC")
        progress(n)


def _versions_with_files(
    manifest: Manifest, augmentation: ClipAugmentation
) -> Iterator[tuple[Utterance, AugmentedClip, str]]:
    """Yield each version with a file name that is a hash of everything it depends on."""
    for u in manifest:
        stat = manifest.file(u).stat()
        for version in augmentation.versions(u.id):
            seen = f"{version.name} {u.start} {u.end} {stat.st_size} {stat.st_mtime_ns}"
            digest = hashlib.sha256(seen.encode("utf-8", "surrogateescape")).hexdigest()[:24]
            yield u, version, f"{digest}.flac"
