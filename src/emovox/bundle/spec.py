"""What is known about a model, as ``spec.json`` holds it; read strictly.

Plain dataclasses that check themselves, not pydantic, whose import and schemas cost every start of the
library 0.06 s and 12 MiB, a fifth of all it needs to answer.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from types import UnionType
from typing import Any, NoReturn, Self, SupportsIndex, get_args, get_origin, get_type_hints

from emovox.errors import BundleVersionError
from emovox.labels import ALIASES

__all__ = ["SCHEMA", "Abstain", "Input", "Licence", "Score", "Spec"]

SCHEMA = 1
"""Version of ``spec.json`` that this code writes and reads."""

_MAX_TIME_S = 3600.0
_KINDS = ("waveform", "frames", "vector")


class _Record:
    """A frozen dataclass whose values have the types that it names, however it was made.

    Whole numbers are taken for a float and lists for a tuple, as JSON knows no other; nothing else is bent.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _fitted(hint, getattr(self, name), name))
        self._agree()

    def _agree(self) -> None:
        """Raise ValueError, naming the key, when the values contradict each other."""

    @classmethod
    def from_dict(cls, values: Any, where: str = "") -> Self:
        """Read what `to_dict` gave; ``where`` it stood is for the messages.

        Raises:
            ValueError: not an object; a key is missing, unknown, or has a wrong value. The message names it.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{where or 'it'}: expected an object, got {_shown(values)}")
        before = f"{where}." if where else ""
        for key in values.keys() - _hints(cls).keys():
            near = difflib.get_close_matches(str(key), _hints(cls), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{before}{key}: unknown key{hint}")
        for key in _required(cls) - values.keys():
            raise ValueError(f"{before}{key}: it is missing")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{before}{error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, tuples for lists."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input(_Record):
    """What the graph wants: the waveform itself, or features of it (with which parameters)."""

    kind: str
    """``waveform``, ``frames`` or ``vector``."""
    features: dict[str, Any] | None = None

    def _agree(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(_KINDS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstain(_Record):
    """When the recogniser gives no label."""

    confidence: float
    """Below this, 0 to 1, the reason is ``uncertain``."""

    def _agree(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence: {self.confidence} is not a share, 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(_Record):
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
class Licence(_Record):
    """Code and weights are licensed apart."""

    code: str
    weights: str
    commercial: bool
    """May the weights be used commercially?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(_Record):
    """All that is known about a model.

    Raises:
        ValueError: a value has another type than named here, or contradicts another; the message names it.
    """

    schema: int = SCHEMA
    name: str
    version: str
    description: str
    labels: tuple[str, ...]
    """Canonical names, in the order of the logits."""
    sample_rate: int = 16_000
    input: Input
    window_s: float
    hop_s: float
    min_s: float
    """Sound shorter than this is not judged."""
    clip_s: float
    """Sound up to this long is judged in one run, longer sound by windows."""
    normaliser: dict[str, Any] | None = None
    temperature: float
    abstain: Abstain
    corpora: tuple[str, ...]
    protocol: str
    scores: tuple[Score, ...] = ()
    licence: Licence
    sha256: str = ""
    """Of ``model.onnx``; filled in by `write_bundle`."""
    created: str = ""
    """ISO 8601, UTC; filled in by `write_bundle` when empty."""

    def _agree(self) -> None:
        self._agree_on_labels()
        self._agree_on_times()
        if self.schema != SCHEMA:
            raise ValueError(f"schema: {self.schema}, expected {SCHEMA}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", self.name):
            raise ValueError(f"name: {self.name!r}; expected small letters, digits, '.', '_' and '-'")
        if not re.fullmatch(r"([0-9a-f]{64})?", self.sha256):
            raise ValueError(f"sha256: {self.sha256!r}; expected 64 hexadecimal digits")
        if self.sample_rate != 16_000:
            raise ValueError(f"sample_rate: {self.sample_rate}, expected 16000")
        if not self.temperature > 0:
            raise ValueError(f"temperature: {self.temperature}; expected more than 0")
        if self.input.kind == "waveform" and (self.input.features or self.normaliser):
            raise ValueError(
                "input: a waveform model has its front end in the graph, features and normaliser must be null"
            )

    def _agree_on_labels(self) -> None:
        if not self.labels:
            raise ValueError("labels: there is none")
        for label in self.labels:
            if ALIASES.get(label) != label:
                raise ValueError(f"labels: {label!r} is not a canonical emotion name")
            if self.labels.count(label) > 1:
                raise ValueError(f"labels: {label!r} is named twice")

    def _agree_on_times(self) -> None:
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
        values = _parsed(text)
        schema = values.get("schema") if isinstance(values, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise BundleVersionError(
                f"it has schema {schema}, this emovox reads up to {SCHEMA}: update emovox"
            )
        if isinstance(values, dict) and schema is None:  # it could mean anything
            raise ValueError("schema: it is missing")
        return cls.from_dict(values)

    def to_json(self) -> str:
        """The text of ``spec.json``."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _parsed(text: bytes) -> Any:
    """JSON -> Python, strictly: UTF-8, no NaN, no key twice, no endless nesting. Raises ValueError."""
    try:
        return json.loads(text.decode(), parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
    except RecursionError:
        raise ValueError("it is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has a key twice")
    return values


# ---------------------------------------------------------------------------------------------- types


def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _required(cls: Any) -> frozenset[str]:
    return frozenset(field.name for field in fields(cls) if field.default is MISSING)


def _fitted(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint`` has it; ValueError when it is none, naming ``where``."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return None if value is None else _fitted(inner[0], value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_fitted(inner[0], item, f"{where}.{i}") for i, item in enumerate(value))
    if isinstance(hint, type) and issubclass(hint, _Record):
        return value if isinstance(value, hint) else hint.from_dict(value, where)
    if origin is dict and isinstance(value, dict):
        return dict(value)
    if hint in _FITS and (fit := _FITS[hint](value)) is not None:
        return fit
    raise ValueError(f"{where}: expected {_WORDS[origin or hint]}, got {_shown(value)}")


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond any float
        return None


def _int(value: Any) -> int | None:
    return value.__index__() if isinstance(value, SupportsIndex) and not isinstance(value, bool) else None


def _str(value: Any) -> str | None:
    """Half a surrogate pair is a str to Python, and no text to anyone else."""
    return str(value) if isinstance(value, str) and not re.search("[\ud800-\udfff]", value) else None


_FITS: dict[Any, Callable[[Any], Any]] = {
    bool: lambda value: value if isinstance(value, bool) else None,
    float: _float,
    int: _int,
    str: _str,
}
_WORDS = {
    bool: "true or false",
    dict: "an object",
    float: "a finite number",
    int: "a whole number",
    str: "a text",
    tuple: "a list",
}


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:60] + "..."
