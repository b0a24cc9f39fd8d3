"""Terminal output: colours, text of a known width, a progress bar, messages on stderr."""

from __future__ import annotations

import math
import os
import shutil
import signal
import stat
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

__all__ = [
    "LABEL_COLOURS",
    "Progress",
    "bar",
    "can_say",
    "clean",
    "clock",
    "has_colours",
    "is_watched",
    "pad",
    "paint",
    "progress_bar",
    "say",
    "uninterrupted",
    "width",
]

LABEL_COLOURS: dict[str, str] = {
    "neutral": "37",
    "calm": "36",
    "happy": "33",
    "sad": "34",
    "angry": "31",
    "fear": "35",
    "disgust": "32",
    "surprise": "96",
    "boredom": "90",
}
"""Emotion -> ANSI colour code. The name is always printed too: not all users see colours."""


def has_colours(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal and colours are not switched off (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return False
    return sys.platform != "win32" or "WT_SESSION" in os.environ  # the old console prints the codes


def can_say(stream: TextIO, text: str) -> bool:
    """Whether the encoding of ``stream`` has all of ``text``."""
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def clean(text: str) -> str:
    """Return ``text`` on one line without control characters, which could control the terminal."""
    return "".join(" " if c.isspace() else c if unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)


def width(text: str) -> int:
    """Return the number of terminal columns that ``text`` takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def pad(text: str, columns: int) -> str:
    """Return ``text`` filled with spaces to ``columns``."""
    return text + " " * max(0, columns - width(text))


def paint(text: str, code: str, *, colours: bool) -> str:
    """Return ``text`` in the ANSI colour ``code`` if ``colours``."""
    return f"\x1b[{code}m{text}\x1b[0m" if colours and code else text


def bar(share: float, columns: int, stream: TextIO) -> str:
    """Return a horizontal bar with ``share`` of its ``columns`` full."""
    full, empty = ("█", "░") if can_say(stream, "█░") else ("#", ".")
    n = round(min(max(share, 0.0), 1.0) * columns)
    return full * n + empty * (columns - n)


def say(text: str) -> None:
    """Print one line on stderr, with the program's name."""
    print(f"emovox: {clean(text)}", file=sys.stderr, flush=True)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C until the block has run, so that what it writes is complete."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    arrived: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


class Progress:
    """A progress bar on stderr.

    It is shown only on a terminal, not when stdout is a pipe (a pager at its end controls the screen), and
    only after ``DELAY_S``, so that short work prints none.
    """

    DELAY_S = 1.0
    REDRAW_S = 0.1

    def __init__(self, total: int, *, enabled: bool = True) -> None:
        self.total = total
        self._enabled = enabled and total > 0 and is_watched()
        self._start_s = self._drawn_s = time.monotonic()
        self._visible = False

    def at(self, done: float) -> None:
        """Draw the bar for ``done`` of ``total`` recordings; the fraction is the share of the current one."""
        now_s = time.monotonic()
        if not self._enabled or now_s - self._start_s < self.DELAY_S or now_s - self._drawn_s < self.REDRAW_S:
            return
        self._drawn_s, self._visible = now_s, True
        share = min(done / self.total, 1.0)
        left_s = (now_s - self._start_s) * (1 - share) / share if share > 0 else math.inf
        text = f"{bar(share, 24, sys.stderr)} {math.floor(done)}/{self.total}, {clock(left_s)} left"
        columns = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r\x1b[K" + text[:columns])
        sys.stderr.flush()

    def hide(self) -> None:
        """Remove the bar from the screen, so that a row can be written."""
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._visible = False
            self._drawn_s = -math.inf  # come back at the next call of at()


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Show a bar for callbacks (done, all); it vanishes when all is done or the block ends."""
    bars: list[Progress] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(Progress(total))
        bars[0].at(done)
        if done >= total:
            bars.pop().hide()

    try:
        yield show
    finally:
        for one in bars:
            one.hide()


def is_watched() -> bool:
    """Whether stderr is a terminal and stdout is not a pipe, whose reader may control the screen."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return False
    try:
        return not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (
        AttributeError,
        OSError,
        ValueError,
    ):  # closed, or replaced by an object without a file descriptor
        return False


def clock(seconds: float) -> str:
    """Return ``1:05`` or ``2:01:05``; ``--:--`` if the time is unknown."""
    if not math.isfinite(seconds):
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
