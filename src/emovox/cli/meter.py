"""Progress of a run over many recordings, on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from emovox.cli.terminal import bar, clock, is_watched, say

if TYPE_CHECKING:
    from emovox.batch import BatchProgress, BatchStatus

__all__ = ["ProgressMeter", "format_count"]

_REDRAW_S = 0.2
_LINE_S = 60.0


def format_count(n: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


class ProgressMeter:
    """Shows a bar on a terminal, elsewhere a line from time to time."""

    def __init__(self) -> None:
        self._on_terminal = is_watched()
        self._shown_s = time.monotonic()
        self._visible = False
        self._progress: BatchProgress | None = None

    def update(self, progress: BatchProgress) -> None:
        """Show progress; called first when the amount of work is known, then after each shard."""
        if self._progress is None and (progress.n_before or progress.n_twice):
            say(_format_start(progress))
        self._progress = progress
        now_s = time.monotonic()
        if now_s - self._shown_s < (_REDRAW_S if self._on_terminal else _LINE_S):
            return
        self._shown_s = now_s
        if not self._on_terminal:
            say(_format_progress(progress))
            return
        share = progress.n_done / progress.n_todo if progress.n_todo else 1.0
        text = f"{bar(share, 16, sys.stderr)} {_format_progress(progress)}"
        sys.stderr.write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
        sys.stderr.flush()
        self._visible = True

    def hide(self) -> None:
        """Remove the bar."""
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._visible = False

    def summarize(self, status: BatchStatus) -> str:
        """Return the line that is printed at the end."""
        progress = self._progress
        failed = f", {status.n_failed:,} failed" if status.n_failed else ""
        total = f"{status.n_done:,} of {format_count(status.record.plan.n_items, 'recording')} done{failed}"
        if progress is None or not progress.n_done:
            return total
        lost = f", a worker was lost {format_count(progress.n_lost, 'time')}" if progress.n_lost else ""
        return (
            f"{total}; {progress.n_done:,} of them now in {clock(progress.elapsed_s)}: "
            f"{progress.items_per_s:,.1f}/s, {progress.audio_h_per_h:,.0f} hours of sound an hour{lost}"
        )


def _format_start(progress: BatchProgress) -> str:
    parts = []
    if progress.n_before:
        verb = "was" if progress.n_before == 1 else "were"
        total = format_count(progress.n_items, "recording")
        parts.append(f"{progress.n_before:,} of {total} {verb} done before")
    if progress.n_twice:
        verb = "is" if progress.n_twice == 1 else "are"
        parts.append(f"{progress.n_twice:,} {verb} listed again and processed once")
    return "; ".join(parts)


def _format_progress(progress: BatchProgress) -> str:
    left = clock(progress.left_s if progress.left_s is not None else float("inf"))
    failed = f", {progress.n_failed:,} failed" if progress.n_failed else ""
    return (
        f"{progress.n_done:,}/{progress.n_todo:,}, {progress.items_per_s:,.1f}/s, "
        f"{progress.audio_h_per_h:,.0f} h of sound/h{failed}, {left} left"
    )
