"""From sound to what a bundle's graph takes, when that is features of the sound.

What a model was trained on is computed by the same `emovox.features` here. A set whose digest is another one
gives other numbers, and a model would answer nonsense without a word; therefore it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox._arrays import Floats, Ints
from emovox.audio import SAMPLE_RATE
from emovox.bundles.spec import Features
from emovox.errors import BundleCorruptError, BundleVersionError, ConfigError, EmovoxError

if TYPE_CHECKING:
    from emovox.features import FeatureSet

__all__ = ["MAX_COLUMNS", "MAX_PARAMETER", "Front", "front"]


MAX_COLUMNS = 1 << 16
"""A bundle of more columns is refused; openSMILE's largest sets have 6373."""

MAX_PARAMETER = 1 << 16
"""A larger number as a parameter of a feature is refused: a stranger's spec could ask for any memory."""

_TRIAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Front:
    """The features that one bundle takes: a set, or some of its columns in an order of their own."""

    name: str
    """What messages call the bundle."""
    features: FeatureSet
    columns: tuple[str, ...]
    """In the order of the graph."""
    places: Ints | None
    """Where they stand in the set, ``(d,)``; ``None`` for all, in order."""

    def __call__(self, sound: Floats) -> Floats:
        """Sound ``(n,)`` at 16 kHz -> a row ``(d,)`` or frames ``(t, d)`` float32; nan is missing.

        Raises:
            BundleCorruptError: they cannot be computed.
            MissingExtraError: they need an extra that is not installed.
        """
        try:
            values = self.features(sound, SAMPLE_RATE)
        except EmovoxError:
            raise
        except Exception as error:  # a parameter that no check of the set's foresaw
            raise BundleCorruptError(
                f"{self.name}: its features {self.features.name!r} failed: {type(error).__name__}: {error}"
            ) from error
        if not len(values):
            raise BundleCorruptError(
                f"{self.name}: no frame fits into {len(sound) / SAMPLE_RATE:g} s; expected a larger min_s"
            )
        return values if self.places is None else np.ascontiguousarray(values[..., self.places])


def front(wanted: Features, *, kind: str, name: str, min_s: float) -> Front:
    """Find the features, verify that they are still those of the training, and try them on a short sound.

    Args:
        wanted: what the spec names.
        kind: ``vector`` or ``frames``.
        name: of the bundle, for messages.
        min_s: seconds of the shortest sound that will come.

    Raises:
        BundleVersionError: this emovox has no such set, or its values are no longer those of the training.
        BundleCorruptError: the set is of another kind, has no such columns, or cannot be computed.
        MissingExtraError: the features need an extra that is not installed.
    """
    name = f"bundle {name!r}"
    _refuse_absurd(name, wanted.overrides)
    features = _found(name, wanted)
    if features.kind != kind:
        raise BundleCorruptError(f"{name} wants {kind}, its features {wanted.set!r} are {features.kind}")
    if features.digest != wanted.digest:
        raise BundleVersionError(
            f"{name} was trained on features {wanted.set!r} with the digest {wanted.digest}, here they have "
            f"{features.digest}: the set's definition has changed. Train the model again, or go back to the "
            "versions that it was trained with"
        )
    made = Front(name, features, wanted.columns or tuple(features.columns), _places(name, features, wanted))
    made(_click(min(min_s, _TRIAL_S)))  # a missing extra is told now, not at the first recording
    return made


def _found(name: str, wanted: Features) -> FeatureSet:
    from emovox.features import find_feature_set  # a waveform model needs none

    try:
        found = find_feature_set(wanted.set, wanted.overrides or None)
    except ConfigError as error:
        raise BundleVersionError(
            f"{name} wants features that this emovox does not have: {error}. Update emovox"
        ) from error
    except EmovoxError:
        raise
    except Exception as error:
        raise BundleCorruptError(
            f"{name}: features {wanted.set!r} cannot be made of {wanted.overrides}: {error}"
        ) from error
    if len(found.columns) > MAX_COLUMNS:
        raise BundleCorruptError(
            f"{name} wants {len(found.columns)} columns, at most {MAX_COLUMNS} are accepted"
        )
    return found


def _refuse_absurd(name: str, overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        if isinstance(value, (int, float)) and not -MAX_PARAMETER <= value <= MAX_PARAMETER:
            raise BundleCorruptError(
                f"{name}: input.features.overrides.{key} is {value:g}, at most {MAX_PARAMETER} is accepted"
            )
        if key == "download":  # nothing is fetched on the word of a file
            raise BundleCorruptError(f"{name}: input.features.overrides may not ask for a download")


def _places(name: str, features: FeatureSet, wanted: Features) -> Ints | None:
    if wanted.columns is None:
        return None
    where = {column: place for place, column in enumerate(features.columns)}
    for column in wanted.columns:
        if column not in where:
            raise BundleCorruptError(
                f"{name} wants the column {column!r}, which the features {wanted.set!r} do not have"
            )
    return np.array([where[column] for column in wanted.columns], np.intp)


def _click(duration_s: float) -> Floats:
    """A click in silence: what comes through every door."""
    x = np.zeros(max(1, round(duration_s * SAMPLE_RATE)), np.float32)
    x[len(x) // 2] = 0.5
    return x
