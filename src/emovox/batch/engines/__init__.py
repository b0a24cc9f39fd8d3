"""Engines by name. Each is a file; none knows what the shards are about."""

from __future__ import annotations

from importlib import import_module

from emovox.batch.engines.base import Engine, Factory, Shard, ShardDone
from emovox.batch.engines.local import LocalEngine
from emovox.errors import ConfigError, did_you_mean

__all__ = ["ENGINES", "Engine", "Factory", "LocalEngine", "Shard", "ShardDone", "engine"]

ENGINES: tuple[str, ...] = ("local", "ray")
"""What there is."""


def engine(name: str = "local", *, address: str | None = None) -> Engine:
    """An engine, by its name.

    Args:
        address: of a cluster that runs already, for an engine that knows any.

    Raises:
        ConfigError: there is no such engine, or it knows no addresses.
        MissingExtraError: it needs an extra that is not installed.
    """
    if name == "ray":
        made: Engine = import_module("emovox.batch.engines.ray").RayEngine(address=address)
        return made
    if name != "local":
        raise ConfigError(f"unknown engine {name!r}; {did_you_mean(name, ENGINES)}")
    if address is not None:
        raise ConfigError(
            f"address {address!r} is of a cluster, and 'local' is this machine; take --engine ray"
        )
    return LocalEngine()
