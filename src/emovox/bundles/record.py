"""Frozen records that are read from JSON strictly: the parts of a spec and of a profile.

Plain dataclasses that check themselves, not pydantic, whose import and schemas cost every start of the
library 0.06 s and 12 MiB, a fifth of all it needs to answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from types import UnionType
from typing import Any, NoReturn, Self, SupportsIndex, get_args, get_origin, get_type_hints

from emovox.errors import did_you_mean

__all__ = ["Record", "parse_json"]


class Record:
    """A frozen dataclass whose values have the types that it names, however it was made.

    Whole numbers are accepted for a float and lists for a tuple, as JSON has no other; nothing else is.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            object.__setattr__(self, name, _convert(hint, getattr(self, name), name))
        self._check()

    def _check(self) -> None:
        """Raise ValueError, naming the key, when the values contradict each other."""

    @classmethod
    def from_dict(cls, values: Any, where: str = "") -> Self:
        """Read what `to_dict` returned; ``where`` it was found is for the messages.

        Raises:
            ValueError: not an object; a key is missing, unknown, or has a wrong value. The message names it.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{where or 'it'}: expected an object, got {_shorten(values)}")
        before = f"{where}." if where else ""
        for key in values.keys() - _hints(cls).keys():
            raise ValueError(f"{before}{key}: unknown key; {did_you_mean(key, _hints(cls))}")
        for key in sorted(_required(cls) - values.keys()):
            raise ValueError(f"{before}{key}: it is missing")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{before}{error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, tuples for lists."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]


def parse_json(text: bytes) -> Any:
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
    return frozenset(
        field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING
    )


def _convert(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint`` has it; ValueError when it is none, naming ``where``."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return None if value is None else _convert(inner[0], value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_convert(inner[0], item, f"{where}.{i}") for i, item in enumerate(value))
    if isinstance(hint, type) and issubclass(hint, Record):
        return value if isinstance(value, hint) else hint.from_dict(value, where)
    if origin is dict and isinstance(value, dict):
        return dict(value)
    if hint in _CONVERTERS and (fit := _CONVERTERS[hint](value)) is not None:
        return fit
    raise ValueError(f"{where}: expected {_TYPE_NAMES[origin or hint]}, got {_shorten(value)}")


def _to_float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond any float
        return None


def _to_int(value: Any) -> int | None:
    return value.__index__() if isinstance(value, SupportsIndex) and not isinstance(value, bool) else None


def _to_str(value: Any) -> str | None:
    """Half a surrogate pair is a str to Python, and no text anywhere else."""
    return str(value) if isinstance(value, str) and not re.search("[\ud800-\udfff]", value) else None


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    bool: lambda value: value if isinstance(value, bool) else None,
    float: _to_float,
    int: _to_int,
    str: _to_str,
}
_TYPE_NAMES = {
    bool: "true or false",
    dict: "an object",
    float: "a finite number",
    int: "a whole number",
    str: "a text",
    tuple: "a list",
}


def _shorten(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:60] + "..."
