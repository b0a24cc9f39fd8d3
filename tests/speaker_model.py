"""A model on features that adapts to a speaker by a profile, and speech to enroll."""

from __future__ import annotations

from typing import Any

import numpy as np

from conftest import tiny_spec
from emovox.bundles import Features, Input, Population, SpeakerNormalization
from emovox.features import find_feature_set
from speech import DARK, voice

__all__ = ["SET", "SHRINK", "SPEECH", "TWO_VOICES", "rows_of", "speaker_spec"]

SET = "seed-180"
SHRINK = 2.0


def rows_of(sounds: list[np.ndarray]) -> np.ndarray:
    return np.stack([find_feature_set(SET)(x) for x in sounds]).astype(np.float64)


SPEECH = [
    voice(1.2, pitch_hz=p, formants_hz=f) for p, f in ((110, DARK), (160, DARK), (220, (600, 1500, 2900)))
]
TWO_VOICES = np.concatenate([voice(4.0), voice(4.0, pitch_hz=210, formants_hz=DARK)])


def speaker_spec(**changes: Any) -> Any:
    features = Features(**find_feature_set(SET).reference())
    rows = rows_of([voice(1.0, pitch_hz=p) for p in (90, 120, 200, 260)])
    population = Population(mean=tuple(rows.mean(0)), std=tuple(rows.std(0) + 0.1))
    fields = {
        "name": "knows-voices",
        "input": Input(kind="vector", features=features),
        "normaliser": SpeakerNormalization(kind="speaker", shrink=SHRINK, population=population),
        "temperature": 0.02,
        "clip_s": 6.0,
    }
    return tiny_spec(**(fields | changes))
