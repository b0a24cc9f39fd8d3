"""Changes to a recording that leave its expressed emotion alone.

Each transform is a frozen dataclass of its strength, called with ``(x (n,) float32, rng) -> (m,) float32`` in
[-1, 1] at 16 kHz; randomness comes only from the numpy ``Generator`` it is given::

    y = Noise(snr_db=10, colour="white")(x, np.random.default_rng(0))
    y = transform("pitch", semitones=2)(x, rng)          # the same by name: KINDS
    y = Plan.of([{"kind": "noise", "share": 0.5}])(x, rng)   # as a config spells it

``chain`` is how the default model was trained: functions of random strength, and ``channel_chain`` that puts
every corpus through the same random rooms, bands, codecs and noises.
"""

from __future__ import annotations

from emovox.audio import SAMPLE_RATE
from emovox.augment.base import Transform
from emovox.augment.chain import (
    AUGMENTATIONS,
    ChainConfig,
    add_noise,
    band_limit,
    channel_chain,
    clip_peaks,
    crop,
    encode_decode,
    equalise,
    gain,
    mu_law,
    reverberate,
    speed,
)
from emovox.augment.codecs import Mp3, Opus
from emovox.augment.g711 import G711
from emovox.augment.level import Clipping, Gain
from emovox.augment.lines import Band, Microphone, Telephone
from emovox.augment.noise import COLOURS, Babble, Background, Noise, babble
from emovox.augment.registry import KINDS, Plan, Step, generator, settings_of, transform
from emovox.augment.room import Room, impulse_response
from emovox.augment.stretching import Pitch, Stretch
from emovox.augment.timing import Crop, Shift, Speed
from emovox.augment.voice import VocalTract

__all__ = [
    "AUGMENTATIONS",
    "COLOURS",
    "G711",
    "KINDS",
    "SAMPLE_RATE",
    "Babble",
    "Background",
    "Band",
    "ChainConfig",
    "Clipping",
    "Crop",
    "Gain",
    "Microphone",
    "Mp3",
    "Noise",
    "Opus",
    "Pitch",
    "Plan",
    "Room",
    "Shift",
    "Speed",
    "Step",
    "Stretch",
    "Telephone",
    "Transform",
    "VocalTract",
    "add_noise",
    "babble",
    "band_limit",
    "channel_chain",
    "clip_peaks",
    "crop",
    "encode_decode",
    "equalise",
    "gain",
    "generator",
    "impulse_response",
    "mu_law",
    "reverberate",
    "settings_of",
    "speed",
    "transform",
]
