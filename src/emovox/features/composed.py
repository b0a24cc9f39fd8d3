"""How is a set made of families? Side by side on one shared transform, with parameters that may be changed.

::

    made = composed("mine", [Part(family="mfcc", parameters={"n_mfcc": 13})], description="", source="")
    other = changed(made, {"mfcc.n_mfcc": 20})                  # another set, with another digest
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import ConfigError, did_you_mean
from emovox.features.definition import FeatureSet, Kind
from emovox.features.families import FEATURES
from emovox.features.frames import DEFAULT, FrameSettings, ShortTime
from emovox.features.functionals import columns, functionals

__all__ = ["Part", "changed", "composed", "is_number"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One family in a set."""

    family: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: FrameSettings = DEFAULT
    statistics: tuple[str, ...] = ()
    """Over its frames; none in a set of frames."""

    def columns(self) -> tuple[str, ...]:
        """Names of what it adds to the set."""
        names = FEATURES[self.family].columns(**self.parameters)
        return columns(names, self.statistics) if self.statistics else names


def composed(
    name: str, parts: Sequence[Part], *, description: str, source: str, clip_s: float | None = None
) -> FeatureSet:
    """A set made of families, all of them on one shared transform.

    Args:
        parts: with statistics all of them (a vector), or none (frames, which then need the same hop, and
            the same window unless they are centred).
        clip_s: cut the sound, or fill it with zeros, to this many seconds before anything else.

    Raises:
        ConfigError: a family is unknown, or the parts do not go together.
    """
    parts = tuple(parts)
    for part in parts:
        if part.family not in FEATURES:
            raise ConfigError(f"unknown family {part.family!r}; expected one of {', '.join(FEATURES)}")
    kinds = {bool(part.statistics) for part in parts}
    if len(kinds) != 1:
        raise ConfigError(f"{name}: expected parts, either all with statistics or all without")
    kind: Kind = "vector" if kinds.pop() else "frames"
    if kind == "frames":
        _check_side_by_side(name, parts)
    if clip_s is not None and not (is_number(clip_s) and 0 < clip_s < np.inf):
        raise ConfigError(
            f"{name}: clip_s is {clip_s!r}; expected seconds above 0, or None for all of a sound"
        )
    return FeatureSet(
        name=name,
        kind=kind,
        description=description,
        source=source,
        columns=tuple(column for part in parts for column in part.columns()),
        compute=partial(_compute, parts=parts, clip_s=clip_s),
        definition={"parts": [asdict(part) for part in parts], "clip_s": clip_s},
        hop_s=parts[0].settings.hop / SAMPLE_RATE if kind == "frames" else None,
    )


def _check_side_by_side(name: str, parts: Sequence[Part]) -> None:
    hops = {(part.settings.hop, part.settings.centred) for part in parts}
    if len(hops) != 1:
        raise ConfigError(f"{name}: frames side by side need one hop, got {sorted(hops)}")
    windows = {part.settings.window for part in parts}
    if len(windows) != 1 and not parts[0].settings.centred:
        raise ConfigError(
            f"{name}: windows of {sorted(windows)} samples give different numbers of frames; expected one "
            "window, or centred=True"
        )


def is_number(value: Any) -> bool:
    """Whether it is one; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compute(x: Floats, sample_rate: int, *, parts: tuple[Part, ...], clip_s: float | None) -> Floats:
    if clip_s is not None:
        n = round(clip_s * sample_rate)
        x = np.pad(x[:n], (0, max(0, n - x.size)))
    shared = ShortTime(x, sample_rate, parts[0].settings)
    values = [_part(part, x, sample_rate, shared) for part in parts]
    return np.concatenate(values, axis=-1)


def _part(part: Part, x: Floats, sample_rate: int, shared: ShortTime) -> Floats:
    frames = FEATURES[part.family](x, sample_rate, settings=part.settings, shared=shared, **part.parameters)
    if not part.statistics:
        return frames
    return functionals(frames, statistics=part.statistics, hop_s=part.settings.hop / sample_rate)


def changed(given: FeatureSet, overrides: Mapping[str, Any]) -> FeatureSet:
    """The set with ``family.parameter`` or a frame setting (``window``, ``hop``, ``clip_s`` ...) replaced.

    Raises:
        ConfigError: it is not made of families, or a name or a value is none that it takes.
    """
    compute = given.compute
    if not isinstance(compute, partial) or compute.func is not _compute:
        raise ConfigError(
            f"the set {given.name!r} is fixed: it takes no overrides, got {', '.join(overrides)}"
        )
    parts: tuple[Part, ...] = compute.keywords["parts"]
    _check_names(given.name, parts, overrides)
    clip_s = overrides.get("clip_s", compute.keywords["clip_s"])
    try:
        made = composed(
            given.name,
            [_replaced(part, overrides) for part in parts],
            description=given.description,
            source=given.source,
            clip_s=clip_s,
        )
        made(np.zeros(SAMPLE_RATE // 10, np.float32))  # a parameter that is out of range shows now
    except TypeError as error:
        raise ConfigError(
            f"the set {given.name!r} cannot take {dict(overrides)}: a value has the wrong type ({error})"
        ) from None
    except ValueError as error:
        raise ConfigError(f"the set {given.name!r} cannot take {dict(overrides)}: {error}") from None
    return replace(made, overrides=dict(overrides), version=given.version)


_FRAME_SETTINGS = tuple(sorted(f.name for f in fields(FrameSettings)))


def _check_names(name: str, parts: Sequence[Part], overrides: Mapping[str, Any]) -> None:
    known = {*_FRAME_SETTINGS, "clip_s"}
    known |= {f"{part.family}.{parameter}" for part in parts for parameter in _parameters(part.family)}
    for key in overrides:
        if key not in known:
            listed = (*_FRAME_SETTINGS, "clip_s", *(f"{part.family}.PARAMETER" for part in parts))
            raise ConfigError(
                f"the set {name!r} has nothing called {key!r}; "
                f"{did_you_mean(key, sorted(known), listed=listed)}"
            )


def _parameters(family: str) -> set[str]:
    """What a family takes beside its settings; what it hands on is a parameter of the mel bands."""
    found: set[str] = set()
    for name in (family, *_HANDED_ON.get(family, ())):
        told = inspect.signature(FEATURES[name].function).parameters.values()
        found |= {p.name for p in told if p.kind is p.KEYWORD_ONLY}
    return found - {"settings", "shared", "pitch_hz"}


_HANDED_ON = {"log_mel": ("mel",), "mfcc": ("log_mel", "mel")}
"""Family -> those to which it hands the parameters that it does not know itself."""


def _replaced(part: Part, overrides: Mapping[str, Any]) -> Part:
    settings = {key: value for key, value in overrides.items() if key in _FRAME_SETTINGS}
    start = f"{part.family}."
    own = {key.removeprefix(start): value for key, value in overrides.items() if key.startswith(start)}
    return replace(part, settings=replace(part.settings, **settings), parameters={**part.parameters, **own})
