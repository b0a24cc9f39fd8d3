"""Where the work is done: the recognisers, a few threads, and a queue that has an end."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import anyio
import numpy as np

from emovox.audio import SAMPLE_RATE
from emovox.inference.recognizer import Recognizer
from emovox.server.schemas import Refusal

__all__ = ["Engine", "Factory"]

_T = TypeVar("_T")

Factory: TypeAlias = Callable[[str], Recognizer]
"""From a model's name to a recogniser; picklable, for every worker process opens its own."""

_RETRY_S = (1.0, 60.0)
"""Least and most that a client is asked to wait."""


class Engine:
    """Recognisers that are asked from an event loop.

    A judgement runs in a thread, for onnxruntime and the decoders let go of the interpreter's lock. It runs
    alone: several sounds in one run of the graph gained 8 % at best (docs/serve.md).

    Args:
        names: of the models; the first is the default.
        factory: opens one.
        threads: judgements at a time.
        queue: judgements that may wait.
    """

    def __init__(self, names: tuple[str, ...], factory: Factory, *, threads: int, queue: int) -> None:
        self._names, self._factory = names, factory
        self._threads, self._limit = threads, threads + queue
        self._models: Mapping[str, Recognizer] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._taken = 0
        self._usual_s = 0.05

    def open(self) -> None:
        """Open the models and the threads.

        Raises:
            EmovoxError: a model cannot be opened.
        """
        self._models = {name: self._factory(name) for name in self._names}
        for model in self._models.values():  # a first run is slow: better now than for the first client
            model.predict(np.zeros(round(model.spec.window_s * SAMPLE_RATE)), sample_rate=SAMPLE_RATE)
            model.logits([np.zeros(round(model.spec.window_s * SAMPLE_RATE), np.float32)])
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="emovox-serve")

    def close(self) -> None:
        """Finish what was taken, take nothing more."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    @property
    def is_ready(self) -> bool:
        """Whether it takes work."""
        return self._pool is not None

    @property
    def taken(self) -> int:
        """Judgements that run or wait."""
        return self._taken

    @property
    def models(self) -> Mapping[str, Recognizer]:
        """The recognisers by the names that requests use, the default first."""
        return self._models

    def model(self, name: str | None = None) -> tuple[str, Recognizer]:
        """The recogniser of that name, or the default.

        Raises:
            Refusal: there is none; the message names those that there are.
        """
        name = self._names[0] if name is None else name
        if name not in self._models:
            known = ", ".join(self._models)
            raise Refusal(400, "unknown_model", f"there is no model {name[:80]!r} here; there are: {known}")
        return name, self._models[name]

    async def run(self, work: Callable[[], _T], *, begun: bool = False) -> _T:
        """What ``work`` returns, done in one of the threads.

        Args:
            work: needs no event loop.
            begun: whether it goes on with a request that was taken before; such is never refused.

        Raises:
            Refusal: too much waits already, or the server is stopping.
        """
        pool = self._pool
        if pool is None:
            raise Refusal(503, "draining", "the server is stopping; ask again in a moment", retry_after_s=5)
        with self._lock:
            if self._taken >= self._limit and not begun:
                raise Refusal(
                    503,
                    "overloaded",
                    f"{self._taken} judgements are waiting or running already; ask again in a moment",
                    retry_after_s=self._wait_s(),
                )
            self._taken += 1
        try:
            future = pool.submit(self._timed, work)
        except BaseException:  # the pool was shut down in between
            self._done(None)
            raise
        future.add_done_callback(self._done)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():  # it runs already, on files that must stay open for it
                with anyio.CancelScope(shield=True):
                    await asyncio.wait([waiting])
            raise

    def _timed(self, work: Callable[[], _T]) -> _T:
        start_s = time.monotonic()
        try:
            return work()
        finally:
            self._usual_s += 0.1 * (time.monotonic() - start_s - self._usual_s)

    def _done(self, _: Future[_T] | None) -> None:
        with self._lock:
            self._taken -= 1

    def _wait_s(self) -> float:
        """About how long until the queue is worked off."""
        least, most = _RETRY_S
        return min(max(math.ceil(self._taken * self._usual_s / self._threads), least), most)
