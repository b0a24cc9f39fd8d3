"""What an engine is: whoever gets shards of work done, on one machine or on many."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from emovox._parallel import Outcome

__all__ = ["Engine", "Factory", "Shard", "ShardDone"]


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work. A worker reads which recordings are in it, and writes its part, itself."""

    number: int
    """From 0; its recordings stand in the plan under it."""
    attempt: int = 1
    """1: all its recordings; above: those that failed in all attempts before."""


@dataclass(frozen=True, slots=True)
class ShardDone:
    """What a worker says of a shard whose part is written; rows themselves never travel."""

    shard: Shard
    n_items: int
    """Recordings that were judged."""
    n_failed: int
    """Those of them whose row is an error."""
    n_rows: int
    audio_s: float
    """Seconds of sound that were judged."""
    problem: str | None = None
    """Why there is no part after all, such as a full disk: whatever stops this shard stops the others too."""


Factory: TypeAlias = Callable[[], Callable[[Shard], ShardDone]]
"""Picklable; called once in each worker, where it loads the model. What it gives is called for each shard."""


class Engine(Protocol):
    """Whoever gets shards done."""

    @property
    def name(self) -> str:
        """What ``--engine`` calls it."""

    def run(
        self, factory: Factory, shards: Iterable[Shard], *, workers: int
    ) -> Generator[Outcome[Shard, ShardDone]]:
        """Do every shard; outcomes come in any order. Closing it ends the workers, and waits for their end.

        A shard may be done again, wholly or in part, by another worker: its part appears whole, and is the
        same whoever writes it. So an engine may try a shard again whose worker was lost, or give it back as
        an outcome with an error: the caller knows whether it is worth another try.

        Args:
            shards: read only a little further than there are free workers; there may be very many.
            workers: how many work at once.

        Raises:
            ConfigError: at once or while iterating: there cannot be so many workers.
            EmovoxError: while iterating: no worker can be started.
        """
