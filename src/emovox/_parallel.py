"""A pool of worker processes that maps a function over many items and reports an outcome for each.

An item that fails, or that kills the process working on it, becomes an outcome with an error and affects no
other item. The pool is handed a picklable *factory*, which each process calls once to obtain the function.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from emovox.errors import ConfigError, EmovoxError

__all__ = ["AHEAD", "Outcome", "WorkerPool", "attempt", "check_workers", "map_items", "map_unordered"]

AHEAD = 4
"""Items per worker that may be read ahead of the oldest unfinished one; bounds memory in `map_items`."""

_MAX_FAILED_STARTS = 3
"""Processes in a row that may be killed while starting, once others have started: memory may be short for a
while. After one more the pool gives up."""

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Value]):
    """The result of one item: a value, or an error message."""

    item: Item
    value: Value | None = None
    error: str | None = None


def map_items(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item], *, workers: int = 1
) -> Iterator[Outcome[Item, Value]]:
    """Apply the function that ``factory()`` returns to each of ``items``; yield outcomes in input order.

    Args:
        factory: called once per process; must be picklable for more than one worker.
        items: read at most ``AHEAD`` per worker ahead; may be endless.
        workers: processes. With 1, the work is done in this process, one item at a time.

    Raises:
        ConfigError: ``workers`` is not a positive integer.
        EmovoxError: while iterating: a worker cannot start.
    """
    check_workers(workers)
    return _map_here(factory, items) if workers == 1 else _map_ordered(factory, items, workers)


def map_unordered(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item], *, workers: int = 1
) -> Generator[Outcome[Item, Value]]:
    """Like `map_items`, but yield outcomes as they arrive; even a single worker is a process of its own.

    An item is read only when a worker is idle.
    """
    check_workers(workers)
    return _map_unordered(factory, items, workers)


def check_workers(workers: object) -> None:
    """Raise ConfigError unless ``workers`` is a positive integer."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers is {workers!r}; expected a whole number, 1 or more")


def attempt(work: Callable[[Item], Value], item: Item) -> tuple[Value | None, str | None]:
    """Return ``(value, None)``, or ``(None, message)`` if ``work`` raises."""
    try:
        return work(item), None
    except EmovoxError as error:
        return None, str(error)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _map_here(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item]
) -> Iterator[Outcome[Item, Value]]:
    work = factory()
    for item in items:
        yield Outcome(item, *attempt(work, item))


def _map_ordered(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item], workers: int
) -> Iterator[Outcome[Item, Value]]:
    numbered = enumerate(items)
    finished: dict[int, Outcome[Item, Value]] = {}
    n_yielded = n_read = 0
    with WorkerPool(factory, workers) as pool:
        while True:
            while pool.has_idle_worker and n_read - n_yielded < AHEAD * workers:
                following = next(numbered, None)
                if following is None:
                    break
                n_read += 1
                finished.update(pool.submit(*following))
            if n_yielded in finished:
                yield finished.pop(n_yielded)
                n_yielded += 1
            elif pool.is_working:
                finished.update(pool.collect())
            else:
                return


def _map_unordered(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item], workers: int
) -> Generator[Outcome[Item, Value]]:
    numbered = enumerate(items)
    with WorkerPool(factory, workers) as pool:
        while True:
            while pool.has_idle_worker and (following := next(numbered, None)) is not None:
                yield from pool.submit(*following).values()
            if not pool.is_working:
                return
            yield from pool.collect().values()


class WorkerPool:
    """Up to ``size`` worker processes, started on demand, replaced when they die, ended with the context."""

    def __init__(self, factory: Callable[[], Any], size: int) -> None:
        self._factory, self._size = factory, size
        self._workers: list[_Worker] = []
        self._has_started = False
        self._n_failed_starts = 0

    @property
    def has_idle_worker(self) -> bool:
        return len(self._workers) < self._size or any(not worker.is_working for worker in self._workers)

    @property
    def is_working(self) -> bool:
        return any(worker.is_working for worker in self._workers)

    def submit(self, index: int, item: Any) -> dict[int, Outcome[Any, Any]]:
        """Send an item to an idle worker.

        Returns:
            Nothing, or the outcome with an error if the item cannot be sent.
        """
        for _ in range(3):
            worker = next((worker for worker in self._workers if not worker.is_working), None)
            if worker is None:
                worker = _Worker(self._factory)
                self._workers.append(worker)
            try:
                worker.send(index, item)
            except OSError:  # it died while idle, which is hardly this item's fault
                if not worker.is_ready:
                    self._receive(worker)
                self._remove(worker)
            except Exception as error:
                message = f"it cannot be sent to a worker process: {error}"
                return {index: Outcome(item, error=message)}
            else:
                return {}
        return {index: Outcome(item, error="worker processes died while it was sent to them")}

    def collect(self) -> dict[int, Outcome[Any, Any]]:
        """Wait until a worker reports; return the outcomes by index."""
        outcomes = {}
        ready = set(wait([worker.pipe for worker in self._workers if worker.is_working]))
        for worker in [worker for worker in self._workers if worker.pipe in ready]:
            index, outcome = worker.index, self._receive(worker)
            if worker.is_dead:
                self._remove(worker)
                if outcome is None:  # the item was never begun
                    outcomes.update(self.submit(index, worker.item))
            if outcome is not None:
                outcomes[index] = outcome
        return outcomes

    def _receive(self, worker: _Worker) -> Outcome[Any, Any] | None:
        """Read a worker's message; ``None`` if it has just started, or was killed while starting.

        Raises:
            EmovoxError: it cannot start, and none has started before.
        """
        try:
            outcome = worker.receive()
        except _FailedStartError:
            self._n_failed_starts += 1
            if not self._has_started or self._n_failed_starts > _MAX_FAILED_STARTS:
                raise
            return None
        self._has_started, self._n_failed_starts = True, 0
        return outcome

    def _remove(self, worker: _Worker) -> None:
        worker.stop()
        self._workers.remove(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._workers:  # also when the caller stops early, or is interrupted
            self._remove(self._workers[-1])


class _FailedStartError(EmovoxError):
    """A process was killed before it was ready."""


class _Worker:
    """A process and the pipe to it. It holds at most one item, so its death loses at most one."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        if multiprocessing.current_process().daemon:
            raise EmovoxError(
                "this process is daemonic, as the workers of Celery and of multiprocessing.Pool are, and may "
                "not start processes: use workers=1"
            )
        # spawn: the forked copy of a process with threads, such as onnxruntime's, may hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work_until_closed, args=(theirs, factory), daemon=True)
        with _interrupts_held(), _single_threaded_blas(), _main_module_hidden(factory):
            self._process.start()
        theirs.close()  # the process now holds the only other end, which closes when it dies
        self.item: Any = None
        self.index = -1
        self.is_ready = False
        self.is_dead = False

    @property
    def is_working(self) -> bool:
        return self.index >= 0

    def send(self, index: int, item: Any) -> None:
        self.pipe.send(item)
        self.index, self.item = index, item

    def receive(self) -> Outcome[Any, Any] | None:
        """Read the outcome in the pipe; ``None`` for the message that the worker has started."""
        try:
            kind, value, error = self.pipe.recv()
        except (EOFError, OSError):
            self.is_dead = True
            self._process.join()
            code = self._process.exitcode or 0
            cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            if not self.is_ready:
                failed = _FailedStartError if code < 0 else EmovoxError
                raise failed(
                    f"a worker process could not start: it died ({cause}); in a script, call it under  "
                    "if __name__ == '__main__':  or use workers=1"
                ) from None
            kind, value, error = "done", None, f"the process working on it died ({cause})"
        if kind == "broken":
            raise EmovoxError(f"a worker process could not start: {error}")
        self.is_ready = True
        if kind == "ready":
            return None
        self.index = -1
        return Outcome(self.item, value, error)

    def stop(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Block SIGINT; a process started meanwhile inherits this and leaves Ctrl-C to its parent."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _single_threaded_blas() -> Iterator[None]:
    """Let processes started meanwhile multiply matrices in one thread, unless the user chose otherwise.

    The processes share the cores already. OpenBLAS, which numpy brings, would start a thread per core in each
    of them, and these wait for each other busily: three times the work for the same result.
    """
    name = "OPENBLAS_NUM_THREADS"
    if any(os.environ.get(one) for one in (name, "OMP_NUM_THREADS")):
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)


@contextmanager
def _main_module_hidden(factory: Callable[[], Any]) -> Iterator[None]:
    """Keep spawned processes from importing the caller's script, unless the factory is defined in it.

    multiprocessing imports the main module in every spawned process; a script without
    ``if __name__ == '__main__':`` would run again there, and fail.
    """
    main = sys.modules.get("__main__")
    if main is None or b"__main__" in bytes(ForkingPickler.dumps(factory)):
        yield
        return
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    main.__spec__, main.__file__ = None, None
    try:
        yield
    finally:
        main.__spec__ = spec
        if file is None:
            del main.__file__
        else:
            main.__file__ = file


def _work_until_closed(pipe: Connection, factory: Callable[[], Callable[[Any], Any]]) -> None:
    """Serve items from the pipe until it closes; so a worker outlives its parent by one item at most."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work, error = attempt(lambda _: factory(), None)
    pipe.send(("broken" if work is None else "ready", None, error))
    while work is not None:
        answer: tuple[Any, str | None]
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        except Exception as error:
            answer = (None, f"it cannot be received by a worker process: {error}")
        else:
            answer = attempt(work, item)
        try:
            pipe.send(("done", *answer))
        except (EOFError, OSError):
            return
        except Exception as error:
            pipe.send(("done", None, f"its answer cannot be sent back: {error}"))
