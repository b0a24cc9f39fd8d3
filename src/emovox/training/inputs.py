"""Load what a model takes of every clip of a split: a row of features, frames, or the waveform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emovox._arrays import Floats
from emovox.augment.clips import augmented_id
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import Split
from emovox.errors import ConfigError, ManifestError
from emovox.features import FeatureSet, find_feature_set
from emovox.features.cache import FeatureCache, default_folder
from emovox.features.extraction import iter_features, list_clips, read_clips
from emovox.training.config import Config

__all__ = ["FeatureRows", "SplitInputs", "find_vector_set", "load_inputs"]

Kind: TypeAlias = Literal["vector", "frames", "waveform"]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRows:
    """Rows of features with their labels and speakers."""

    ids: tuple[str, ...]
    x: Floats
    """``(n, d)``; nan is missing."""
    y: tuple[str, ...]
    speakers: tuple[str | None, ...]


@dataclass(frozen=True, eq=False)
class SplitInputs:
    """The clips of one split, as a model takes them."""

    manifest: Manifest
    split: Split
    kind: Kind
    values: Mapping[str, Floats]
    """id -> ``(d,)`` row, ``(t, d)`` frames or ``(n,)`` samples; clips that failed are missing."""
    errors: Mapping[str, str]
    """id -> why a clip failed."""
    columns: tuple[str, ...] = ()
    reference: Mapping[str, Any] | None = None
    """The feature set and its parameters; ``None`` for waveforms."""
    augmented: tuple[Mapping[str, Floats], ...] = ()
    """As ``values``, of the first augmented clip of each training clip, of the second ..."""

    def rows(self, ids: Iterable[str]) -> FeatureRows:
        """The rows of the clips ``ids``, in their order, without those that failed."""
        kept = [key for key in ids if key in self.values]
        clips = [self.manifest[key] for key in kept]
        x = [self.values[key] for key in kept]
        return FeatureRows(
            tuple(kept),
            np.stack(x) if x else np.zeros((0, len(self.columns)), np.float32),
            tuple(u.emotion for u in clips),
            tuple(u.known_speaker for u in clips),
        )

    def augmented_rows(self, ids: Sequence[str]) -> tuple[Floats, NDArray[np.int64]]:
        """Features ``(m, d)`` of the augmented clips of ``ids``, and for each the index of its clip ``(m,)``.

        Those that failed are left out. First comes the first augmented clip of every clip, then the second.
        """
        found = [(n, clips[key]) for clips in self.augmented for n, key in enumerate(ids) if key in clips]
        x = np.stack([row for _, row in found]) if found else np.zeros((0, len(self.columns)), np.float32)
        return x, np.array([n for n, _ in found], np.int64)


def find_vector_set(config: Config) -> FeatureSet:
    """Return the feature set of an estimator.

    Raises:
        ConfigError: it gives frames, there is none of that name, or an override is wrong.
        MissingExtraError: it is a pretrained encoder, and the extra for it is not installed.
    """
    features = find_feature_set(config.features.set, config.features.overrides)
    if features.kind != "vector":
        raise ConfigError(
            f"the set {features.name!r} gives frames; an estimator needs a set of the kind 'vector'"
        )
    return features


def load_inputs(
    manifest: Manifest,
    split: Split,
    config: Config,
    *,
    waveform: bool = False,
    ids: Iterable[str] | None = None,
    workers: int = 1,
    store: FeatureCache | Path | None = None,
    notify: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SplitInputs:
    """Read the clips of a split and the augmented clips of its training part.

    Args:
        waveform: load the sound instead of the features that ``config`` names.
        ids: which clips; all of the manifest unless given.
        workers: processes.
        store: cache of features, or its folder; the user's cache unless given.
        notify: called with lines about clips that failed.
        progress: called with (clips done, clips in all).

    Raises:
        ConfigError: the feature set, or a step of the augmentation, is unknown.
        ManifestError: no clip could be read.
    """
    wanted = manifest if ids is None else manifest.select(ids)
    clips, augmentation = list_clips(wanted), config.augmentation()
    if augmentation is not None:
        clips += augmentation.clips(wanted.select(split.train))
    values: dict[str, Floats] = {}
    errors: dict[str, str] = {}
    features = None if waveform else find_feature_set(config.features.set, config.features.overrides)
    if features is None:
        from emovox.training.neural.clips import WaveformCache

        name, results, sounds = "waveform", read_clips(clips, workers=workers), WaveformCache()
    else:
        if not isinstance(store, FeatureCache):
            store = FeatureCache(default_folder() if store is None else store)
        name, results, sounds = (
            features.name,
            iter_features(clips, [features], workers=workers, cache=store),
            None,
        )
    try:
        for n, result in enumerate(results, 1):
            if result.error is not None:
                errors[result.clip.id] = result.error
            elif not len(result.values[0]):
                errors[result.clip.id] = "it is too short for a frame"
            elif sounds is not None:
                sounds.add(result.clip.id, result.values[0])
            else:
                values[result.clip.id] = result.values[0]
            progress(n, len(clips))
    finally:
        progress(len(clips), len(clips))
    if sounds is not None:
        values = dict(sounds.finish())
    for key, why in errors.items():
        notify(f"{key}: {why}")
    if errors.keys() >= set(wanted.ids):
        raise ManifestError(f"{name}: none of the {len(wanted)} clips could be read")
    if errors:
        notify(f"{len(errors)} of {len(clips)} clips could not be read: not trained on, wrong in a test")
    if features is not None and features.kind == "vector":
        notify(f"{name}: {len(wanted)} clips, {len(features.columns)} columns")
    numbers = range(1, 1 if augmentation is None else augmentation.n_versions + 1)
    augmented = [{key: augmented_id(key, n) for key in split.train} for n in numbers]
    return SplitInputs(
        manifest,
        split,
        "waveform" if features is None else "frames" if features.kind == "frames" else "vector",
        {key: values[key] for key in wanted.ids if key in values},
        errors,
        () if features is None else features.columns,
        None if features is None else features.reference(),
        tuple({key: values[id] for key, id in ids.items() if id in values} for ids in augmented),
    )
