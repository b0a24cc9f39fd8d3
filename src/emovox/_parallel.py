"""Many items, several processes: an iterator of outcomes, in input order or as they come.

Each item has its own fate: one that fails, or that kills the process it is judged in, becomes an outcome with
an error and costs no other. It knows nothing of sound or models: it is handed a picklable *factory*, and each
process calls it once to get the function that does the work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from emovox.errors import ConfigError, EmovoxError

__all__ = ["AHEAD", "Outcome", "attempt", "check_workers", "run", "run_apart"]

AHEAD = 4
"""Items a worker may be ahead of the oldest one still awaited; bounds what is held to keep the order."""

_STILLBORN = 3
"""So many processes in a row may be killed while they start, where others have started before: somebody was
short of memory. One more, and nothing starts any longer."""

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Value]):
    """What became of one item: a value, or an error in words."""

    item: Item
    value: Value | None = None
    error: str | None = None


def run(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item], *, workers: int = 1
) -> Iterator[Outcome[Item, Value]]:
    """Do the work of ``factory()`` on each of ``items``, and give the outcomes in their order.

    Args:
        factory: called once in each process; must be picklable when there is more than one worker.
        items: read no further ahead than ``AHEAD`` for each worker; may be endless.
        workers: processes. With 1 the work is done here, in this process, one item at a time.

    Raises:
        ConfigError: ``workers`` is not a positive whole number.
        EmovoxError: while iterating: a worker could not start.
    """
    check_workers(workers)
    return _alone(factory, items) if workers == 1 else _shared(factory, items, workers)


def run_apart(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item], *, workers: int = 1
) -> Generator[Outcome[Item, Value]]:
    """As `run`, but the outcomes come as they are known, and even one worker is a process of its own.

    An item is read when a worker has its hands free, and not before. Arguments and errors are those of `run`.
    """
    check_workers(workers)
    return _apart(factory, items, workers)


def check_workers(workers: object) -> None:
    """Refuse what is no number of workers.

    Raises:
        ConfigError: it is no positive whole number.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers is {workers!r}; expected a whole number, 1 or more")


def _alone(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item]
) -> Iterator[Outcome[Item, Value]]:
    work = factory()
    for item in items:
        value, error = attempt(work, item)
        yield Outcome(item, value, error)


def attempt(work: Callable[[Item], Value], item: Item) -> tuple[Value | None, str | None]:
    """``(value, None)`` or ``(None, error)``: whatever one item does, the next must have its turn."""
    try:
        return work(item), None
    except EmovoxError as error:
        return None, str(error)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


# ------------------------------------------------------------------------------------------ processes


def _shared(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item], workers: int
) -> Iterator[Outcome[Item, Value]]:
    crew = _Crew(factory, workers)
    try:
        yield from _in_order(crew, items, ahead=AHEAD * workers)
    finally:  # also when the caller stops early, or is interrupted
        crew.stop()


def _apart(
    factory: Callable[[], Callable[[Item], Value]], items: Iterable[Item], workers: int
) -> Generator[Outcome[Item, Value]]:
    crew = _Crew(factory, workers)
    waiting = enumerate(items)
    try:
        while True:
            while crew.has_hands and (following := next(waiting, None)) is not None:
                refusal = crew.give(*following)
                if refusal is not None:
                    yield Outcome(following[1], error=refusal)
            if not crew.is_busy:
                return
            yield from crew.take().values()
    finally:  # also when the caller stops early, or is interrupted
        crew.stop()


def _in_order(crew: _Crew, items: Iterable[Item], *, ahead: int) -> Iterator[Outcome[Item, Any]]:
    waiting = enumerate(items)
    done: dict[int, Outcome[Item, Any]] = {}
    awaited = given = 0
    while True:
        while crew.has_hands and given - awaited < ahead and (following := next(waiting, None)) is not None:
            index, item = following
            given += 1
            refusal = crew.give(index, item)
            if refusal is not None:
                done[index] = Outcome(item, error=refusal)
        if awaited in done:
            yield done.pop(awaited)
            awaited += 1
        elif crew.is_busy:
            done.update(crew.take())
        else:
            return


class _Crew:
    """Up to ``size`` worker processes, started as they are needed and replaced when they die."""

    def __init__(self, factory: Callable[[], Any], size: int) -> None:
        self._factory, self._size = factory, size
        self._workers: list[_Worker] = []
        self._has_started = False
        self._n_stillborn = 0

    @property
    def has_hands(self) -> bool:
        return len(self._workers) < self._size or any(not worker.is_busy for worker in self._workers)

    @property
    def is_busy(self) -> bool:
        return any(worker.is_busy for worker in self._workers)

    def give(self, index: int, item: Any) -> str | None:
        """Hand an item to a free worker; ``None``, or in words why it cannot be handed to any."""
        for _ in range(3):
            worker = self._free()
            try:
                worker.give(index, item)
            except OSError:  # it died while idle, which is hardly this item's fault
                if not worker.is_ready:
                    self._told(worker)
                self._dismiss(worker)
            except Exception as error:
                return f"it cannot be sent to a worker process: {error}"
            else:
                return None
        return "worker processes died while it was sent to them"

    def _free(self) -> _Worker:
        for worker in self._workers:
            if not worker.is_busy:
                return worker
        self._workers.append(_Worker(self._factory))
        return self._workers[-1]

    def take(self) -> dict[int, Outcome[Any, Any]]:
        """Wait until something happens; give the outcomes there are, by index."""
        outcomes = {}
        ready = set(wait([worker.pipe for worker in self._workers if worker.is_busy]))
        for worker in [worker for worker in self._workers if worker.pipe in ready]:
            index, outcome = worker.index, self._told(worker)
            if worker.is_dead:
                self._dismiss(worker)
                if outcome is None:  # it never began
                    refusal = self.give(index, worker.item)
                    outcome = None if refusal is None else Outcome(worker.item, error=refusal)
            if outcome is not None:
                outcomes[index] = outcome
        return outcomes

    def _told(self, worker: _Worker) -> Outcome[Any, Any] | None:
        """What waits in its pipe; ``None`` also when it was killed before it was ready, and may be replaced.

        Raises:
            EmovoxError: it cannot start, and no other could.
        """
        try:
            outcome = worker.take()
        except _StillbornError:
            self._n_stillborn += 1
            if not self._has_started or self._n_stillborn > _STILLBORN:
                raise
            return None
        self._has_started, self._n_stillborn = True, 0
        return outcome

    def stop(self) -> None:
        while self._workers:
            self._dismiss(self._workers[-1])

    def _dismiss(self, worker: _Worker) -> None:
        worker.stop()
        self._workers.remove(worker)


class _StillbornError(EmovoxError):
    """A process was killed before it was ready to work."""


class _Worker:
    """A process and the pipe to it. It has at most one item in its hands, and so can lose but one."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        # spawn: the forked copy of a process with threads, as onnxruntime's, may hang.
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, factory), daemon=True)
        with _interrupts_held(), _one_thread_each():
            self._process.start()
        theirs.close()  # the process now holds the only other end, which closes when it dies
        self.item: Any = None
        self.is_ready = False
        self.index = -1
        self.is_dead = False

    @property
    def is_busy(self) -> bool:
        return self.index >= 0

    def give(self, index: int, item: Any) -> None:
        self.pipe.send(item)
        self.index, self.item = index, item

    def take(self) -> Outcome[Any, Any] | None:
        """The outcome that waits in the pipe; ``None`` when it only says that the worker has started."""
        try:
            kind, value, error = self.pipe.recv()
        except (EOFError, OSError):
            kind, value, error = self._died()
        if kind == "broken":
            kill = self.is_dead and (self._process.exitcode or 0) < 0
            raise (_StillbornError if kill else EmovoxError)(f"a worker process could not start: {error}")
        self.is_ready = True
        if kind == "ready":
            return None
        self.index = -1
        return Outcome(self.item, value, error)

    def _died(self) -> tuple[str, None, str]:
        self.is_dead = True
        self._process.join()
        code = self._process.exitcode or 0
        fate = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if self.is_ready:
            return "done", None, f"the process that judged it died ({fate})"
        return (
            "broken",
            None,
            (f"it died ({fate}); in a script, call it under  if __name__ == '__main__':  or use workers=1"),
        )

    def stop(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until this is over; a process started meanwhile never sees it (it is the parent's)."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """A process started meanwhile multiplies its matrices in one thread, unless the user chose otherwise.

    The processes share out the cores already. OpenBLAS, which numpy brings, would start a thread for each
    core in each of them, and these wait for each other busily: three times the work for the same answer.
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


def _serve(pipe: Connection, factory: Callable[[], Callable[[Any], Any]]) -> None:
    """The life of a worker process; it ends with the pipe, so it outlives its parent by one item at most."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work, error = attempt(lambda _: factory(), None)
    pipe.send(("broken" if work is None else "ready", None, error))
    while work is not None:
        try:
            pipe.send(("done", *_answer(work, pipe)))
        except (EOFError, OSError):
            return
        except Exception as error:
            pipe.send(("done", None, f"its answer cannot be sent back: {error}"))


def _answer(work: Callable[[Any], Any], pipe: Connection) -> tuple[Any, str | None]:
    try:
        item = pipe.recv()
    except (EOFError, OSError):
        raise
    except Exception as error:
        return None, f"it cannot be received by a worker process: {error}"
    return attempt(work, item)
