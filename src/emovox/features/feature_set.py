"""Sets of features by name: the table, encoders, and several sets side by side.

::

    seed = feature_set("seed-full")
    row = seed(x, 16_000)                                       # (len(seed.columns),) float32
    other = feature_set("seed-full", {"mfcc.n_mfcc": 13})       # another set, with another digest
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from emovox.audio import SAMPLE_RATE
from emovox.errors import ConfigError, did_you_mean
from emovox.features import core, encoders, joined, opensmile
from emovox.features.composed import Part, changed, composed, is_number
from emovox.features.definition import FeatureSet
from emovox.features.frames import FrameSettings
from emovox.features.functionals import ELEVEN

__all__ = ["SETS", "feature_set"]

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
        columns=partial(opensmile.columns, name),
        size=entry.size,
        compute=partial(opensmile.compute, name=name),
        definition={"opensmile_config": entry.config},
        depends=opensmile.depends,
        extra="opensmile",
        licence=opensmile.LICENCE,
    )
    for name, entry in opensmile.SMILE.items()
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
    if trim_db is not None and not (is_number(trim_db) and 0 < trim_db <= 120):
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
            f"unknown feature set {name!r}; {did_you_mean(name, SETS)}  (several: A+B; encoder:NAME)"
        )
    found = SETS[name]
    return changed(found, overrides) if overrides else found
