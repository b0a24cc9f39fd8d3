"""Which key was pressed, and has somebody asked for the end? Without waiting for either."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["pressed_keys", "stoppable"]


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks for a good end: the function says whether somebody did. A second Ctrl-C insists.

    The signal by which a service is ended asks likewise. Outside of the main thread nobody can ask.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, _: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def pressed_keys() -> Iterator[Callable[[], list[str]]]:
    """The keys that were pressed since the last call, in small letters; Enter counts as a space.

    Where stdin is no terminal, or the terminal cannot give single keys, each line is one key, its first
    letter. The end of the input is ``q``.
    """
    try:
        import select
        import termios
        import tty

        file = sys.stdin.fileno()
        before = termios.tcgetattr(file)
    except (ImportError, OSError, ValueError, AttributeError, termios.error):  # no terminal, or Windows
        yield _lines()
        return

    def pressed() -> list[str]:
        keys = []
        while select.select([file], [], [], 0)[0]:
            typed = os.read(file, 1)
            keys.append(_key(typed.decode("ascii", "replace")))
            if not typed:
                break
        return keys

    try:
        tty.setcbreak(file)
        yield pressed
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)


def _lines() -> Callable[[], list[str]]:
    """Lines of stdin, read by a thread that ends with the input or the process."""
    found: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        key = ""
        while key != "q":
            key = _key(sys.stdin.readline() if sys.stdin is not None else "")
            found.put(key)

    threading.Thread(target=read, daemon=True).start()

    def pressed() -> list[str]:
        keys = []
        while not found.empty():
            keys.append(found.get())
        return keys

    return pressed


def _key(typed: str) -> str:
    return (typed.strip().lower()[:1] or " ") if typed else "q"
