"""Acoustic features: families of frame features, feature sets, and extraction over many recordings.

::

    short = ShortTime(x, 16_000, FrameSettings(window=400, hop=160, n_fft=512))
    values = FEATURES["mfcc"](x, 16_000, shared=short, n_mfcc=20)   # (t, 20) float32
    names = FEATURES["mfcc"].columns(n_mfcc=20)                     # ('mfcc_01', ...)
    row = find_feature_set("seed-full")(x, 16_000)                  # (d,) float32, columns have names

Every family takes samples and their rate, frame ``settings`` or a ``shared`` transform of the same samples,
and its own parameters; every family returns one row a frame, so that columns can be joined.
"""

from __future__ import annotations

from emovox.features.feature_set import (
    FEATURES,
    SETS,
    FeaturePart,
    FeatureSet,
    compose_set,
    find_feature_set,
)
from emovox.features.frames import DEFAULT, Family, FrameSettings, ShortTime

__all__ = [
    "DEFAULT",
    "FEATURES",
    "SETS",
    "Family",
    "FeaturePart",
    "FeatureSet",
    "FrameSettings",
    "ShortTime",
    "compose_set",
    "find_feature_set",
]
