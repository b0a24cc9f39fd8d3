"""The features of a sound, for bundles whose graph takes features.

They are computed by the same `emovox.features` as in training. A set with another digest has other values,
and the model would silently answer nonsense; therefore it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from emovox._arrays import Floats, Ints
from emovox.audio import SAMPLE_RATE
from emovox.bundles.spec import Features
from emovox.errors import BundleCorruptError, BundleVersionError, ConfigError, EmovoxError

if TYPE_CHECKING:
    from emovox.features import FeatureSet

__all__ = ["MAX_COLUMNS", "MAX_PARAMETER", "FeatureFrontEnd", "open_front_end"]


MAX_COLUMNS = 1 << 16
"""A bundle of more columns is refused; openSMILE's largest sets have 6373."""

MAX_PARAMETER = 1 << 16
"""A larger number as a parameter of a feature is refused: a stranger's spec could ask for any memory."""

_TRIAL_S = 1.0


@dataclass(frozen=True, slots=True)
class FeatureFrontEnd:
    """The features that one bundle takes: a set, or some of its columns in an order of their own."""

    name: str
    """The bundle, in messages."""
    features: FeatureSet
    columns: tuple[str, ...]
    """In the order of the graph."""
    places: Ints | None
    """Their indices in the set, ``(d,)``; ``None`` for all, in order."""

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


def open_front_end(wanted: Features, *, kind: str, name: str, min_s: float) -> FeatureFrontEnd:
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
    for key, value in wanted.overrides.items():
        if isinstance(value, (int, float)) and not -MAX_PARAMETER <= value <= MAX_PARAMETER:
            raise BundleCorruptError(
                f"{name}: input.features.overrides.{key} is {value:g}, at most {MAX_PARAMETER} is accepted"
            )
        if key == "download":  # a file may not cause a download
            raise BundleCorruptError(f"{name}: input.features.overrides may not ask for a download")
    features = _find_features(name, wanted)
    if features.kind != kind:
        raise BundleCorruptError(f"{name} takes {kind}, its features {wanted.set!r} are {features.kind}")
    if features.digest != wanted.digest:
        raise BundleVersionError(
            f"{name} was trained on features {wanted.set!r} with the digest {wanted.digest}, here they have "
            f"{features.digest}: the set's definition has changed. Train the model again, or go back to the "
            "versions that it was trained with"
        )
    places = None
    if wanted.columns is not None:
        where = {column: place for place, column in enumerate(features.columns)}
        for column in wanted.columns:
            if column not in where:
                raise BundleCorruptError(
                    f"{name} takes the column {column!r}, which the features {wanted.set!r} do not have"
                )
        places = np.array([where[column] for column in wanted.columns], np.intp)
    front_end = FeatureFrontEnd(name, features, wanted.columns or tuple(features.columns), places)
    # A trial with a click in silence: a missing extra is reported now, not at the first recording.
    click = np.zeros(max(1, round(min(min_s, _TRIAL_S) * SAMPLE_RATE)), np.float32)
    click[len(click) // 2] = 0.5
    front_end(click)
    return front_end


def _find_features(name: str, wanted: Features) -> FeatureSet:
    from emovox.features import find_feature_set  # a waveform model needs none

    try:
        found = find_feature_set(wanted.set, wanted.overrides or None)
    except ConfigError as error:
        raise BundleVersionError(
            f"{name} takes features that this emovox does not have: {error}. Update emovox"
        ) from error
    except EmovoxError:
        raise
    except Exception as error:
        raise BundleCorruptError(
            f"{name}: features {wanted.set!r} cannot be made of {wanted.overrides}: {error}"
        ) from error
    if len(found.columns) > MAX_COLUMNS:
        raise BundleCorruptError(
            f"{name} takes {len(found.columns)} columns, at most {MAX_COLUMNS} are accepted"
        )
    return found
