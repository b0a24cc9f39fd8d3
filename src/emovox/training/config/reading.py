"""From YAML and ``key=value`` to typed sections, and back to YAML.

YAML is read as version 1.2 has it: ``1e-3`` is a number, ``no`` is a word, and no key may stand twice.
Nothing here depends on what the sections say but ``model.kind``: their fields are asked for types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin, get_type_hints

from emovox.errors import ConfigError, MissingExtraError, did_you_mean, nearest
from emovox.training.config.sections import MODELS, ComparisonConfig, Config

__all__ = ["read_comparison", "read_config", "to_yaml"]

_Section = TypeVar("_Section")


def read_config(path: str | Path | None, changes: Sequence[str] = ()) -> Config:
    """The experiment in the file ``path`` (``None``: all defaults), with ``key=value`` changes.

    Raises:
        ConfigError: no such file, an unknown key or an impossible value; the message names the nearest key.
        MissingExtraError: PyYAML is not installed.
    """
    return _read(Config, path, changes)


def read_comparison(path: str | Path | None, changes: Sequence[str] = ()) -> ComparisonConfig:
    """As `read_config`, for a comparison."""
    return _read(ComparisonConfig, path, changes)


def to_yaml(config: Config | ComparisonConfig) -> str:
    """The text that `read_config` or `read_comparison` reads back to the same."""
    text: str = _yaml().dump(_plain(asdict(config)), Dumper=_dumper(), sort_keys=False, allow_unicode=True)
    return text


def _read(cls: type[_Section], path: str | Path | None, changes: Sequence[str]) -> _Section:
    values = {} if path is None else _loaded(Path(path))
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise ConfigError(f"{change!r} is not a setting; expected key=value, such as seed=1")
        _put(cls, values, key.strip(), _parsed(text, change))
    return _section(cls, values, "")


def _loaded(path: Path) -> dict[str, Any]:
    try:
        values = _parsed(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError(f"there is no config {str(path)!r}; expected a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config {str(path)!r} cannot be read: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{str(path)!r} holds {_shown(values)}; expected keys and values")
    return values


# ------------------------------------------------------------------------------------------------ YAML


def _parsed(text: str, where: str) -> Any:
    yaml = _yaml()
    try:
        return yaml.load(text, _loader())
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{where}: it is not YAML: {' '.join(str(error).split())}") from None


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("reading and writing YAML", "classical") from error
    return yaml


@cache
def _loader() -> Any:
    """PyYAML's safe loader, with numbers and booleans as YAML 1.2 has them, and no key twice."""
    base: Any = _yaml().SafeLoader

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar = {
            first: [pair for pair in pairs if not pair[0].endswith((":bool", ":float", ":int", ":timestamp"))]
            for first, pairs in base.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if twice := [key for key in keys if keys.count(key) > 1]:
                raise ValueError(f"the key {twice[0]!r} stands twice")
            found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            return found

    for tag, pattern in _SCALARS.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^({pattern})$"), None)
    Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node)))
    return Loader


@cache
def _dumper() -> Any:
    """PyYAML's safe dumper, which also quotes the texts that only YAML 1.2 takes for numbers, such as 1e3."""
    base: Any = _yaml().SafeDumper

    class Dumper(base):  # type: ignore[misc]
        pass

    Dumper.add_implicit_resolver(
        "tag:yaml.org,2002:float-1.2", re.compile(f"^({_SCALARS['float']})$"), list("-+.0123456789")
    )
    return Dumper


_SCALARS: Mapping[str, str] = {
    "bool": "true|false",
    "int": r"[-+]?\d+",
    "float": r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.inf|\.nan",
}
"""How a plain word has to look to be more than a text, in YAML 1.2."""


# ----------------------------------------------------------------------------------- values and types


def _section(cls: type[_Section], values: Any, where: str) -> _Section:
    """``values`` as the dataclass ``cls``; ``where`` it stood is for the messages."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'the config'}: expected keys and values, got {_shown(values)}")
    hints = get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ConfigError(f"unknown setting {_join(where, key)!r}; {_hint(str(key), hints, where)}")
    for one in fields(cls):  # type: ignore[arg-type]
        if _is_required(one) and one.name not in values:
            raise ConfigError(f"the setting {_join(where, one.name)!r} is missing")
    return cls(**{key: _fitted(hints[key], value, _join(where, key)) for key, value in values.items()})


def _class_of(hint: Any, values: Any, where: str = "model") -> Any:
    """The section that ``hint`` means: of several, the one that ``kind`` names."""
    options = [one for one in get_args(hint) if is_dataclass(one)]
    if len(options) < 2:
        return options[0] if options else hint
    kind = values.get("kind", "classical") if isinstance(values, Mapping) else "classical"
    if kind not in MODELS:
        raise ConfigError(f"{where}.kind is {kind!r}; expected one of {', '.join(MODELS)}")
    return MODELS[kind]


def _is_required(one: Any) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _fitted(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint`` has it. Nothing is bent but whole numbers, to floats and to texts."""
    if get_origin(hint) is UnionType:
        if value is None and type(None) in get_args(hint):
            return None
        inner = _class_of(hint, value, where)
        return _fitted(get_args(hint)[0] if inner is hint else inner, value, where)
    if get_origin(hint) is Literal:
        return _one_of(get_args(hint), value, where)
    if is_dataclass(hint):
        return _section(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list | tuple):
            return tuple(_fitted(get_args(hint)[0], item, f"{where}[{n}]") for n, item in enumerate(items))
    elif get_origin(hint) is dict and isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    elif hint is bool and isinstance(value, bool):
        return value
    elif hint is str and isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    elif hint in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if hint is float and math.isfinite(value):
            return float(value)
        if hint is int and isinstance(value, int):
            return value
    raise ConfigError(f"{where} is {_shown(value)}; expected {_WORDS[get_origin(hint) or hint]}")


def _one_of(known: Sequence[str], value: Any, where: str) -> str:
    if value in known:
        return str(value)
    raise ConfigError(f"{where} is {_shown(value)}; {did_you_mean(value, known)}")


_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    dict: "keys and values",
    float: "a finite number",
    int: "a whole number",
    str: "a text",
    tuple: "a list",
}


def _put(cls: Any, values: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted ``key``. Below a field of free keys, such as ``params``, the rest is one key."""
    at, hints, path = values, get_type_hints(cls), key.split(".")
    for n, name in enumerate(path):
        inner = hints.get(name)
        if inner is None:
            raise ConfigError(f"unknown setting {key!r}; {_nearest(key, list(_keys(cls)))}")
        if n == len(path) - 1:
            at[name] = value
            return
        inside = at.get(name)
        at[name] = inside = dict(inside) if isinstance(inside, Mapping) else {}
        inner = _class_of(inner, inside)
        if get_origin(inner) is dict:
            inside[".".join(path[n + 1 :])] = value
            return
        if not is_dataclass(inner):
            raise ConfigError(f"unknown setting {key!r}: {'.'.join(path[: n + 1])} has nothing inside")
        at, hints = inside, get_type_hints(inner)


def _keys(cls: Any, where: str = "") -> Iterator[str]:
    """Every dotted key that there is."""
    for name, hint in get_type_hints(cls).items():
        yield _join(where, name)
        for inner in get_args(hint) or (hint,):
            if is_dataclass(inner):
                yield from _keys(inner, _join(where, name))


def _hint(key: str, hints: Mapping[str, Any], where: str) -> str:
    near = nearest(key, hints)
    return f"did you mean {_join(where, near)!r}?" if near else f"there are {', '.join(hints)}"


def _nearest(key: str, known: Sequence[str]) -> str:
    same = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = nearest(key, known, cutoff=0.75) or next(iter(same), None) or nearest(key, known)
    if near:
        return f"did you mean {near!r}?"
    return f"there are {', '.join(known)}; a parameter of the estimator is typed model.params.{key}"


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _plain(value: Any) -> Any:
    """Types that YAML knows."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
