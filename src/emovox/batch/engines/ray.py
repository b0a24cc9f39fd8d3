"""Workers of a Ray cluster: one that runs already, by its address, or one that is started and ended here.

Each worker is an actor that loads the model once and has one shard in its hands, so it can lose but one. Ray
Data, whose pool of actors this could have been, was measured and left (docs/scale.md): a shard that kills its
worker is tried for ever there, or is lost without a word, and every shard costs it 26 ms.

Wants the extra ``distributed``; Ray is loaded when an engine is made, and not before.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from emovox._parallel import Outcome, attempt, check_workers
from emovox.batch.engines import Shard, ShardResult, WorkerFactory
from emovox.errors import EmovoxError, MissingExtraError

__all__ = ["RayEngine", "cluster", "loaded"]

_START_S = 600.0
"""How long a cluster may take until the first worker is ready; one that grows starts machines meanwhile."""
_STARTS = 3
"""Workers that die one after the other before any was ready: this is no accident."""
_TRIES = 3
"""Workers that one shard may lose before it is given back."""
_CONNECT_S = 10.0
_STORE_BYTES = 80 << 20
"""Shared memory of a cluster of our own, about the least that Ray takes. Rows go to files, not through it."""

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no usage reports
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what will be the default; without it Ray warns
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # it prints what became of workers among our own output
    "OPENBLAS_NUM_THREADS": "1",  # as in a process of the engine 'local'
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""A cluster of this machine alone. Without it Ray listens on every address of the machine, and runs what
others send; so it does still where it was loaded before by somebody else."""


class RayEngine:
    """Actors on a cluster; one that dies is replaced, and its shard tried again after the others.

    Args:
        address: of a cluster, such as ``auto`` for the one that this machine belongs to, or ``host:6379``.
            ``None`` starts one of this machine alone, and ends it. Where the caller's process is connected to
            a cluster already, that one is used, and left as it is.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    name = "ray"

    def __init__(self, *, address: str | None = None) -> None:
        self._ray = loaded(address)
        self._address = address

    def run(
        self, factory: WorkerFactory, shards: Iterable[Shard], *, workers: int
    ) -> Generator[Outcome[Shard, ShardResult]]:
        """As `Engine.run`. Of more workers than the cluster has cores, the last wait until it has grown."""
        check_workers(workers)
        return self._run(factory, iter(shards), workers)

    def _run(
        self, factory: WorkerFactory, shards: Iterator[Shard], workers: int
    ) -> Generator[Outcome[Shard, ShardResult]]:
        first = list(islice(shards, workers))
        if not first:
            return
        with cluster(self._ray, self._address, workers):
            actors = _ActorPool(self._ray, factory, len(first))
            try:
                yield from _iter_outcomes(actors, chain(first, shards))
            finally:  # also when the caller stops early, or is interrupted
                actors.stop()


def _iter_outcomes(actors: _ActorPool, shards: Iterator[Shard]) -> Iterator[Outcome[Shard, ShardResult]]:
    is_over = False
    while True:
        while actors.is_free and not (is_over and not actors.again):
            shard = next(shards, None)
            is_over = shard is None
            if shard is not None or actors.again:
                actors.give(shard or actors.again.popleft())
        if is_over and not actors.is_working and not actors.again:
            return
        outcome = actors.take()
        if outcome is not None:
            yield outcome


# --- workers --------------------------------------------------------------------------------------


class _Worker:
    """The life of an actor."""

    def begin(self, factory: WorkerFactory) -> str | None:
        """Load the model; return the error, if any."""
        self._work, error = attempt(lambda make: make(), factory)
        return error

    def do(self, shard: Shard) -> tuple[ShardResult | None, str | None]:
        """``(value, None)`` or ``(None, error)``."""
        assert self._work is not None
        return attempt(self._work, shard)


class _ActorPool:
    """Actors, the shard of each, and the idle ones."""

    def __init__(self, ray: Any, factory: WorkerFactory, size: int) -> None:
        self._ray, self._factory = ray, factory
        # A worker that is lost is replaced here, not by Ray: its shard may be what has killed it.
        self._kind = ray.remote(_Worker).options(num_cpus=1, max_restarts=0, max_task_retries=0)
        self._at: dict[Any, tuple[Any, Shard | None]] = {}
        """Answer to come -> (actor, its shard; ``None`` while it loads the model)."""
        self._free: list[Any] = []
        self.again: deque[Shard] = deque()
        """Shards whose worker was lost, to be given again."""
        self._losses: Counter[int] = Counter()
        self._was_ready = False
        self._n_stillborn = 0
        for _ in range(size):
            self._hire()

    def _hire(self) -> None:
        actor = self._kind.remote()
        self._at[actor.begin.remote(self._factory)] = (actor, None)

    @property
    def is_free(self) -> bool:
        return bool(self._free)

    @property
    def is_working(self) -> bool:
        return any(shard is not None for _, shard in self._at.values())

    def give(self, shard: Shard) -> None:
        actor = self._free.pop()
        self._at[actor.do.remote(shard)] = (actor, shard)

    def take(self) -> Outcome[Shard, ShardResult] | None:
        """Wait until something happens; ``None`` when a worker is ready, or was replaced."""
        ready, _ = self._ray.wait(list(self._at), timeout=None if self._was_ready else _START_S)
        if not ready:
            raise EmovoxError(f"no worker was ready after {_START_S:.0f} s; {self._room()}")
        actor, shard = self._at.pop(ready[0])
        try:
            answer = self._ray.get(ready[0])
        except self._ray.exceptions.RayTaskError as error:  # it cannot be unpacked there, or packed
            answer = _cause(error) if shard is None else (None, _cause(error))
        except self._ray.exceptions.RayError as error:
            return self._lost(shard, str(error).partition("\n")[0])
        if shard is None:
            self._ready(answer)
        self._free.append(actor)
        return None if shard is None else Outcome(shard, *answer)

    def _ready(self, refusal: str | None) -> None:
        if refusal is not None:
            raise EmovoxError(f"a worker could not start: {refusal}")
        self._was_ready, self._n_stillborn = True, 0

    def _lost(self, shard: Shard | None, why: str) -> Outcome[Shard, ShardResult] | None:
        if shard is None:
            self._n_stillborn += 1
            if self._n_stillborn == _STARTS:
                raise EmovoxError(f"{_STARTS} workers in a row could not start; the last was lost: {why}")
        self._hire()
        if shard is None:
            return None
        self._losses[shard.number] += 1
        if self._losses[shard.number] < _TRIES:
            self.again.append(shard)
            return None
        return Outcome(shard, error=f"{_TRIES} workers that had it were lost; of the last, Ray says: {why}")

    def _room(self) -> str:
        all_of, free = self._ray.cluster_resources(), self._ray.available_resources()
        return (
            f"each takes a core, and of the cluster's {all_of.get('CPU', 0):g} are {free.get('CPU', 0):g} "
            "free: let other work end, or add machines"
        )

    def stop(self) -> None:
        for actor in [*self._free, *(actor for actor, _ in self._at.values())]:
            self._ray.kill(actor)
        self._free.clear()
        self._at.clear()


def _cause(error: Exception) -> str:
    """The last line of a traceback from afar."""
    return str(error).strip().rpartition("\n")[2]


# --- the cluster ----------------------------------------------------------------------------------


def loaded(address: str | None) -> Any:
    """The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    with _environment(address):
        try:
            import ray
        except ImportError:
            raise MissingExtraError("the engine 'ray'", "distributed") from None
    return ray


@contextmanager
def cluster(ray: Any, address: str | None, workers: int) -> Iterator[None]:
    """Be connected meanwhile; a cluster of our own ends with it, whatever happens."""
    if ray.is_initialized():
        yield
        return
    with _own_folder(address) as own, _sigterm_kept():
        try:
            _connect(ray, address, workers, own)
            yield
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str | None, workers: int, own: str) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    where = (
        {"address": address}
        if address is not None
        else {
            "address": "local",  # also where RAY_ADDRESS names another
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_temp_dir": own,
        }
    )
    if address is not None:
        _check_address(address)
    with _environment(address):
        try:
            ray.init(**where, **quiet)
        except Exception as error:  # of many kinds: no answer, another version, no memory
            raise _make_cluster_error(address, str(error).strip().partition("\n")[0]) from error


def _make_cluster_error(address: str | None, why: str) -> EmovoxError:
    if address is None:
        return EmovoxError(f"Ray could not be started here: {why}")
    return EmovoxError(
        f"no cluster at {address!r}: {why}; start one with  ray start --head  and give its address, or 'auto'"
    )


def _check_address(address: str) -> None:
    """Raise at once where no cluster answers: Ray itself tries for two minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        try:
            socket.create_connection((host, int(port)), _CONNECT_S).close()
        except (OSError, OverflowError) as error:
            raise _make_cluster_error(address, str(error)) from None


@contextmanager
def _own_folder(address: str | None) -> Iterator[str]:
    """Where a cluster of our own keeps its sockets and logs; it goes afterwards."""
    if address is not None:
        yield ""
        return
    # Not below TMPDIR, which may be long: the name of a socket has room for 107 bytes.
    folder = tempfile.mkdtemp(prefix="emovox-ray-", dir="/tmp" if os.name == "posix" else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(address: str | None) -> Iterator[None]:
    """What Ray is loaded, and its processes are started, with."""
    wanted = _SETTINGS if address is not None else {**_SETTINGS, **_LOOPBACK}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray takes the signal for itself, and ends the process in good order by it; then it is as before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
