"""Every transform by its name, and several of them as a plan that a config spells out."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.augment.base import Rng, Transform
from emovox.augment.codecs import Mp3, Opus
from emovox.augment.g711 import G711
from emovox.augment.level import Clipping, Gain
from emovox.augment.lines import Band, Microphone, Telephone
from emovox.augment.noise import Babble, Background, Noise
from emovox.augment.room import Room
from emovox.augment.stretching import Pitch, Stretch
from emovox.augment.timing import Crop, Shift, Speed
from emovox.augment.voice import VocalTract
from emovox.errors import ConfigError, did_you_mean

__all__ = ["KINDS", "Plan", "Step", "generator", "settings_of", "transform"]

KINDS: Mapping[str, type[Transform]] = MappingProxyType(
    {
        "noise": Noise,
        "babble": Babble,
        "background": Background,
        "stretch": Stretch,
        "shift": Shift,
        "pitch": Pitch,
        "speed": Speed,
        "gain": Gain,
        "clipping": Clipping,
        "crop": Crop,
        "room": Room,
        "microphone": Microphone,
        "band": Band,
        "telephone": Telephone,
        "g711": G711,
        "mp3": Mp3,
        "opus": Opus,
        "vocal-tract": VocalTract,
    }
)
"""Name -> transform."""


def transform(kind: str, **settings: Any) -> Transform:
    """The transform of that name.

    Raises:
        ConfigError: no such kind or setting (the message names the nearest), or a value out of its limits.

    >>> transform("noise", snr_db=10, colour="white")
    Noise(snr_db=10.0, colour='white')
    """
    if kind not in KINDS:
        raise ConfigError(f"no transform {kind!r}; {did_you_mean(kind, KINDS)}")
    known = settings_of(kind)
    for name in settings:
        if name not in known:
            raise ConfigError(f"{kind} has no setting {name!r}; {did_you_mean(name, known)}")
    return KINDS[kind](**settings)


def settings_of(kind: str) -> dict[str, Any]:
    """Settings of a kind and their defaults."""
    return {field.name: field.default for field in fields(KINDS[kind])}


def generator(seed: int, key: str) -> Rng:
    """The chance of one recording: it depends on the seed and on ``key``, such as an id, and on no other."""
    return np.random.default_rng([seed, zlib.crc32(key.encode())])


@dataclass(frozen=True)
class Step:
    """A transform, and in which share of the calls it is done."""

    change: Transform
    share: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.share, (int, float)) and 0 <= self.share <= 1):
            raise ConfigError(f"share is {self.share!r}; expected 0 to 1")


@dataclass(frozen=True)
class Plan:
    """Several steps, one after the other; called as a transform is.

    >>> plan = Plan.of([{"kind": "pitch", "semitones": [-2, 2]}, {"kind": "noise", "share": 0.5}])
    >>> len(plan.steps)
    2
    """

    steps: tuple[Step, ...] = ()

    @staticmethod
    def of(rows: Iterable[Mapping[str, Any]]) -> Plan:
        """The plan that a config spells out: rows of ``kind``, ``share`` and the settings of the kind.

        Raises:
            ConfigError: a row is wrong; the message says which.
        """
        return Plan(tuple(_step(number, row) for number, row in enumerate(rows, 1)))

    def __call__(self, x: Floats, rng: Rng) -> Floats:
        """The changed sound, float32; its length is what the steps make of it."""
        for step in self.steps:
            # Drawn whether or not the step is taken: plans that differ in a share stay comparable.
            if rng.random() < step.share:
                x = step.change(x, rng)
        return x

    def variants(self, x: Floats, key: str, n: int, *, seed: int = 0) -> list[Floats]:
        """``x`` as it is and ``n`` changed copies of it, the same whenever they are made.

        Args:
            key: of the recording, such as its id.
        """
        return [x, *(self(x, generator(seed, f"{key}#{number}")) for number in range(1, n + 1))]

    def to_list(self) -> list[dict[str, Any]]:
        """Rows as ``of`` reads them, in plain types, every setting spelt out."""
        names = {kind: name for name, kind in KINDS.items()}
        return [
            {"kind": names[type(step.change)], "share": step.share, **_plain(step.change)}
            for step in self.steps
        ]


def _step(number: int, row: Mapping[str, Any]) -> Step:
    try:
        if not isinstance(row, Mapping) or "kind" not in row:
            raise ConfigError(f"got {row!r}; expected kind, perhaps share, and settings")
        settings = {name: value for name, value in row.items() if name not in ("kind", "share")}
        return Step(transform(row["kind"], **settings), row.get("share", 1.0))
    except ConfigError as error:
        raise ConfigError(f"step {number} of the augmentation: {error}") from None


def _plain(change: Transform) -> dict[str, Any]:
    return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(change).items()}
