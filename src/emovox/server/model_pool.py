"""The loaded models of a process, a few threads that run them, and a bounded queue."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import numpy as np

from emovox.audio import SAMPLE_RATE
from emovox.inference.recognizer import Recognizer
from emovox.server.schemas import Refusal

__all__ = ["ModelFactory", "ModelPool"]

_T = TypeVar("_T")

ModelFactory: TypeAlias = Callable[[str], Recognizer]
"""From a model's name to a recogniser; picklable, since every worker process loads its own."""

_RETRY_S = (1.0, 60.0)
"""Least and most that a client is asked to wait."""


class ModelPool:
    """Recognisers called from an event loop.

    A prediction runs in a thread, since onnxruntime and the decoders release the interpreter's lock. It runs
    alone: batching several clips in one run of the graph gained 8 % at best (docs/serve.md).

    Args:
        names: of the models; the first is the default.
        factory: loads one.
        threads: predictions at a time.
        queue: predictions that may wait.
    """

    def __init__(self, names: tuple[str, ...], factory: ModelFactory, *, threads: int, queue: int) -> None:
        self._names, self._factory = names, factory
        self._threads, self._limit = threads, threads + queue
        self._models: Mapping[str, Recognizer] = {}
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._n_active = 0
        self._typical_s = 0.05

    def open(self) -> None:
        """Load the models and start the threads.

        Raises:
            EmovoxError: a model cannot be loaded.
        """
        self._models = {name: self._factory(name) for name in self._names}
        for model in self._models.values():  # the first run is slow: better now than for the first client
            silence = np.zeros(round(model.spec.window_s * SAMPLE_RATE), np.float32)
            model.predict(silence, sample_rate=SAMPLE_RATE)
            model.logits([silence])
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="emovox-serve")

    def close(self) -> None:
        """Finish what was accepted; accept nothing more."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    @property
    def is_ready(self) -> bool:
        """Whether it accepts work."""
        return self._executor is not None

    @property
    def n_active(self) -> int:
        """Predictions that run or wait."""
        return self._n_active

    @property
    def models(self) -> Mapping[str, Recognizer]:
        """The recognisers by the names that requests use, the default first."""
        return self._models

    def model(self, name: str | None = None) -> tuple[str, Recognizer]:
        """Return the recogniser of that name, or the default.

        Raises:
            Refusal: there is none; the message lists the known ones.
        """
        name = self._names[0] if name is None else name
        if name not in self._models:
            known = ", ".join(self._models)
            raise Refusal(400, "unknown_model", f"there is no model {name[:80]!r} here; there are: {known}")
        return name, self._models[name]

    async def run(self, work: Callable[[], _T], *, admitted: bool = False) -> _T:
        """Run ``work`` in one of the threads and return its result.

        Args:
            work: needs no event loop.
            admitted: it continues a request that was accepted before, and is never refused.

        Raises:
            Refusal: too much is waiting, or the server is stopping.
        """
        executor = self._executor
        if executor is None:
            raise Refusal(503, "draining", "the server is stopping; ask again in a moment", retry_after_s=5)
        with self._lock:
            if self._n_active >= self._limit and not admitted:
                least, most = _RETRY_S
                wait_s = math.ceil(self._n_active * self._typical_s / self._threads)
                raise Refusal(
                    503,
                    "overloaded",
                    f"{self._n_active} predictions are waiting or running already; ask again in a moment",
                    retry_after_s=min(max(wait_s, least), most),
                )
            self._n_active += 1
        try:
            future = executor.submit(self._measure, work)
        except BaseException:  # the executor was shut down in between
            self._release(None)
            raise
        future.add_done_callback(self._release)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():  # it is running, on files that must stay open for it
                while not waiting.done():
                    try:
                        await asyncio.wait([waiting])
                    except asyncio.CancelledError:  # starlette's task groups cancel repeatedly
                        continue
            raise

    def _measure(self, work: Callable[[], _T]) -> _T:
        start_s = time.monotonic()
        try:
            return work()
        finally:
            self._typical_s += 0.1 * (time.monotonic() - start_s - self._typical_s)

    def _release(self, _: Future[_T] | None) -> None:
        with self._lock:
            self._n_active -= 1
