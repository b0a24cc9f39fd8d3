"""Feature sets: named columns computed of a recording, composed of families, encoders or openSMILE.

::

    seed = find_feature_set("seed-full")
    row = seed(x, 16_000)                                       # (len(seed.columns),) float32
    other = find_feature_set("seed-full", {"mfcc.n_mfcc": 13})  # another set, with another digest
    own = compose_set("own", [FeaturePart(family="zcr")], description="...", source="...")

A set is the one definition of its values: training, prediction with a bundle, and the command call the same
function. ``digest`` identifies everything that the values depend on.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import AudioValueError, ConfigError, did_you_mean
from emovox.features import (
    chroma,
    core,
    encoders,
    formants,
    opensmile,
    pitch,
    spectral,
    temporal,
    voice_quality,
)
from emovox.features.frames import DEFAULT, Family, FrameSettings, ShortTime
from emovox.features.functionals import ELEVEN, functional_names, functionals

__all__ = ["FEATURES", "SETS", "FeaturePart", "FeatureSet", "compose_set", "find_feature_set", "trim_silence"]

Kind = Literal["vector", "frames"]

FEATURES: dict[str, Family] = {
    family.name: family
    for module in (spectral, chroma, temporal, pitch, voice_quality, formants)
    for family in module.FAMILIES
}
"""Name -> family of features."""


@dataclass(frozen=True, kw_only=True)
class FeaturePart:
    """One family in a composed set."""

    family: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: FrameSettings = DEFAULT
    statistics: tuple[str, ...] = ()
    """Over the frames of the family; empty in a set of frames."""

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns that this part adds to the set."""
        names = FEATURES[self.family].columns(**self.parameters)
        return functional_names(names, self.statistics) if self.statistics else names


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """An entry of `SETS`: call it with samples to get the values of its ``columns``."""

    name: str
    kind: Kind
    """``vector``: one row ``(d,)`` a recording; ``frames``: ``(t, d)``."""
    description: str
    source: str
    names: tuple[str, ...] | Callable[[], tuple[str, ...]]
    """Of the columns ``(d,)``, or a function that asks a library for them: see `columns`."""
    compute: Callable[[Floats, int], Floats]
    """``(x (n,) float32, 16000) -> (d,) or (t, d)``; pure, picklable."""
    definition: Mapping[str, Any] = field(default_factory=dict)
    """What the values depend on, as JSON types: families, parameters, frame settings, versions."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Changes to the set of this name."""
    depends: Callable[[], Mapping[str, Any]] | None = None
    """What else the values depend on, looked up when needed: a library's version, a file's content."""
    parts: tuple[FeaturePart, ...] = ()
    """The families of a composed set."""
    clip_s: float | None = None
    """A composed set cuts or pads every recording to this many seconds."""
    size: int | None = None
    """Number of columns, where the names are only known to a library."""
    version: int = 1
    """Raised whenever the same definition gives other values."""
    hop_s: float | None = None
    """Seconds from frame to frame, for ``frames``."""
    extra: str | None = None
    """The extra that is required: ``pip install 'emovox[extra]'``."""
    licence: str = "Apache-2.0"

    def __call__(self, x: ArrayLike, sample_rate: int = SAMPLE_RATE) -> Floats:
        """Compute the features of a recording.

        Args:
            x: samples, ``(n,)``.
            sample_rate: 16000; `emovox.audio.read` resamples.

        Returns:
            ``(d,)`` for a ``vector``, ``(t, d)`` for ``frames``, float32.

        Raises:
            AudioValueError: ``x`` is empty, not ``(n,)``, not finite, or not at 16 kHz.
            MissingExtraError: the set requires an extra that is not installed.
        """
        samples = np.asarray(x, dtype=np.float32)
        if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
            raise AudioValueError(
                f"x has the shape {samples.shape}; expected a non-empty (n,) of finite samples"
            )
        if sample_rate != SAMPLE_RATE:
            raise AudioValueError(
                f"the set {self.name!r} got samples at {sample_rate} Hz; expected {SAMPLE_RATE}: "
                "emovox.audio.read resamples"
            )
        values = self.compute(samples, sample_rate)
        if values.shape[-1] != len(self.columns) or values.ndim != (1 if self.kind == "vector" else 2):
            raise RuntimeError(f"{self.name}: {values.shape} values for {len(self.columns)} columns")
        return values

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the values, ``(d,)``; those of a set with an extra need it installed."""
        return self.names if isinstance(self.names, tuple) else self.names()

    @property
    def n_columns(self) -> int:
        """Number of columns; of openSMILE's sets known without the extra."""
        return len(self.columns) if self.size is None else self.size

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with everything that the values depend on."""
        depends = dict(self.depends()) if self.depends else {}
        content = {"version": self.version, "columns": self.columns, **self.definition, **depends}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def reference(self) -> dict[str, Any]:
        """Return how a bundle or a table names this set: ``{set, overrides, digest}``."""
        return {"set": self.name, "overrides": dict(self.overrides), "digest": self.digest}


# --- sets composed of families -----------------------------------------------------------------------


def compose_set(
    name: str, parts: Sequence[FeaturePart], *, description: str, source: str, clip_s: float | None = None
) -> FeatureSet:
    """Make a set of families, all of them on one shared short-time transform.

    Args:
        name: of the set.
        parts: all with statistics (a vector), or none (frames, which then need the same hop, and the same
            window unless they are centred).
        description: one line.
        source: where the definition comes from.
        clip_s: cut or zero-pad every recording to this many seconds first.

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
        hops = {(part.settings.hop, part.settings.centred) for part in parts}
        if len(hops) != 1:
            raise ConfigError(f"{name}: the frames of all parts need one hop, got {sorted(hops)}")
        windows = {part.settings.window for part in parts}
        if len(windows) != 1 and not parts[0].settings.centred:
            raise ConfigError(
                f"{name}: windows of {sorted(windows)} samples give different numbers of frames; expected "
                "one window, or centred=True"
            )
    if clip_s is not None and not (_is_number(clip_s) and 0 < clip_s < np.inf):
        raise ConfigError(f"{name}: clip_s is {clip_s!r}; expected seconds above 0, or None for no cutting")
    return FeatureSet(
        name=name,
        kind=kind,
        description=description,
        source=source,
        names=tuple(column for part in parts for column in part.columns()),
        compute=partial(_compute_parts, parts=parts, clip_s=clip_s),
        definition={"parts": [asdict(part) for part in parts], "clip_s": clip_s},
        parts=parts,
        clip_s=clip_s,
        hop_s=parts[0].settings.hop / SAMPLE_RATE if kind == "frames" else None,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compute_parts(
    x: Floats, sample_rate: int, *, parts: tuple[FeaturePart, ...], clip_s: float | None
) -> Floats:
    if clip_s is not None:
        n = round(clip_s * sample_rate)
        x = np.pad(x[:n], (0, max(0, n - x.size)))
    shared = ShortTime(x, sample_rate, parts[0].settings)
    values = []
    for part in parts:
        family = FEATURES[part.family]
        frames = family(x, sample_rate, settings=part.settings, shared=shared, **part.parameters)
        if part.statistics:
            hop_s = part.settings.hop / sample_rate
            frames = functionals(frames, statistics=part.statistics, hop_s=hop_s)
        values.append(frames)
    return np.concatenate(values, axis=-1)


_FRAME_SETTINGS = tuple(sorted(f.name for f in fields(FrameSettings)))
# Families to which a family passes on the parameters that it does not take itself.
_PASSED_ON = {"log_mel": ("mel",), "mfcc": ("log_mel", "mel")}


def _override(given: FeatureSet, overrides: Mapping[str, Any]) -> FeatureSet:
    """Replace ``family.parameter`` or frame settings (``window``, ``hop``, ``clip_s`` ...) of a set.

    Raises:
        ConfigError: the set is not composed of families, or a name or a value is not possible.
    """
    if not given.parts:
        raise ConfigError(
            f"the set {given.name!r} is fixed: it takes no overrides, got {', '.join(overrides)}"
        )
    known = {*_FRAME_SETTINGS, "clip_s"}
    for part in given.parts:
        for name in (part.family, *_PASSED_ON.get(part.family, ())):
            parameters = inspect.signature(FEATURES[name].function).parameters.values()
            keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
            own_names = keywords - {"pitch_hz"}
            known |= {f"{part.family}.{parameter}" for parameter in own_names}
    for key in overrides:
        if key not in known:
            listed = (*_FRAME_SETTINGS, "clip_s", *(f"{part.family}.PARAMETER" for part in given.parts))
            raise ConfigError(
                f"the set {given.name!r} has no parameter {key!r}; "
                f"{did_you_mean(key, sorted(known), listed=listed)}"
            )
    settings = {key: value for key, value in overrides.items() if key in _FRAME_SETTINGS}
    try:
        parts = []
        for part in given.parts:
            start = f"{part.family}."
            own = {key.removeprefix(start): v for key, v in overrides.items() if key.startswith(start)}
            changed_settings = replace(part.settings, **settings)
            parts.append(replace(part, settings=changed_settings, parameters={**part.parameters, **own}))
        changed = compose_set(
            given.name,
            parts,
            description=given.description,
            source=given.source,
            clip_s=overrides.get("clip_s", given.clip_s),
        )
        changed(np.zeros(SAMPLE_RATE // 10, np.float32))  # a parameter out of range fails here, not later
    except TypeError as error:
        raise ConfigError(
            f"the set {given.name!r} cannot take {dict(overrides)}: a value has the wrong type ({error})"
        ) from None
    except ValueError as error:
        raise ConfigError(f"the set {given.name!r} cannot take {dict(overrides)}: {error}") from None
    return replace(changed, overrides=dict(overrides), version=given.version)


# --- the table of sets -------------------------------------------------------------------------------

# librosa's default frames, which the seeds use, here at 16 kHz.
_LIBROSA = FrameSettings(window=2048, hop=512, n_fft=2048)
_SHORT = FrameSettings(window=400, hop=160, n_fft=400)
# librosa's mfcc: 128 bands, nothing more than 80 dB below the loudest value of the recording.
_RELATIVE: dict[str, Any] = {"top_db": 80.0, "n_mels": 128}


def _librosa_part(family: str, statistics: tuple[str, ...] = (), **parameters: Any) -> FeaturePart:
    return FeaturePart(family=family, parameters=parameters, settings=_LIBROSA, statistics=statistics)


SETS: dict[str, FeatureSet] = {
    one.name: one
    for one in (
        compose_set(
            "seed-180",
            [
                _librosa_part("mfcc", ("mean",), n_mfcc=40, **_RELATIVE),
                _librosa_part("chroma", ("mean",), tuning=None),
                _librosa_part("mel", ("mean",), n_mels=128),
            ],
            description="means of 40 MFCC, 12 chroma and 128 mel bands: the usual tutorial's 180 numbers",
            source="librosa's defaults at 16 kHz",
        ),
        compose_set(
            "seed-clstm",
            [
                FeaturePart(family="zcr", settings=_SHORT),
                FeaturePart(family="rms", settings=_SHORT),
                FeaturePart(family="mfcc", parameters={"n_mfcc": 20, **_RELATIVE}, settings=_SHORT),
            ],
            description="frames of ZCR, RMS and 20 MFCC over exactly 4 s",
            source="librosa, frame 400, hop 160",
            clip_s=4.0,
        ),
        compose_set(
            "seed-hybrid",
            [
                _librosa_part("mfcc", n_mfcc=40, **_RELATIVE),
                _librosa_part("chroma", tuning=None),
                _librosa_part("mel", n_mels=128),
            ],
            description="frames of 40 MFCC, 12 chroma and 128 mel bands",
            source="librosa's defaults at 16 kHz",
        ),
        compose_set(
            "seed-lstm",
            [_librosa_part("mfcc", n_mfcc=13, **_RELATIVE)],
            description="frames of 13 MFCC",
            source="librosa's defaults at 16 kHz",
        ),
        compose_set(
            "seed-full",
            [
                _librosa_part("mfcc", ELEVEN, n_mfcc=40, **_RELATIVE),
                _librosa_part("ssc", ELEVEN),
                _librosa_part("chroma", ELEVEN, tuning=None),
                _librosa_part("mel", ELEVEN, n_mels=128),
                _librosa_part("contrast", ELEVEN),
                _librosa_part("tonnetz", ELEVEN, tuning=None),
                _librosa_part("f0", ELEVEN),
            ],
            description="eleven statistics of MFCC, SSC, chroma, mel, contrast, tonnetz and F0",
            source="librosa's defaults at 16 kHz; python_speech_features' bands for SSC",
        ),
        FeatureSet(
            name="emovox-core",
            kind="vector",
            description="pitch, loudness, voice quality, formants, spectral balance, cepstra and rhythm",
            source="after eGeMAPS (Eyben et al. 2016), in definitions of our own: emovox.features.core",
            names=core.COLUMNS,
            compute=core.core,
            definition={"function": "emovox.features.core"},
            version=core.VERSION,
        ),
        *(
            FeatureSet(
                name=name,
                kind="vector",
                description=f"openSMILE's {config.size} functionals of a recording",
                source=config.source,
                names=partial(opensmile.columns, name),
                size=config.size,
                compute=partial(opensmile.compute, name=name),
                definition={"opensmile_config": config.file},
                depends=opensmile.depends,
                extra="opensmile",
                licence=opensmile.LICENCE,
            )
            for name, config in opensmile.OPENSMILE_SETS.items()
        ),
    )
}
"""Name -> set."""


def find_feature_set(name: str, overrides: Mapping[str, Any] | None = None) -> FeatureSet:
    """Return the set of that name, with its parameters overridden where ``overrides`` has some.

    Args:
        name: one of `SETS`, several vector sets as ``A+B``, or ``encoder:NAME_OR_FOLDER`` for the embeddings
            of a pretrained encoder.
        overrides: ``{"mfcc.n_mfcc": 13, "window": 800}``: parameters of a family, or frame settings of all;
            for an encoder ``layer``, ``pooling``, ``revision`` and ``download`` (see
            `encoders.find_embedding`). ``{"trim_db": 30}`` cuts the silent ends of a recording first, for
            vector sets.

    Raises:
        ConfigError: the set, the family or a parameter is unknown; the encoder is not on this machine.
        MissingExtraError: an encoder without the extra ``ssl``.
    """
    overrides = overrides or {}
    if name.startswith("encoder:"):
        return _encoder_set(name, overrides)
    if "+" in name or "trim_db" in overrides:
        return _joined_set(name, overrides)
    if name not in SETS:
        raise ConfigError(
            f"unknown feature set {name!r}; {did_you_mean(name, SETS)} (several: A+B; encoder:NAME)"
        )
    return _override(SETS[name], overrides) if overrides else SETS[name]


def _encoder_set(name: str, overrides: Mapping[str, Any]) -> FeatureSet:
    options = ("layer", "pooling", "revision", "download")
    if name == "encoder:":
        raise ConfigError("'encoder:' has no name; expected encoder:NAME of the Hub, or encoder:FOLDER")
    if unknown := sorted(set(overrides) - set(options)):
        raise ConfigError(f"an encoder has no parameter {unknown[0]!r}; expected {', '.join(options)}")
    embedding = encoders.find_embedding(name.removeprefix("encoder:"), **overrides)
    is_frames = embedding.pooling == "frames"
    return FeatureSet(
        name=name,
        kind="frames" if is_frames else "vector",
        description=f"embeddings of a {embedding.family} encoder, pooled: {embedding.pooling}",
        source="a checkpoint of Hugging Face transformers",
        names=embedding.columns,
        compute=partial(encoders.compute, embedding=embedding),
        definition=embedding.definition(),
        depends=embedding.checkpoint,
        overrides={key: value for key, value in overrides.items() if key != "download"},
        hop_s=embedding.hop / SAMPLE_RATE if is_frames else None,
        extra="ssl",
        licence="the checkpoint's own",
    )


# --- joined sets and trimming ------------------------------------------------------------------------

# Floats: the frames in which the level is measured, librosa's defaults.
_TRIM_WINDOW, _TRIM_HOP = 2048, 512
_TINY_POWER = 1e-10


def trim_silence(x: Floats, top_db: float) -> Floats:
    """Cut the silent ends of a recording, as ``librosa.effects.trim``.

    Statistics over a whole recording also describe the silence around the words, that is how it was cut. On
    RAVDESS trimming gave ComParE_2016 and a linear classifier four points of UAR (docs/experiments).

    Args:
        x: samples, ``(n,)``.
        top_db: the result begins and ends with a frame at most this far below the loudest one.

    Returns:
        ``(m,)``: silence in between stays, and so does all of a digitally silent recording.
    """
    power = np.pad(x.astype(np.float64) ** 2, _TRIM_WINDOW // 2)
    total = np.concatenate([[0.0], np.cumsum(power)])
    start = np.arange(0, len(power) - _TRIM_WINDOW + 1, _TRIM_HOP)
    mean = (total[start + _TRIM_WINDOW] - total[start]) / _TRIM_WINDOW
    level_db = 10 * np.log10(np.maximum(mean, _TINY_POWER))
    loud = np.flatnonzero(level_db > level_db.max() - top_db)
    # The last centred frame may begin after the end of the samples.
    first = min(int(loud[0]) * _TRIM_HOP, len(x) - 1)
    return np.ascontiguousarray(x[first : (int(loud[-1]) + 1) * _TRIM_HOP])


def _joined_set(name: str, overrides: Mapping[str, Any]) -> FeatureSet:
    """Join vector sets, computed of the recording as it is or of the trimmed one."""
    trim_db = overrides.get("trim_db")
    own = {key: value for key, value in overrides.items() if key != "trim_db"}
    if trim_db is not None and not (_is_number(trim_db) and 0 < trim_db <= 120):
        raise ConfigError(f"trim_db is {trim_db!r}; expected decibels below the loudest, over 0 to 120")
    names = name.split("+")
    if len(set(names)) < len(names):
        raise ConfigError(f"{name!r} contains a set twice")
    if len(names) > 1 and own:
        raise ConfigError(f"joined sets take trim_db alone, got {', '.join(own)}")
    sets = tuple(find_feature_set(each, own) for each in names)
    if frames := [one.name for one in sets if one.kind == "frames"]:
        raise ConfigError(f"{frames[0]!r} is a set of frames; + and trim_db are for vector sets")
    extras = {one.extra for one in sets if one.extra}
    return FeatureSet(
        name=name,
        kind="vector",
        description=" beside ".join(one.description for one in sets),
        source="; ".join(dict.fromkeys(one.source for one in sets)),
        names=partial(_joined_names, sets),
        compute=partial(_compute_joined, sets=sets, trim_db=trim_db),
        definition={"trim_db": trim_db, "frames": [_TRIM_WINDOW, _TRIM_HOP]},
        depends=partial(_joined_digests, sets),
        overrides=dict(overrides),
        size=sum(one.n_columns for one in sets),
        extra=",".join(sorted(extras)) or None,
        licence="; ".join(dict.fromkeys(one.licence for one in sets)),
    )


def _joined_names(sets: tuple[FeatureSet, ...]) -> tuple[str, ...]:
    if len(sets) == 1:  # trimmed, not joined
        return sets[0].columns
    return tuple(f"{one.name}:{column}" for one in sets for column in one.columns)


def _joined_digests(sets: tuple[FeatureSet, ...]) -> dict[str, Any]:
    return {"sets": [one.digest for one in sets]}


def _compute_joined(
    x: Floats, sample_rate: int, *, sets: tuple[FeatureSet, ...], trim_db: float | None
) -> Floats:
    samples = x if trim_db is None else trim_silence(x, trim_db)
    return np.concatenate([one(samples, sample_rate) for one in sets])
