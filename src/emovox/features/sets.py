"""Sets of features: which families, with which parameters, in which frames, as one row of named columns.

::

    seed = feature_set("seed-full")
    row = seed(x, 16_000)                                       # (len(seed.columns),) float32
    other = feature_set("seed-full", {"mfcc.n_mfcc": 13})       # another set, with another digest

A set is the one definition of its numbers: what trains a model, what a bundle computes when it predicts and
what the command writes to a table are the same call. ``digest`` names everything that its values depend on.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emovox.errors import AudioValueError, ConfigError
from emovox.features import core, encoders, joined, smile
from emovox.features.families import FEATURES
from emovox.features.frames import DEFAULT, FrameSettings, ShortTime
from emovox.features.functionals import ELEVEN, columns, functionals

__all__ = ["SAMPLE_RATE", "SETS", "FeatureSet", "Part", "composed", "feature_set"]

Floats = NDArray[np.float32]
Kind = Literal["vector", "frames"]
SAMPLE_RATE = 16_000
"""Hz: all sets are computed of sound at this rate."""


class _Columns:
    """A field of names, or of a function that knows them and is asked when they are: a foreign library's."""

    def __get__(self, given: FeatureSet | None, owner: type) -> tuple[str, ...]:
        if given is None:
            raise AttributeError("columns")  # so that a dataclass sees a field without a default
        names: tuple[str, ...] | Callable[[], tuple[str, ...]] = given.__dict__["columns"]
        if not isinstance(names, tuple):
            names = given.__dict__["columns"] = names()
        return names

    def __set__(self, given: FeatureSet, names: tuple[str, ...] | Callable[[], tuple[str, ...]]) -> None:
        given.__dict__["columns"] = names


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """A readable entry of `SETS`: call it with a sound and it gives the numbers of its ``columns``."""

    name: str
    kind: Kind
    """``vector``: one row ``(d,)`` a recording; ``frames``: ``(t, d)``."""
    description: str
    source: str
    columns: _Columns = _Columns()
    """Names ``(d,)`` of the values. Asking those of a set with an ``extra`` needs it installed."""
    compute: Callable[[Floats, int], Floats]
    """``(x (n,) float32, 16000) -> (d,) or (t, d)``; pure, picklable."""
    definition: Mapping[str, Any] = field(default_factory=dict)
    """What the values depend on, as JSON would have it: families, parameters, frame settings, versions."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What was changed against the set of this name."""
    depends: Callable[[], Mapping[str, Any]] | None = None
    """What else the values depend on that is only known by looking: a library's version, a file's content."""
    size: int | None = None
    """How many columns, where the names are not known beforehand."""
    version: int = 1
    """Goes up whenever the same definition gives other numbers."""
    hop_s: float | None = None
    """Seconds from frame to frame, for ``frames``."""
    extra: str | None = None
    """What has to be installed: ``pip install 'emovox[extra]'``."""
    licence: str = "Apache-2.0"

    def __call__(self, x: ArrayLike, sample_rate: int = SAMPLE_RATE) -> Floats:
        """Compute it.

        Raises:
            AudioValueError: ``x`` is empty, not ``(n,)``, not finite, or not at 16 kHz.
            MissingExtraError: the set needs an extra that is not installed.
        """
        sound = np.asarray(x, dtype=np.float32)
        if sound.ndim != 1 or not sound.size or not np.isfinite(sound).all():
            raise AudioValueError(
                f"x has the shape {sound.shape}; expected a non-empty (n,) of finite samples"
            )
        if sample_rate != SAMPLE_RATE:
            raise AudioValueError(
                f"the set {self.name!r} got sound at {sample_rate} Hz; expected {SAMPLE_RATE}: "
                "emovox.audio.read resamples"
            )
        values = self.compute(sound, sample_rate)
        if values.shape[-1] != len(self.columns) or values.ndim != (1 if self.kind == "vector" else 2):
            raise RuntimeError(f"{self.name}: {values.shape} values for {len(self.columns)} columns")
        return values

    @property
    def n_columns(self) -> int:
        """How many columns; of openSMILE's sets known without the extra."""
        return len(self.columns) if self.size is None else self.size

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with whatever the values depend on."""
        found = dict(self.depends()) if self.depends else {}
        what = {"version": self.version, "columns": self.columns, **self.definition, **found}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]

    def reference(self) -> dict[str, Any]:
        """How a bundle or a table names this set: ``{set, overrides, digest}``."""
        return {"set": self.name, "overrides": dict(self.overrides), "digest": self.digest}


# ------------------------------------------------------------------------------- sets made of families


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
    if clip_s is not None and not (_is_number(clip_s) and 0 < clip_s < np.inf):
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


def _is_number(value: Any) -> bool:
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


def _changed(given: FeatureSet, overrides: Mapping[str, Any]) -> FeatureSet:
    """The set with ``family.parameter`` or a frame setting (``window``, ``hop``, ``clip_s`` ...) replaced."""
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
                f"the set {name!r} has nothing called {key!r}{_nearest(key, known)}; "
                f"expected one of {', '.join(listed)}"
            )


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f", did you mean {near[0]!r}" if near else ""


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


# ------------------------------------------------------------------------------------------ the table

_LIBROSA = FrameSettings(window=2048, hop=512, n_fft=2048)
"""librosa's own defaults, which the seeds took, here at 16 kHz."""
_SHORT = FrameSettings(window=400, hop=160, n_fft=400)
_LOUD = {"top_db": 80.0, "n_mels": 128}
"""librosa's mfcc: 128 bands, nothing further than 80 dB below the recording's loudest value."""


def _whole(family: str, **parameters: Any) -> Part:
    """Eleven statistics of a family under librosa's frames."""
    return Part(family=family, parameters=parameters, settings=_LIBROSA, statistics=ELEVEN)


SETS: dict[str, FeatureSet] = {
    made.name: made
    for made in (
        composed(
            "seed-180",
            [
                Part(
                    family="mfcc", parameters={"n_mfcc": 40, **_LOUD}, settings=_LIBROSA, statistics=("mean",)
                ),
                Part(family="chroma", parameters={"tuning": None}, settings=_LIBROSA, statistics=("mean",)),
                Part(family="mel", parameters={"n_mels": 128}, settings=_LIBROSA, statistics=("mean",)),
            ],
            description="means of 40 MFCC, 12 chroma and 128 mel bands: the usual tutorial's 180 numbers",
            source="librosa's defaults at 16 kHz",
        ),
        composed(
            "seed-clstm",
            [
                Part(family="zcr", settings=_SHORT),
                Part(family="rms", settings=_SHORT),
                Part(family="mfcc", parameters={"n_mfcc": 20, **_LOUD}, settings=_SHORT),
            ],
            description="frames of ZCR, RMS and 20 MFCC over exactly 4 s",
            source="librosa, frame 400, hop 160",
            clip_s=4.0,
        ),
        composed(
            "seed-hybrid",
            [
                Part(family="mfcc", parameters={"n_mfcc": 40, **_LOUD}, settings=_LIBROSA),
                Part(family="chroma", parameters={"tuning": None}, settings=_LIBROSA),
                Part(family="mel", parameters={"n_mels": 128}, settings=_LIBROSA),
            ],
            description="frames of 40 MFCC, 12 chroma and 128 mel bands",
            source="librosa's defaults at 16 kHz",
        ),
        composed(
            "seed-lstm",
            [Part(family="mfcc", parameters={"n_mfcc": 13, **_LOUD}, settings=_LIBROSA)],
            description="frames of 13 MFCC",
            source="librosa's defaults at 16 kHz",
        ),
        composed(
            "seed-full",
            [
                _whole("mfcc", n_mfcc=40, **_LOUD),
                _whole("ssc"),
                _whole("chroma", tuning=None),
                _whole("mel", n_mels=128),
                _whole("contrast"),
                _whole("tonnetz", tuning=None),
                _whole("f0"),
            ],
            description="eleven statistics of MFCC, SSC, chroma, mel, contrast, tonnetz and F0",
            source="librosa's defaults at 16 kHz; python_speech_features' bands for SSC",
        ),
        FeatureSet(
            name="emovox-core",
            kind="vector",
            description="pitch, loudness, voice quality, formants, spectral balance, cepstra and rhythm",
            source="after eGeMAPS (Eyben et al. 2016), in definitions of our own: emovox.features.core",
            columns=core.COLUMNS,
            compute=core.core,
            definition={"function": "emovox.features.core"},
            version=core.VERSION,
        ),
    )
}
"""Name -> set."""

SETS |= {
    name: FeatureSet(
        name=name,
        kind="vector",
        description=f"openSMILE's {entry.size} functionals of a recording",
        source=entry.source,
        columns=partial(smile.columns, name),
        size=entry.size,
        compute=partial(smile.compute, name=name),
        definition={"opensmile_config": entry.config},
        depends=smile.depends,
        extra="opensmile",
        licence=smile.LICENCE,
    )
    for name, entry in smile.SMILE.items()
}


_ENCODER = "encoder:"
_ENCODER_OPTIONS = ("layer", "pooling", "revision", "download")


def _encoder(name: str, overrides: Mapping[str, Any]) -> FeatureSet:
    """The embeddings of a pretrained encoder, as a set."""
    if name == _ENCODER:
        raise ConfigError("'encoder:' names none; expected encoder:NAME of the Hub, or encoder:FOLDER")
    if unknown := sorted(set(overrides) - set(_ENCODER_OPTIONS)):
        raise ConfigError(
            f"an encoder has nothing called {unknown[0]!r}; expected {', '.join(_ENCODER_OPTIONS)}"
        )
    embedding = encoders.opened(name.removeprefix(_ENCODER), **overrides)
    frames = embedding.pooling == "frames"
    return FeatureSet(
        name=name,
        kind="frames" if frames else "vector",
        description=f"embeddings of a {embedding.family} encoder, pooled: {embedding.pooling}",
        source="a checkpoint of Hugging Face transformers",
        columns=embedding.columns,
        compute=partial(encoders.compute, embedding=embedding),
        definition=embedding.definition(),
        depends=embedding.checkpoint,
        overrides={key: value for key, value in overrides.items() if key != "download"},
        hop_s=embedding.hop / SAMPLE_RATE if frames else None,
        extra="ssl",
        licence="the checkpoint's own",
    )


_JOIN, _TRIM = "+", "trim_db"


def _joined(name: str, overrides: Mapping[str, Any]) -> FeatureSet:
    """Sets side by side, of the recording as it is or without its silent ends."""
    trim_db, own = overrides.get(_TRIM), {k: v for k, v in overrides.items() if k != _TRIM}
    if trim_db is not None and not (_is_number(trim_db) and 0 < trim_db <= 120):
        raise ConfigError(f"trim_db is {trim_db!r}; expected decibels below the loudest, over 0 to 120")
    given = name.split(_JOIN)
    if len(set(given)) < len(given):
        raise ConfigError(f"{name!r} names a set twice")
    if len(given) > 1 and own:
        raise ConfigError(f"sets side by side take {_TRIM} alone, got {', '.join(own)}")
    parts = tuple(feature_set(each, own) for each in given)
    if frames := [part.name for part in parts if part.kind == "frames"]:
        raise ConfigError(f"{frames[0]!r} is a set of frames; {_JOIN} and {_TRIM} are for sets of one row")
    extras = {part.extra for part in parts if part.extra}
    return FeatureSet(
        name=name,
        kind="vector",
        description=" beside ".join(part.description for part in parts),
        source="; ".join(dict.fromkeys(part.source for part in parts)),
        columns=partial(_names, parts),
        compute=partial(joined.side_by_side, parts=parts, trim_db=trim_db),
        definition={_TRIM: trim_db, "frames": [joined.WINDOW, joined.HOP]},
        depends=partial(_digests, parts),
        overrides=dict(overrides),
        size=sum(part.n_columns for part in parts),
        extra=",".join(sorted(extras)) or None,
        licence="; ".join(dict.fromkeys(part.licence for part in parts)),
    )


def _names(parts: tuple[FeatureSet, ...]) -> tuple[str, ...]:
    return joined.names([(part.name, part.columns) for part in parts])


def _digests(parts: tuple[FeatureSet, ...]) -> dict[str, Any]:
    return {"sets": [part.digest for part in parts]}


def feature_set(name: str, overrides: Mapping[str, Any] | None = None) -> FeatureSet:
    """The set of that name, with parameters of its own where ``overrides`` has some.

    Args:
        name: one of `SETS`, several of one row as ``A+B``, or ``encoder:NAME_OR_FOLDER`` for the embeddings
            of a pretrained encoder.
        overrides: ``{"mfcc.n_mfcc": 13, "window": 800}``: parameters of a family, or frame settings of all;
            of an encoder ``layer``, ``pooling``, ``revision`` and ``download`` (see `encoders.opened`).
            ``{"trim_db": 30}`` cuts a recording's silent ends first, for sets of one row.

    Raises:
        ConfigError: the set, the family or a parameter is unknown; the encoder is not on this machine.
        MissingExtraError: an encoder without the extra ``ssl``.
    """
    if name.startswith(_ENCODER):
        return _encoder(name, overrides or {})
    if _JOIN in name or _TRIM in (overrides or {}):
        return _joined(name, overrides or {})
    if name not in SETS:
        raise ConfigError(
            f"unknown feature set {name!r}{_nearest(name, SETS)}; expected one of {', '.join(SETS)}, "
            "several as A+B, or encoder:NAME"
        )
    found = SETS[name]
    return _changed(found, overrides) if overrides else found
