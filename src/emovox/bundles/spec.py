"""What is known about a model: the contents of ``spec.json``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Self

from emovox.audio import SAMPLE_RATE
from emovox.bundles.record import Record, parse_json
from emovox.errors import BundleVersionError
from emovox.labels import is_label

__all__ = [
    "LARGEST",
    "SCHEMA",
    "Abstain",
    "EmbeddingAdaptation",
    "Features",
    "Input",
    "Licence",
    "Population",
    "Score",
    "SpeakerNormalization",
    "Spec",
    "SpeechOutput",
    "StreamMemory",
    "Target",
]

SCHEMA = 3
"""The newest version of ``spec.json`` that this code reads: 3 with ``stream``, 2 with values, else 1."""

_MAX_TIME_S = 3600.0
LARGEST = 1e18
"""No feature is larger; openSMILE's reach 1e12."""

_LEAST_STD = 1e-16
"""Divided by less, the largest would leave the range of float32; openSMILE's deviate by 4e-9 and more."""
_KINDS = ("waveform", "frames", "vector")


@dataclass(frozen=True, slots=True, kw_only=True)
class Features(Record):
    """The features that the graph takes: a set of `emovox.features`, as its ``reference()`` describes it."""

    set: str
    overrides: dict[str, Any] = field(default_factory=dict)
    """What is changed against the set of that name."""
    digest: str
    """Of all that the values depend on; compared with the set's own when the bundle opens."""
    columns: tuple[str, ...] | None = None
    """Those of the set's columns that the graph takes, in its order; all of them when null."""

    def _check(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{8,64}", self.digest):
            raise ValueError(f"digest: {self.digest!r}; expected the hexadecimal digits of a feature set")
        if self.columns is not None and len({*self.columns}) != len(self.columns):
            raise ValueError("columns: one is named twice")
        if self.columns is not None and not self.columns:
            raise ValueError("columns: there is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input(Record):
    """The input of the graph: the waveform itself, or features of it."""

    kind: str
    """``waveform``; ``vector``, one row of features per recording; or ``frames``, rows over time."""
    features: Features | None = None

    def _check(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(_KINDS)}")
        if self.kind != "waveform" and self.features is None:
            raise ValueError(f"features: a {self.kind} model must say which, with set, overrides and digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Population(Record):
    """Mean and standard deviation of every column over the speakers a model was trained on."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    """0 where the column was constant: it is then shifted only."""

    def _check(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(f"std: it has {len(self.std)} values, mean has {len(self.mean)}")
        if not all(value == 0 or _LEAST_STD <= value <= LARGEST for value in self.std):
            raise ValueError(f"std: expected 0, or values from {_LEAST_STD:g} to {LARGEST:g}")
        if not all(-LARGEST <= value <= LARGEST for value in self.mean):
            raise ValueError(f"mean: expected values from {-LARGEST:g} to {LARGEST:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerNormalization(Record):
    """How columns are normalized before the graph: by the population, or by the speaker of a `Profile`."""

    kind: str
    """``speaker``."""
    shrink: float
    """A speaker with n clips has the weight n / (n + shrink), the population the rest."""
    population: Population

    def _check(self) -> None:
        if self.kind != "speaker":
            raise ValueError(f"kind: {self.kind!r}; expected 'speaker'")
        if not self.shrink > 0:
            raise ValueError(f"shrink: {self.shrink:g}; expected more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingAdaptation(Record):
    """How a graph with an input ``offset`` is adapted to a source: see `emovox.inference.adaptation`."""

    shrinkage: float = 5.0
    """A source with n clips has the weight n / (n + shrinkage)."""
    mean: tuple[float, ...]
    """Mean of the embedding over the training population, ``(d,)``."""
    neutral_mean: tuple[float, ...] | None = None
    """Likewise over its neutral clips, ``(d,)``; ``None``: not known."""

    def _check(self) -> None:
        if not self.shrinkage > 0:
            raise ValueError(f"shrinkage: {self.shrinkage:g}; expected more than 0")
        if not self.mean:
            raise ValueError("mean: it is empty")
        if self.neutral_mean is not None and len(self.neutral_mean) != len(self.mean):
            raise ValueError(f"neutral_mean: {len(self.neutral_mean)} values, mean has {len(self.mean)}")
        if not all(-LARGEST <= value <= LARGEST for value in (*self.mean, *(self.neutral_mean or ()))):
            raise ValueError(f"mean: expected values from {-LARGEST:g} to {LARGEST:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechOutput(Record):
    """How the output ``speech`` of a graph is read."""

    threshold: float
    """Below this probability, 0 to 1, a sound is not speech."""

    def _check(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold: {self.threshold} is not a probability, 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMemory(Record):
    """How overlapping windows share frames in a graph with an input ``memory``."""

    block_s: float
    """Seconds of new sound that are encoded at a time: the hop of the windows that share frames."""
    memory_s: float
    """Seconds of earlier sound that the graph remembers: such a window has at most ``block_s`` more."""
    frames_per_s: float
    """Frames of the graph, of which ``span`` chooses those that are averaged."""

    def _check(self) -> None:
        for name in ("block_s", "memory_s", "frames_per_s"):
            if not 0 < getattr(self, name) <= _MAX_TIME_S:
                raise ValueError(f"{name}: {getattr(self, name):g}; expected more than 0, at most 3600")
        samples = SAMPLE_RATE / self.frames_per_s
        if samples % 1 or self.block_s * SAMPLE_RATE % samples:
            raise ValueError(
                f"frames_per_s: {self.frames_per_s:g}; expected frames of whole samples, and whole frames in "
                f"block_s, {self.block_s:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Record):
    """A continuous target, such as arousal, whose value the graph returns."""

    name: str
    low: float
    """Least value in the training. Predicted values may be outside of ``low`` and ``high``."""
    high: float
    unit: str = ""
    """Such as ``years``; empty for a scale without a unit."""
    words: dict[str, Any] = field(default_factory=dict)
    """Words that stood for numbers in the data of the training, such as ``normal``: 0."""

    def _check(self) -> None:
        if not re.fullmatch(r"[^\W_][\w .-]{0,63}", self.name):
            raise ValueError(f"name: {self.name!r}; expected letters, digits, '_', '.', '-' and blanks")
        if not self.low < self.high:
            raise ValueError(f"high: {self.high:g}; expected more than low, {self.low:g}")
        for word, value in self.words.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
                raise ValueError(f"words.{word}: expected a number, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstain(Record):
    """When the recognizer returns no label."""

    confidence: float
    """Below this, 0 to 1, the reason is ``uncertain``."""

    def _check(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence: {self.confidence} is not a share, 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Record):
    """One measured figure of the model, with its interval."""

    corpus: str
    protocol: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n_speakers: int | None = None
    n_clips: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence(Record):
    """Code and weights are licensed separately."""

    code: str
    weights: str
    commercial: bool
    """May the weights be used commercially?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Record):
    """All that is known about a model.

    Raises:
        ValueError: a value has another type than named here, or contradicts another; the message names it.
    """

    schema: int = 1
    """3 with ``stream``, 2 with ``targets``, which older versions of emovox cannot read; else 1."""
    name: str
    version: str
    description: str
    labels: tuple[str, ...]
    """Canonical names, in the order of the logits; empty in a model of values alone."""
    targets: tuple[Target, ...] = ()
    """What the values are of, in the order of the graph's output ``values``."""
    sample_rate: int = SAMPLE_RATE
    input: Input
    window_s: float
    hop_s: float
    min_s: float
    """Sound shorter than this is not predicted."""
    clip_s: float
    """Sound up to this long is predicted in one run, longer sound by windows."""
    normaliser: SpeakerNormalization | None = None
    """For a vector model that adapts to a speaker."""
    adaptation: EmbeddingAdaptation | None = None
    """For a waveform model whose graph has an input ``offset``."""
    speech: SpeechOutput | None = None
    """For a graph with an output ``speech``."""
    stream: StreamMemory | None = None
    """For a graph with an input ``memory``."""
    temperature: float
    abstain: Abstain
    corpora: tuple[str, ...]
    protocol: str
    taught: str = ""
    """Hashes of the clips that trained or validated it, by their contents (`emovox.evaluation`); empty where
    they are not known."""
    scores: tuple[Score, ...] = ()
    licence: Licence
    sha256: str = ""
    """Of ``model.onnx``; filled in by `write_bundle`."""
    created: str = ""
    """ISO 8601, UTC; filled in by `write_bundle` when empty."""

    def _check(self) -> None:
        self._check_labels()
        self._check_times()
        if self.schema != (expected := 3 if self.stream else 2 if self.targets else 1):
            raise ValueError(f"schema: {self.schema}, expected {expected}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", self.name):
            raise ValueError(f"name: {self.name!r}; expected small letters, digits, '.', '_' and '-'")
        if not re.fullmatch(r"([A-Za-z0-9+/]{8})*", self.taught):
            raise ValueError("taught: expected marks of eight letters of base64, one after the other")
        if not re.fullmatch(r"([0-9a-f]{64})?", self.sha256):
            raise ValueError(f"sha256: {self.sha256!r}; expected 64 hexadecimal digits")
        if self.sample_rate != SAMPLE_RATE:
            raise ValueError(f"sample_rate: {self.sample_rate}, expected {SAMPLE_RATE}")
        if not self.temperature > 0:
            raise ValueError(f"temperature: {self.temperature}; expected more than 0")
        self._check_input()

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the targets, in the order of the values."""
        return tuple(target.name for target in self.targets)

    def _check_input(self) -> None:
        kind, features = self.input.kind, self.input.features
        if kind == "waveform" and (features or self.normaliser):
            raise ValueError(
                "input: a waveform model has its front end in the graph, features and normaliser must be null"
            )
        if kind != "waveform" and self.adaptation is not None:
            raise ValueError(f"adaptation: it is for waveform models, not for {kind}; expected null")
        if kind != "waveform" and self.stream is not None:
            raise ValueError(f"stream: it is for waveform models, not for {kind}; expected null")
        if self.normaliser is None or features is None:
            return
        if kind != "vector":
            raise ValueError(f"normaliser: it is for rows of features, not for {kind}; expected null")
        n = len(self.normaliser.population.mean)
        if features.columns is not None and n != len(features.columns):
            raise ValueError(
                f"normaliser: it knows {n} columns, input.features names {len(features.columns)}"
            )

    def _check_labels(self) -> None:
        if not self.labels and not self.targets:
            raise ValueError("labels: there is none")
        names = [target.name for target in self.targets]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"targets: {twice[0]!r} is named twice")
        for label in self.labels:
            if not is_label(label):
                raise ValueError(
                    f"labels: {label!r} is not a canonical name, nor another label in plain spelling"
                )
            if self.labels.count(label) > 1:
                raise ValueError(f"labels: {label!r} is named twice")

    def _check_times(self) -> None:
        for name in ("window_s", "hop_s", "min_s", "clip_s"):
            if not 0 < getattr(self, name) <= _MAX_TIME_S:
                raise ValueError(f"{name}: {getattr(self, name):g}; expected more than 0, at most 3600")
        if not self.min_s <= self.window_s <= self.clip_s:
            raise ValueError(
                "window_s: expected min_s <= window_s <= clip_s, "
                f"got {self.min_s:g}, {self.window_s:g}, {self.clip_s:g}"
            )
        if self.hop_s > self.window_s:
            raise ValueError(f"hop_s: {self.hop_s:g} is longer than window_s, {self.window_s:g}")

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read the text of ``spec.json``.

        Raises:
            BundleVersionError: it was written by a newer emovox.
            ValueError: it is not JSON, or `from_dict` refuses it.
        """
        values = parse_json(text)
        schema = values.get("schema") if isinstance(values, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise BundleVersionError(
                f"it has schema {schema}, this emovox reads up to {SCHEMA}: update emovox"
            )
        if isinstance(values, dict) and schema is None:  # it could mean anything
            raise ValueError("schema: it is missing")
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, without the newer keys that a model does not have: older versions read it."""
        values = super(Spec, self).to_dict()
        return {
            name: value
            for name, value in values.items()
            if value is not None or name not in ("adaptation", "speech", "stream")
            if name != "targets" or value
        }

    def to_json(self) -> str:
        """Return the text of ``spec.json``."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
