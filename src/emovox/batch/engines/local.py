"""The processes of this machine."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from emovox._parallel import Outcome, map_unordered
from emovox.batch.engines.base import Factory, Shard, ShardDone

__all__ = ["LocalEngine"]


class LocalEngine:
    """Spawned processes, one a worker; one that dies is replaced, and its shard given back with an error."""

    name = "local"

    def run(
        self, factory: Factory, shards: Iterable[Shard], *, workers: int
    ) -> Generator[Outcome[Shard, ShardDone]]:
        """As `Engine.run`."""
        return map_unordered(factory, shards, workers=workers)
