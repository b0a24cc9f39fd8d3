"""The registry of transforms, and pipelines of them as a config lists them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.augment.base import Rng, Transform
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
)
from emovox.augment.codecs import G711, AmrNb, Mp3, Opus
from emovox.augment.noise import Babble, Background, Music, Noise, Tone
from emovox.augment.speech import Crop, Length, Pitch, Shift, Silence, Speed, Stretch, Trim, VocalTract
from emovox.errors import ConfigError, did_you_mean

__all__ = ["TRANSFORMS", "Pipeline", "PipelineStep", "default_settings", "make_rng", "make_transform"]

TRANSFORMS: Mapping[str, type[Transform]] = MappingProxyType(
    {
        "noise": Noise,
        "babble": Babble,
        "background": Background,
        "music": Music,
        "tone": Tone,
        "stretch": Stretch,
        "shift": Shift,
        "pitch": Pitch,
        "speed": Speed,
        "gain": Gain,
        "clipping": Clipping,
        "crop": Crop,
        "trim": Trim,
        "silence": Silence,
        "length": Length,
        "compressor": Compressor,
        "tilt": Tilt,
        "room": Room,
        "microphone": MicrophoneResponse,
        "band": BandPass,
        "telephone": TelephoneBand,
        "g711": G711,
        "mp3": Mp3,
        "opus": Opus,
        "amr": AmrNb,
        "packet-loss": PacketLoss,
        "vocal-tract": VocalTract,
    }
)
"""Kind -> transform."""


def make_transform(kind: str, **settings: Any) -> Transform:
    """Make the transform of that kind.

    Raises:
        ConfigError: the kind or a setting is unknown (the message suggests the nearest), or a value is
            outside its limits.

    >>> make_transform("noise", snr_db=10, colour="white")
    Noise(snr_db=10.0, colour='white')
    """
    if kind not in TRANSFORMS:
        raise ConfigError(f"no transform {kind!r}; {did_you_mean(kind, TRANSFORMS)}")
    known = default_settings(kind)
    for name in settings:
        if name not in known:
            raise ConfigError(f"{kind} has no setting {name!r}; {did_you_mean(name, known)}")
    return TRANSFORMS[kind](**settings)


def default_settings(kind: str) -> dict[str, Any]:
    """Return the settings of a kind with their defaults."""
    return {field.name: field.default for field in fields(TRANSFORMS[kind])}


def make_rng(seed: int, key: str) -> Rng:
    """Make the generator of one recording: it depends on the seed and on ``key``, such as an id, alone."""
    return np.random.default_rng([seed, zlib.crc32(key.encode())])


@dataclass(frozen=True)
class PipelineStep:
    """A transform, and the share of calls in which it is applied."""

    transform: Transform
    share: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.share, (int, float)) and 0 <= self.share <= 1):
            raise ConfigError(f"share is {self.share!r}; expected 0 to 1")


@dataclass(frozen=True)
class Pipeline:
    """Transforms applied in order; call it as a transform.

    >>> pipeline = Pipeline.from_list(
    ...     [{"kind": "pitch", "semitones": [-2, 2]}, {"kind": "noise", "share": 0.5}]
    ... )
    >>> len(pipeline.steps)
    2
    """

    steps: tuple[PipelineStep, ...] = ()

    @staticmethod
    def from_list(rows: Iterable[Mapping[str, Any]]) -> Pipeline:
        """Make the pipeline of a config: rows of ``kind``, perhaps ``share``, and settings of the kind.

        Raises:
            ConfigError: a row is wrong; the message gives its number.
        """
        return Pipeline(tuple(_make_step(number, row) for number, row in enumerate(rows, 1)))

    def to_list(self) -> list[dict[str, Any]]:
        """Return rows as `from_list` reads them, in plain types and with every setting."""
        kinds = {transform: kind for kind, transform in TRANSFORMS.items()}
        rows = []
        for step in self.steps:
            settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(step.transform).items()}
            rows.append({"kind": kinds[type(step.transform)], "share": step.share, **settings})
        return rows

    def __call__(self, x: Floats, rng: Rng) -> Floats:
        """Return the transformed samples; their number is what the steps make of it."""
        for step in self.steps:
            # Drawn whether or not the step is applied: pipelines that differ in a share stay comparable.
            if rng.random() < step.share:
                x = step.transform(x, rng)
        return x

    def variants(self, x: Floats, key: str, n: int, *, seed: int = 0) -> list[Floats]:
        """Return ``x`` and ``n`` augmented versions of it, the same at each call.

        Args:
            x: samples ``(n_samples,)``.
            key: names the recording, such as its id.
            n: how many versions.
            seed: of the draws.
        """
        return [x, *(self(x, make_rng(seed, f"{key}#{number}")) for number in range(1, n + 1))]


def _make_step(number: int, row: Mapping[str, Any]) -> PipelineStep:
    try:
        if not isinstance(row, Mapping) or "kind" not in row:
            raise ConfigError(f"got {row!r}; expected kind, perhaps share, and settings")
        settings = {name: value for name, value in row.items() if name not in ("kind", "share")}
        return PipelineStep(make_transform(row["kind"], **settings), row.get("share", 1.0))
    except ConfigError as error:
        raise ConfigError(f"step {number} of the augmentation: {error}") from None
