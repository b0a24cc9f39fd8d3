"""Views of ``emovox listen``: rows and bars for people, JSON lines for programs."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TextIO

from emovox.cli.terminal import LABEL_COLOURS, bar, has_colours, is_watched, pad, paint, say
from emovox.cli.writers import ResultTableWriter
from emovox.inference.triggers import TriggerEvent
from emovox.results import Segment, Window

__all__ = ["Bars", "JsonView", "TableView", "View"]


class View(Protocol):
    """What shows results as they come."""

    def show(self, result: Window | Segment) -> None:
        """Show a result."""

    def report_event(self, event: TriggerEvent) -> None:
        """Report that a rule of ``--on`` began or ended."""

    def show_level(self, at_s: float, level_dbfs: float | None, state: str) -> None:
        """Show the time, how loud it is now, and what is happening; called often."""

    def report_device(self, is_connected: bool, at_s: float) -> None:
        """Report that the microphone was disconnected, or is back."""

    def end(self) -> None:
        """Write what comes last; called once."""


class JsonView:
    """A JSON object a line, each with its ``type``: ``window``, ``segment``, ``trigger`` or ``device``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, result: Window | Segment) -> None:
        self._line({"type": type(result).__name__.lower(), **result.to_dict()})

    def report_event(self, event: TriggerEvent) -> None:
        self._line({"type": "trigger", **event.to_dict()})

    def show_level(self, at_s: float, level_dbfs: float | None, state: str) -> None:
        pass

    def report_device(self, is_connected: bool, at_s: float) -> None:
        self._line({"type": "device", "is_plugged": is_connected, "at_s": round(at_s, 3)})

    def end(self) -> None:
        pass

    def _line(self, row: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()


class TableView:
    """Rows of a table as segments become final, and below them, on a terminal, bars."""

    def __init__(self, stream: TextIO, labels: Sequence[str], targets: Sequence[str] = ()) -> None:
        self._table = ResultTableWriter(
            stream, files=["microphone"], labels=labels, targets=targets, spans=True
        )
        self._bars = Bars(labels)

    def show(self, result: Window | Segment) -> None:
        if isinstance(result, Window):
            self._bars.window(result)
        else:
            self._bars.hide()
            self._table.row(replace(result, file="microphone").to_dict())

    def report_event(self, event: TriggerEvent) -> None:
        self._bars.hide()
        what = "began" if event.state == "begin" else "ended"
        say(f"{event.rule} {what} at {event.at_s:.1f} s, score {event.score:.2f}")

    def show_level(self, at_s: float, level_dbfs: float | None, state: str) -> None:
        self._bars.draw(at_s, level_dbfs, state)

    def report_device(self, is_connected: bool, at_s: float) -> None:
        self._bars.hide()
        say(
            f"the microphone is back at {at_s:.1f} s"
            if is_connected
            else f"the microphone was disconnected at {at_s:.1f} s; waiting for it, Ctrl-C ends"
        )

    def end(self) -> None:
        self._bars.hide()
        self._table.end()


class Bars:
    """The probabilities of the last window as bars on stderr, drawn over each other; only on a terminal."""

    REDRAW_S = 0.08
    COLUMNS = 30
    FLOOR_DB = -60.0
    """The level at which its bar is empty."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._stream = sys.stderr
        self._is_shown = is_watched()
        self._colours = has_colours(self._stream)
        self._scores: Mapping[str, float] = {}
        self._n_lines = 0
        self._drawn_s = -1.0

    def window(self, window: Window) -> None:
        """Show the scores of this window from now on; none when it held too little speech."""
        self._scores, self._drawn_s = window.scores, -1.0

    def draw(self, at_s: float, level_dbfs: float | None, state: str) -> None:
        """Draw all bars again, at most every ``REDRAW_S``."""
        now_s = time.monotonic()
        if not self._is_shown or now_s - self._drawn_s < self.REDRAW_S:
            return
        lines = [self._head(at_s, level_dbfs, state), *map(self._row, self._labels)]
        size = shutil.get_terminal_size()
        lines = lines[: max(1, size.lines - 1)]
        if max(len(plain) for plain, _ in lines) >= size.columns:  # a line that wraps could not be erased
            lines = [(plain[: size.columns - 1], "") for plain, _ in lines]
        shown = [paint(plain, code, colours=self._colours) for plain, code in lines]
        self._stream.write(self._erase_code() + "\n".join(shown))  # at once, so that nothing flickers
        self._stream.flush()
        self._n_lines, self._drawn_s = len(lines), now_s

    def hide(self) -> None:
        """Remove the bars from the screen, so that something else can be written there."""
        self._stream.write(self._erase_code())
        self._stream.flush()
        self._n_lines, self._drawn_s = 0, -1.0

    def _erase_code(self) -> str:
        """The codes that remove the drawn lines from the screen."""
        up = f"\x1b[{self._n_lines - 1}A" if self._n_lines > 1 else ""
        return f"\r{up}\x1b[J" if self._n_lines else ""

    def _head(self, at_s: float, level_dbfs: float | None, state: str) -> tuple[str, str]:
        minutes, seconds = divmod(at_s, 60)
        level = self.FLOOR_DB if level_dbfs is None else level_dbfs
        gauge = bar(1 - level / self.FLOOR_DB, 12, self._stream)
        return f"{minutes:3.0f}:{seconds:04.1f}  {gauge} {level:4.0f} dBFS  {state}", "2"

    def _row(self, label: str) -> tuple[str, str]:
        columns = max(map(len, self._labels))
        share = self._scores.get(label)
        if share is None:
            return pad(label, columns), "2"
        text = f"{pad(label, columns)}  {bar(share, self.COLUMNS, self._stream)} {share:.2f}"
        return text, LABEL_COLOURS.get(label, "")
