"""How far a run over many recordings is, on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from emovox.cli.terminal import bar, clock, is_watched, say

if TYPE_CHECKING:
    from emovox.batch import Pace, Status

__all__ = ["Meter", "many"]


def many(n: int, one: str) -> str:
    """A number of things."""
    return f"{n:,} {one}" if n == 1 else f"{n:,} {one}s"


class Meter:
    """Tells on stderr how far a run is: a bar on a terminal, elsewhere a line now and then."""

    PATIENCE_S = 1.0
    REDRAW_S = 0.2
    LINE_S = 60.0

    def __init__(self) -> None:
        self._watched = is_watched()
        self._told_s = time.monotonic()
        self._visible = False
        self._pace: Pace | None = None

    def at(self, pace: Pace) -> None:
        """A shard is done; or, at first, it is known what is to be done."""
        if self._pace is None and (pace.n_before or pace.n_twice):
            say(_known(pace))
        self._pace = pace
        now_s = time.monotonic()
        if now_s - self._told_s < (self.REDRAW_S if self._watched else self.LINE_S):
            return
        self._told_s = now_s
        if self._watched:
            self._draw(pace)
        else:
            say(_told(pace))

    def _draw(self, pace: Pace) -> None:
        share = pace.n_done / pace.n_todo if pace.n_todo else 1.0
        text = f"{bar(share, 16, sys.stderr)} {_told(pace)}"
        sys.stderr.write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
        sys.stderr.flush()
        self._visible = True

    def hide(self) -> None:
        """Take the bar off the screen."""
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._visible = False

    def summary(self, found: Status) -> str:
        """What is told at the end."""
        pace = self._pace
        failed = f", {found.n_failed:,} failed" if found.n_failed else ""
        whole = f"{found.n_done:,} of {many(found.ledger.plan.n_items, 'recording')} done{failed}"
        if pace is None or not pace.n_done:
            return whole
        lost = f", a worker was lost {many(pace.n_lost, 'time')}" if pace.n_lost else ""
        return (
            f"{whole}; {pace.n_done:,} of them now in {clock(pace.elapsed_s)}: {pace.items_per_s:,.1f}/s, "
            f"{pace.audio_h_per_h:,.0f} hours of sound an hour{lost}"
        )


def _known(pace: Pace) -> str:
    are, were = ("is" if pace.n_twice == 1 else "are"), ("was" if pace.n_before == 1 else "were")
    twice = f"{pace.n_twice:,} {are} listed again and judged once" if pace.n_twice else ""
    listed = many(pace.n_items, "recording")
    before = f"{pace.n_before:,} of {listed} {were} done before" if pace.n_before else ""
    return "; ".join(filter(None, (before, twice)))


def _told(pace: Pace) -> str:
    left = clock(pace.left_s if pace.left_s is not None else float("inf"))
    failed = f", {pace.n_failed:,} failed" if pace.n_failed else ""
    return (
        f"{pace.n_done:,}/{pace.n_todo:,}, {pace.items_per_s:,.1f}/s, {pace.audio_h_per_h:,.0f} h of sound/h"
        f"{failed}, {left} left"
    )
