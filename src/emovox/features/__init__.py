"""What numbers describe this window? One file a group of families; `FEATURES` and `SETS` are dicts.

::

    short = ShortTime(x, 16_000, FrameSettings(window=400, hop=160, n_fft=512))
    values = FEATURES["mfcc"](x, 16_000, shared=short, n_mfcc=20)   # (t, 20) float32
    names = FEATURES["mfcc"].columns(n_mfcc=20)                     # ('mfcc_01', ...)
    row = feature_set("seed-full")(x, 16_000)                       # a set: (d,) float32, named columns

Every family takes the sound and its rate, ``settings`` of frames or a ``shared`` transform of that sound, and
parameters of its own; every family gives one row a frame, so that columns stand side by side.
"""

from __future__ import annotations

from emovox.features.definition import FeatureSet
from emovox.features.families import FEATURES
from emovox.features.feature_set import SETS, feature_set
from emovox.features.frames import DEFAULT, Family, FrameSettings, ShortTime

__all__ = [
    "DEFAULT",
    "FEATURES",
    "SETS",
    "Family",
    "FeatureSet",
    "FrameSettings",
    "ShortTime",
    "feature_set",
]
