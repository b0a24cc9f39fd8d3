"""Transforms of a recording that keep its expressed emotion, for training and robustness tests.

Each transform is a frozen dataclass of its settings, called with ``(x (n,) float32, rng) -> (m,) float32`` in
[-1, 1] at 16 kHz; randomness comes from the given numpy ``Generator`` alone::

    y = Noise(snr_db=10, colour="white")(x, np.random.default_rng(0))
    y = make_transform("pitch", semitones=2)(x, rng)                    # by its name in TRANSFORMS
    y = Pipeline.from_list([{"kind": "noise", "share": 0.5}])(x, rng)   # as in a config
"""

from __future__ import annotations

from emovox.augment.base import Amount, Rng, Transform, limit_peak, mix_noise
from emovox.augment.channel import (
    BandPass,
    Clipping,
    Compressor,
    Gain,
    MicrophoneResponse,
    PacketLoss,
    Room,
    TelephoneBand,
    Tilt,
    impulse_response,
)
from emovox.augment.codecs import G711, AmrNb, Mp3, Opus
from emovox.augment.noise import COLOURS, Babble, Background, Music, Noise, Tone, mix_babble
from emovox.augment.pipeline import (
    TRANSFORMS,
    Pipeline,
    PipelineStep,
    default_settings,
    make_rng,
    make_transform,
)
from emovox.augment.speech import Crop, Length, Pitch, Shift, Silence, Speed, Stretch, Trim, VocalTract

__all__ = [
    "COLOURS",
    "G711",
    "TRANSFORMS",
    "Amount",
    "AmrNb",
    "Babble",
    "Background",
    "BandPass",
    "Clipping",
    "Compressor",
    "Crop",
    "Gain",
    "Length",
    "MicrophoneResponse",
    "Mp3",
    "Music",
    "Noise",
    "Opus",
    "PacketLoss",
    "Pipeline",
    "PipelineStep",
    "Pitch",
    "Rng",
    "Room",
    "Shift",
    "Silence",
    "Speed",
    "Stretch",
    "TelephoneBand",
    "Tilt",
    "Tone",
    "Transform",
    "Trim",
    "VocalTract",
    "default_settings",
    "impulse_response",
    "limit_peak",
    "make_rng",
    "make_transform",
    "mix_babble",
    "mix_noise",
]
