"""Engines process shards with workers: processes of this machine (``local``), or of a cluster (``ray``)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, TypeAlias

from emovox._parallel import Outcome, map_unordered
from emovox.errors import ConfigError, did_you_mean

__all__ = ["ENGINES", "Engine", "LocalEngine", "Shard", "ShardResult", "WorkerFactory", "make_engine"]

ENGINES: tuple[str, ...] = ("local", "ray")


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work. A worker reads its recordings, and writes its part, itself."""

    number: int
    """From 0."""
    attempt: int = 1
    """1: all its recordings; above: those that failed in the attempt before."""


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A worker's report on a shard whose part is written; the rows themselves are never sent."""

    shard: Shard
    n_items: int
    n_failed: int
    """Recordings whose row is an error."""
    n_rows: int
    audio_s: float
    problem: str | None = None
    """Why there is no part after all, such as a full disk: other shards would fail likewise."""


WorkerFactory: TypeAlias = Callable[[], Callable[[Shard], ShardResult]]
"""Picklable; called once in each worker, where it loads the model. What it returns is called for each
shard."""


class Engine(Protocol):
    """Runs shards on workers."""

    @property
    def name(self) -> str:
        """The name for ``--engine``."""

    def run(
        self, factory: WorkerFactory, shards: Iterable[Shard], *, workers: int
    ) -> Generator[Outcome[Shard, ShardResult]]:
        """Process every shard; yield outcomes in any order. Closing the generator ends the workers.

        A shard may be done again, wholly or in part, by another worker: its part appears complete and does
        not depend on the worker. So an engine may repeat a shard whose worker was lost, or return it as an
        outcome with an error; the caller decides whether to try again.

        Args:
            shards: read only a little further than there are idle workers.
            workers: how many work at a time.

        Raises:
            ConfigError: at once or while iterating: there cannot be so many workers.
            EmovoxError: while iterating: no worker can be started.
        """


class LocalEngine:
    """Processes of this machine; one that dies is replaced, and its shard returned with an error."""

    name = "local"

    def run(
        self, factory: WorkerFactory, shards: Iterable[Shard], *, workers: int
    ) -> Generator[Outcome[Shard, ShardResult]]:
        """See `Engine.run`."""
        return map_unordered(factory, shards, workers=workers)


def make_engine(name: str = "local", *, address: str | None = None) -> Engine:
    """Create an engine by its name.

    Args:
        address: of a running cluster, for ``ray``.

    Raises:
        ConfigError: there is no such engine, or it has no addresses.
        MissingExtraError: it needs an extra that is not installed.
    """
    if name == "ray":
        engine: Engine = import_module("emovox.batch.engines.ray").RayEngine(address=address)
        return engine
    if name != "local":
        raise ConfigError(f"unknown engine {name!r}; {did_you_mean(name, ENGINES)}")
    if address is not None:
        raise ConfigError(f"address {address!r} is of a cluster; 'local' is this machine: use --engine ray")
    return LocalEngine()
