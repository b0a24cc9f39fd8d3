"""Settings in typed dataclasses, built of YAML or mappings: an unknown key or a wrong type is an error.

YAML is read as version 1.2: ``1e-3`` is a number, ``no`` is a text, and a key may occur only once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from emovox.errors import ConfigError, MissingExtraError, did_you_mean

__all__ = ["abbreviate", "build_section", "dump_yaml", "join_key", "load_yaml", "parse_yaml", "section_of"]

_Section = TypeVar("_Section")


def load_yaml(path: Path, *, extra: str = "classical") -> dict[str, Any]:
    """Read the keys and values of a YAML file; an empty one has none.

    Args:
        extra: that brings PyYAML, for the message.

    Raises:
        ConfigError: there is no such file, or it is not YAML, or holds something else.
        MissingExtraError: PyYAML is not installed.
    """
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"), str(path), extra=extra)
    except FileNotFoundError:
        raise ConfigError(f"there is no config {str(path)!r}; expected a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config {str(path)!r} cannot be read: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{str(path)!r} holds {abbreviate(values)}; expected keys and values")
    return values


def parse_yaml(text: str, where: str, *, extra: str = "classical") -> Any:
    """Parse a YAML text; ``where`` names it in messages.

    Raises:
        ConfigError: it is not YAML.
        MissingExtraError: PyYAML is not installed.
    """
    yaml = _yaml(extra)
    try:
        return yaml.load(text, _loader())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{where}: it is not YAML: {' '.join(str(error).split())}") from None


def dump_yaml(values: Any) -> str:
    """Write plain values as text that `parse_yaml` reads back to the same."""
    text: str = _yaml().dump(values, Dumper=_dumper(), sort_keys=False, allow_unicode=True)
    return text


def _yaml(extra: str = "classical") -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("reading and writing YAML", extra) from error
    return yaml


_SCALARS: Mapping[str, str] = {
    "bool": "true|false",
    "int": r"[-+]?\d+",
    "float": r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.inf|\.nan",
}
"""Plain scalars that YAML 1.2 reads as more than a text. PyYAML reads those of YAML 1.1."""


@cache
def _loader() -> Any:
    """PyYAML's safe loader with the numbers and booleans of YAML 1.2; a repeated key is an error."""
    base: Any = _yaml().SafeLoader

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar = {
            first: [pair for pair in pairs if not pair[0].endswith((":bool", ":float", ":int", ":timestamp"))]
            for first, pairs in base.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise ValueError(f"the key {twice[0]!r} occurs twice")
            found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            return found

    for tag, pattern in _SCALARS.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^({pattern})$"), None)
    Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
    return Loader


@cache
def _dumper() -> Any:
    """PyYAML's safe dumper, which also quotes the texts that only YAML 1.2 reads as numbers, such as 1e3."""
    base: Any = _yaml().SafeDumper

    class Dumper(base):  # type: ignore[misc]
        pass

    Dumper.add_implicit_resolver(
        "tag:yaml.org,2002:float-1.2", re.compile(f"^({_SCALARS['float']})$"), list("-+.0123456789")
    )
    return Dumper


def build_section(cls: type[_Section], values: Any, where: str) -> _Section:
    """Make the dataclass ``cls`` of nested mappings; ``where`` is their dotted key, for messages.

    Raises:
        ConfigError: an unknown or missing key, or a value of another type; the message names the key.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'the config'}: expected keys and values, got {abbreviate(values)}")
    hints = get_type_hints(cls)
    for key in values:
        if key not in hints:
            name, known = join_key(where, key), [join_key(where, one) for one in hints]
            raise ConfigError(f"unknown setting {name!r}; {did_you_mean(name, known, listed=hints)}")
    for one in fields(cls):  # type: ignore[arg-type]
        if one.default is MISSING and one.default_factory is MISSING and one.name not in values:
            raise ConfigError(f"the setting {join_key(where, one.name)!r} is missing")
    return cls(**{key: _convert(hints[key], value, join_key(where, key)) for key, value in values.items()})


def section_of(hint: Any, values: Any, where: str) -> Any:
    """Return the dataclass that ``hint`` means: of several, the one of that ``kind``, else the first."""
    options = [one for one in get_args(hint) if is_dataclass(one)]
    if len(options) < 2:
        return options[0] if options else hint
    kinds: dict[str, Any] = {str(one.__dataclass_fields__["kind"].default): one for one in options}
    kind = values.get("kind", next(iter(kinds))) if isinstance(values, Mapping) else next(iter(kinds))
    if kind not in kinds:
        raise ConfigError(f"{where}.kind is {kind!r}; expected one of {', '.join(kinds)}")
    return kinds[kind]


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check ``value`` against the type ``hint``. Only whole numbers are converted, to floats and to texts."""
    origin = get_origin(hint)
    if origin is UnionType:
        if value is None and type(None) in get_args(hint):
            return None
        inner = section_of(hint, value, where)
        return _convert(get_args(hint)[0] if inner is hint else inner, value, where)
    if origin is Literal:
        known = get_args(hint)
        if value in known:
            return str(value)
        raise ConfigError(f"{where} is {abbreviate(value)}; {did_you_mean(value, known)}")
    if is_dataclass(hint):
        return build_section(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list | tuple):
            return tuple(_convert(get_args(hint)[0], item, f"{where}[{n}]") for n, item in enumerate(items))
    elif origin is dict and isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    elif hint is bool and isinstance(value, bool):
        return value
    elif hint is str and isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    elif hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    elif (
        hint is float and isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
    ):
        return float(value)
    raise ConfigError(f"{where} is {abbreviate(value)}; expected {_EXPECTED[origin or hint]}")


_EXPECTED: Mapping[Any, str] = {
    bool: "true or false",
    dict: "keys and values",
    float: "a finite number",
    int: "a whole number",
    str: "a text",
    tuple: "a list",
}


def join_key(where: str, key: object) -> str:
    """Return the dotted key of ``key`` below ``where``."""
    return f"{where}.{key}" if where else str(key)


def abbreviate(value: Any) -> str:
    """Return a value for a message, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
